"""``mmsearch seal``: make the collection ready for read-only media."""

from __future__ import annotations

import click

from mmsearch.cli import _output
from mmsearch.cli._app import App, Command, pass_app
from mmsearch.cli._text import size
from mmsearch.errors import CollectionNotFound


@click.command(cls=Command, short_help="Make the collection ready for read-only media.")
@click.option("--undo", is_flag=True, help="Let mmsearch write to it again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, *, undo: bool, as_json: bool) -> None:
    """Compact the collection, leave no log beside its catalogue, and refuse to write to it from then on.

    It can then be searched from a CD, a read-only share or an image of a container. Nothing else may have it open.
    """
    from mmsearch.collection import Collection

    path = app.place.path
    if undo:
        if not Collection.exists(path):
            raise CollectionNotFound(f"there is no collection at {path} ({app.place.how})", hint="name one with -c")
        changed = Collection.unseal(path)
        said = "it can be written again" if changed else "it was not sealed"
    else:
        with app.open() as collection:
            collection.seal()
            said = f"sealed, {size(collection.status().bytes)}; to write again: mmsearch{app.again} seal --undo"
        changed = True
    if as_json:
        _output.dump({"v": _output.VERSION, "sealed": not undo, "changed": changed})
        return
    app.say(said)
