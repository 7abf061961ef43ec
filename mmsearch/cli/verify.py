"""``mmsearch verify``: check every byte of the collection."""

from __future__ import annotations

import click

from mmsearch.cli import _findings
from mmsearch.cli._app import App, Command, pass_app


@click.command(cls=Command, short_help="Check every byte of the collection.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, *, as_json: bool) -> int:
    """Check all checksums, sizes and tables of the collection; changes nothing.

    Exits with 6 if something is wrong; "mmsearch repair" then mends what can be mended.
    """
    with app.open() as collection:
        findings = collection.verify()
    code = _findings.show(app, findings, as_json=as_json)
    if not as_json:
        app.say(f"something is wrong; mend it with: mmsearch repair{app.again}" if code else "the collection is sound")
    return code
