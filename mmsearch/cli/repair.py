"""``mmsearch repair``: mend what ``verify`` found."""

from __future__ import annotations

import click

from mmsearch.cli import _findings
from mmsearch.cli._app import App, Command, pass_app


@click.command(cls=Command, short_help="Mend what verify found.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, *, as_json: bool) -> int:
    """Rebuild all that is derived, and set aside vectors whose checksum is wrong.

    Nothing that is sound is encoded again; the next "mmsearch index" encodes what was set aside.
    """
    with app.open() as collection:
        findings = collection.repair()
    return _findings.show(app, findings, as_json=as_json)
