"""``mmsearch snapshot``: a copy of the collection, made while others read and write."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mmsearch.cli import _output
from mmsearch.cli._app import App, Command, pass_app
from mmsearch.cli._text import count, local, size


@click.command(cls=Command, short_help="Copy the collection while it is in use.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--link", is_flag=True, help="Share full vector files with the copy (hard links): quick, but no shelter from a "
                                           "failing disk.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, folder: Path, *, link: bool, as_json: bool) -> None:
    """Copy the collection as it is now to FOLDER, which must be new or empty. Searches and indexing go on meanwhile.

    The copy is a collection at once, and holds every batch that was committed when the copy began. It is there whole or not at
    all.
    """
    with app.open() as collection:
        report = collection.copy_to(folder, link=link)
    if as_json:
        _output.dump({"v": _output.VERSION, "folder": str(folder), **asdict(report)})
        return
    shared = f", {count(report.linked, 'file')} shared" if report.linked else ""
    app.say(f"{count(report.items, 'item')} in {local(str(folder))}, {size(report.bytes)}{shared}")
