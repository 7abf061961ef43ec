"""``mmsearch dupes``: pictures that are there more than once, or nearly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _output
from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.cli._text import count

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.types import Record

_NEIGHBOURS = 20


@click.command(cls=Command, short_help="List pictures that are there more than once.")
@click.option("--threshold", type=click.FloatRange(0, 1, min_open=True), default=0.97, show_default=True,
              help="The cosine from which on two pictures count as one; 1: the same bytes alone.")
@_output.formats("paths", "print0", "json", "jsonl")
@pass_app
def command(app: App, /, *, threshold: float, form: str | None) -> int:
    """List heaps of pictures that are the same or nearly, the best of each first: most pixels, then most bytes.

    Nothing is deleted. -f and -0 print the files that are not the best of their heap.

    \b
      mmsearch dupes
      mmsearch dupes --threshold 1 -0 | xargs -0 ls -l
    """
    with app.open() as collection:
        heaps = [[_told(collection, record, heap[0]) for record in heap] for heap in find(collection, threshold)]
    spare = [entry["path"] for heap in heaps for entry in heap[1:] if entry["path"]]
    if form in ("paths", "print0"):
        _output.dump_paths(spare, null=form == "print0")
    elif form == "json":
        _output.dump({"v": _output.VERSION, "heaps": heaps})
    elif form == "jsonl":
        _output.dump_lines({"v": _output.VERSION, "heap": at, **entry} for at, heap in enumerate(heaps, 1) for entry in heap)
    elif heaps:
        from mmsearch.cli._table import plain
        from mmsearch.cli._text import local

        rows = [[str(at) if n == 0 else "", "keep" if n == 0 else "same bytes" if entry["same_bytes"] else "near",
                 f"{entry['width']}×{entry['height']}", local(entry["path"] or entry["id"])]
                for at, heap in enumerate(heaps, 1) for n, entry in enumerate(heap)]
        plain(["heap", "", "pixels", "path"], rows, right=("heap", "pixels"), path="path")
    if not form:
        app.say(f"{count(len(heaps), 'heap')}, {count(sum(map(len, heaps)) - len(heaps), 'picture')} to spare")
    return OK


def find(collection: Collection, threshold: float) -> list[list[Record]]:
    """Heaps of images joined by cosines of at least ``threshold`` (or by the same bytes), each with its best first.

    Each image asks for its 20 nearest: O(n²), a minute for 10,000 images.
    """
    import numpy as np

    from mmsearch import types

    every = collection.search(types.vector(np.ones(collection.info.dim)), kind="image", k=max(1, len(collection)))
    records = {hit.id: collection.get(hit.id) for hit in every}
    leader = {id: id for id in records}

    def top(id: str) -> str:
        while leader[id] != id:
            leader[id] = id = leader[leader[id]]
        return id

    first: dict[bytes, str] = {}
    for id, record in records.items():
        if record.digest is not None:
            leader[top(id)] = top(first.setdefault(record.digest, id))
        if threshold < 1:
            for hit in collection.similar(id, k=_NEIGHBOURS, kind="image"):
                if hit.score >= threshold:
                    leader[top(hit.id)] = top(id)
    heaps: dict[str, list[Record]] = {}
    for id, record in records.items():
        heaps.setdefault(top(id), []).append(record)
    return [sorted(heap, key=_worth) for heap in heaps.values() if len(heap) > 1]


def _worth(record: Record) -> tuple[int, int, str]:
    return -(record.width or 0) * (record.height or 0), -(record.size or 0), record.id


def _told(collection: Collection, record: Record, best: Record) -> dict[str, Any]:
    return {"id": record.id, "path": collection.locate(record), "width": record.width, "height": record.height,
            "size": record.size, "same_bytes": record.digest is not None and record.digest == best.digest}
