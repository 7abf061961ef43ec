"""``mmsearch compact``: give the space of removed items back."""

from __future__ import annotations

from dataclasses import asdict

import click

from mmsearch.cli import _output
from mmsearch.cli._app import App, Command, pass_app
from mmsearch.cli._text import size


@click.command(cls=Command, short_help="Give the space of removed items back.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, *, as_json: bool) -> None:
    """Rewrite the vectors without those of removed items. Searches go on meanwhile."""
    with app.open() as collection:
        before = collection.status().bytes
        report = collection.compact()
        after = collection.status().bytes
    if as_json:
        _output.dump({"v": _output.VERSION, "bytes_before": before, "bytes_after": after, **asdict(report)})
        return
    app.say(f"{size(before)} before, {size(after)} now")
