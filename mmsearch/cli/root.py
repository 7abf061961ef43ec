"""``mmsearch root``: the folders that a collection was made from."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mmsearch.cli import _output
from mmsearch.cli._app import App, Commands, pass_app
from mmsearch.cli._text import count
from mmsearch.errors import UsageError


@click.group(cls=Commands, name="root", short_help="List, move and remove the indexed folders.")
def command() -> None:
    """List, move and remove the folders that the collection was made from.

    Items remember their path below a root; so a whole folder can move, and only its root is told.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def list_(app: App, *, as_json: bool) -> None:
    """List the roots: name, folder, and whether the folder is there."""
    with app.open() as collection:
        roots = collection.roots()
    if as_json:
        rows = [{"name": name, "path": path, **_output.encoded("path", path)} for name, path in roots.items()]
        _output.dump({"v": _output.VERSION, "roots": rows})
    elif not roots:
        app.say("the collection has no roots")
    else:
        from mmsearch.cli import _table

        _table.plain(("name", "there", "folder"), [
            (name, "yes" if os.path.isdir(path) else "no", path) for name, path in sorted(roots.items())
        ])


@command.command()
@click.argument("name")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@pass_app
def move(app: App, *, name: str, folder: Path) -> None:
    """Say that the root NAME lies in FOLDER now. Nothing is read or encoded."""
    path = folder.absolute()
    if not path.is_dir():
        raise click.BadParameter(f"there is no folder {folder}", param_hint="FOLDER")
    with app.open() as collection:
        collection.move_root(name, path)
    app.say(f"the root {name} lies in {path} now")


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def remove(app: App, *, name: str, yes: bool) -> None:
    """Remove the root NAME and all its items from the collection. The files themselves stay."""
    with app.open() as collection:
        known(collection.roots(), name)
        if not yes:
            click.confirm(f"remove the root {name} and all its items from the collection?", abort=True, err=True)
        removed = collection.remove_root(name)
    app.say(f"removed {count(removed, 'item')}; their files are untouched")


def known(roots: dict[str, str], name: str) -> None:
    """Refuse a root that is not there."""
    if name not in roots:
        raise UsageError(f"there is no root {name!r}", hint=f"roots: {', '.join(sorted(roots)) or 'none'}")
