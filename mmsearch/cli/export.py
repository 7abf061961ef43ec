"""``mmsearch export``: the whole collection in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mmsearch.cli import _output, _progress
from mmsearch.cli._app import App, Command, pass_app
from mmsearch.cli._text import count, local, size


@click.command(cls=Command, short_help="Write the whole collection to one file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, file: Path, *, force: bool, as_json: bool) -> None:
    """Write items, vectors, meta, roots and failures to FILE: a tar of Parquet and safetensors, as docs/archive.md says.

    Searches and indexing go on meanwhile; the file holds one state. The pictures themselves are not in it.

    \b
      mmsearch export photos.mmsearch
      mmsearch -c ./copy import photos.mmsearch
    """
    with app.open() as collection, _progress.counted(app, "export") as told:
        report = collection.export(file, replace=force, told=told)
    if as_json:
        _output.dump({"v": _output.VERSION, "file": str(file), **asdict(report)})
        return
    app.say(f"{count(report.items, 'item')} in {local(str(file))}, {size(report.bytes)}")
