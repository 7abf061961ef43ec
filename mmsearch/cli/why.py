"""``mmsearch why``: where a file stands in an answer, and why it is not (higher) in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _output, _query
from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.cli.similar import resolve
from mmsearch.errors import InputError, ItemNotFound, StorageError

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.types import Query


@click.command(cls=Command, short_help="Say where a file stands in an answer, and why.")
@click.argument("item", metavar="ID|PATH")
@click.argument("text", nargs=-1, required=True)
@click.option("--where", metavar="CONDITION", help="The condition of the query.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A value for :NAME in --where.")
@click.option("--heatmap", "target", metavar="FILE.png", help="Write a picture of where in the file the query is met.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, /, *, item: str, text: tuple[str, ...], where: str | None, params: tuple[str, ...],
            target: str | None, as_json: bool) -> int:
    """Say where a file stands in the answer to a query: its rank and score, or that it is skipped, filtered or not indexed.

    --heatmap shows where in a picture the query is met, also in one that is not indexed.

    \b
      mmsearch why ~/photos/trip/beach.jpg a dog at the sea
      mmsearch why sku-1#2 a red bag --where "price < 50"
      mmsearch why beach.jpg a dog --heatmap dog.png
    """
    query = _query.build(text)
    with app.open() as collection:
        found = explain(collection, item, query, where=where, params=_query.parameters(params))
        if target is not None:
            found |= _heat(app, collection, found, query, target)
    if as_json:
        _output.dump({"v": _output.VERSION, **found})
    else:
        _output.write(_sentence(found) + "\n")
    return OK


def explain(collection: Collection, name: str, query: Query, *, where: str | None, params: dict[str, Any]) -> dict[str, Any]:
    """``state`` (``found``, ``filtered``, ``skipped``, ``not indexed``, ``unknown``) and what belongs to it."""
    try:
        id = resolve(collection, name)
    except ItemNotFound:
        return _absent(collection, os.path.abspath(os.path.expanduser(name)), name)
    kind = collection.get(id).kind
    hits = collection.search(query, kind=kind, k=max(1, len(collection)))
    hit = next(hit for hit in hits if hit.id == id)
    told = {"id": id, "kind": str(kind), "rank": hit.rank, "of": len(hits), "score": hit.score, "best": hits[0].score}
    if where is None:
        return {"state": "found", **told}
    left = collection.search(query, kind=kind, k=max(1, len(collection)), where=where, params=params)
    among = next((one.rank for one in left if one.id == id), None)
    if among is None:
        return {"state": "filtered", **told, "where": where}
    return {"state": "found", **told, "rank": among, "of": len(left), "best": left[0].score, "where": where}


def _heat(app: App, collection: Collection, found: dict[str, Any], query: Query, target: str) -> dict[str, Any]:
    """Draws the heatmap into ``target``; what ``--json`` tells of it."""
    if "id" not in found and "path" not in found:
        raise InputError("vanished", f"{found['name']}: neither an item of the collection nor a file, so nothing can be drawn")
    heat = collection.heatmap(found.get("id") or found["path"], query)
    try:
        with open(target, "wb") as out:
            out.write(heat.png())
    except OSError as error:
        raise StorageError(f"the heatmap {target} cannot be written: {error.strerror}") from error
    x, y = heat.hottest
    app.say(f"the query is met best at {x},{y} of {heat.width}×{heat.height} pixels; see {target}")
    return {"heatmap": {"file": target, "hottest": [x, y], "box": list(heat.box()), "width": heat.width, "height": heat.height,
                        "method": heat.method}}


def _absent(collection: Collection, full: str, name: str) -> dict[str, Any]:
    roots = collection.roots()
    for failure in collection.failures():
        if os.path.join(roots.get(failure.root, ""), failure.path) == full:
            return {"state": "skipped", "path": full, "reason": failure.reason, "detail": failure.detail}
    if not os.path.exists(full):
        return {"state": "unknown", "name": name}
    below = next((root for root in roots.values() if full.startswith(root.rstrip("/") + "/")), None)
    return {"state": "not indexed", "path": full, "root": below}


def _sentence(found: dict[str, Any]) -> str:
    match found["state"]:
        case "found":
            among = " of those that satisfy the condition" if "where" in found else ""
            return (f"{found['id']}: rank {found['rank']} of {found['of']} {found['kind']}s{among}, "
                    f"score {found['score']:.3f}; the best has {found['best']:.3f}")
        case "filtered":
            return (f"{found['id']}: left out by the condition {found['where']!r}; "
                    f"without it rank {found['rank']} of {found['of']}, score {found['score']:.3f}")
        case "skipped":
            return f"{found['path']}: skipped when it was indexed: {found['reason']}, {found['detail']}"
        case "not indexed":
            advice = f"run: mmsearch index {found['root'] or found['path']}"
            return f"{found['path']}: not indexed, or excluded, or newer than the last run; {advice}"
    return f"{found['name']}: neither an item of the collection nor a file"
