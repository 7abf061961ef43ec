"""``mmsearch similar``: what is like one item of the collection."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _query
from mmsearch.cli._app import FAILED, OK, App, Command, pass_app
from mmsearch.cli._ranking import ranking_options, wanted
from mmsearch.cli._show import search_options, show
from mmsearch.errors import ItemNotFound

if TYPE_CHECKING:
    from mmsearch.collection import Collection


@click.command(cls=Command, short_help="Show what is most like one item.")
@click.argument("items", metavar="ID|PATH…", nargs=-1, required=True)
@click.option("--unlike", multiple=True, metavar="ID|PATH", help="Move away from this item (repeatable).")
@search_options(kind="the kind of the item")
@ranking_options
@pass_app
def command(app: App, /, *, items: tuple[str, ...], unlike: tuple[str, ...], form: str | None, **options: Any) -> int:
    """Show what is most like one item of the collection, or like several; the model is not needed for it.

    An item is named by its id or by its file. With a condition it completes a look: shoes for a dress.

    \b
      mmsearch similar trip/beach.jpg
      mmsearch similar ~/photos/trip/beach.jpg --kind text
      mmsearch similar sku-1 sku-7 --unlike sku-3
      mmsearch similar dress-4 --where "category = 'shoes'"
    """
    params = _query.parameters(options.pop("params"))
    chosen = {name: options.pop(name) for name in ("html", "open_best", "explain")}
    exit_code = options.pop("exit_code")
    ranking = wanted(options)
    from mmsearch import types

    with app.open() as collection:
        liked, disliked = ([resolve(collection, name) for name in names] for names in (items, unlike))
        hits = collection.similar(liked, unlike=disliked, params=params, **options, **ranking)
        query = types.Query(tuple(types.Term("item", id) for id in liked) + tuple(types.Term("item", id, -1.0) for id in disliked))
        show(app, collection, hits, query, form=form, **chosen)
    return FAILED if exit_code and not hits else OK


def resolve(collection: Collection, name: str) -> str:
    """The id of the item with this id, or whose file this is."""
    if name in collection:
        return name
    from mmsearch.sources.files import item_id

    full = os.path.abspath(os.path.expanduser(name))
    for root, folder in collection.roots().items():
        below = full.removeprefix(folder.rstrip("/") + "/")
        if below != full:
            for id in (item_id(below), f"{root}/{item_id(below)}"):
                if id in collection and collection.locate(collection.get(id)) == full:
                    return id
    if os.path.isfile(full):
        advice = f"search by the picture itself: mmsearch query -i {name}"
        raise ItemNotFound(f"{name} is not in the collection", hint=advice)
    raise ItemNotFound(f"no item has the id {name!r}", hint="ids are shown by: mmsearch query … --jsonl")
