"""``mmsearch dupes``: pictures that are there more than once, or nearly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _output
from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.cli._text import count

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.duplicates import Entry


@click.command(cls=Command, short_help="List pictures that are there more than once.")
@click.option("--threshold", type=click.FloatRange(0, 1, min_open=True), default=0.95, show_default=True,
              help="The cosine from which on the pixels may differ more; 1: the same bytes alone.")
@click.option("--not-duplicate", "apart", nargs=2, metavar="ID ID", help="Remember that two pictures are no duplicates, and stop.")
@click.option("--forget", is_flag=True, help="With --not-duplicate: take it back.")
@click.option("--not-duplicates", "listed", is_flag=True, help="List the pairs that are remembered as no duplicates, and stop.")
@_output.formats("paths", "print0", "json", "jsonl")
@pass_app
def command(app: App, /, *, threshold: float, apart: tuple[str, str] | None, forget: bool, listed: bool, form: str | None) -> int:
    """List heaps of pictures that are the same or nearly, the best of each first: most pixels, sharpest, most bytes.

    Resized, recompressed, recoloured, mirrored and turned copies are found, and small crops; both the vectors and the pixels must
    be near. Nothing is deleted. -f and -0 print the files that are not the best of their heap.

    \b
      mmsearch dupes
      mmsearch dupes --threshold 1 -0 | xargs -0 ls -l
      mmsearch dupes --not-duplicate a.jpg b.jpg
    """
    if forget and not apart:
        raise click.UsageError("--forget goes with --not-duplicate ID ID")
    with app.open() as collection:
        if apart:
            collection.keep_apart(*apart, forget=forget)
            app.say(f"{apart[0]} and {apart[1]} may be duplicates again" if forget else
                    f"{apart[0]} and {apart[1]} are no duplicates from now on")
            return OK
        if listed:
            _pairs(app, collection, form)
            return OK
        heaps = [[_told(collection, entry) for entry in heap] for heap in collection.duplicates(threshold)]
    _print(app, heaps, form)
    return OK


def _pairs(app: App, collection: Collection, form: str | None) -> None:
    pairs = collection.kept_apart()
    if form in ("json", "jsonl"):
        _output.dump({"v": _output.VERSION, "not_duplicates": [list(pair) for pair in pairs]}, indent=2 if form == "json" else None)
        return
    from mmsearch.cli._table import plain

    if pairs:
        plain(["picture", "is no duplicate of"], [list(pair) for pair in pairs])
    app.say(f"{count(len(pairs), 'pair')} that {'is' if len(pairs) == 1 else 'are'} no duplicates")


def _print(app: App, heaps: list[list[dict[str, Any]]], form: str | None) -> None:
    if form in ("paths", "print0"):
        _output.dump_paths([entry["path"] for heap in heaps for entry in heap[1:] if entry["path"]], null=form == "print0")
    elif form == "json":
        _output.dump({"v": _output.VERSION, "heaps": heaps})
    elif form == "jsonl":
        _output.dump_lines({"v": _output.VERSION, "heap": at, **entry} for at, heap in enumerate(heaps, 1) for entry in heap)
    elif heaps:
        from mmsearch.cli._table import plain
        from mmsearch.cli._text import local

        rows = [[str(at) if n == 0 else "", _word(n, entry), f"{entry['width']}×{entry['height']}",
                 local(entry["path"] or entry["id"])] for at, heap in enumerate(heaps, 1) for n, entry in enumerate(heap)]
        plain(["heap", "", "pixels", "path"], rows, right=("heap", "pixels"), path="path")
    if not form:
        app.say(f"{count(len(heaps), 'heap')}, {count(sum(map(len, heaps)) - len(heaps), 'picture')} to spare")


def _word(place: int, entry: dict[str, Any]) -> str:
    if place == 0:
        return "keep"
    return "same bytes" if entry["same_bytes"] else f"near {entry['cosine']:.2f}"


def _told(collection: Collection, entry: Entry) -> dict[str, Any]:
    record = entry.record
    numbers = {"cosine": entry.cosine, "sharpness": entry.sharpness}
    return {"id": record.id, "path": collection.locate(record), "width": record.width, "height": record.height, "size": record.size,
            "same_bytes": entry.same_bytes, "bits": entry.bits,
            **{name: None if value is None else round(value, 4) for name, value in numbers.items()}}
