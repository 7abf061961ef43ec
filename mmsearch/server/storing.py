"""Writes what a request sends, with a status for each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmsearch.collection import Collection
from mmsearch.errors import InputError
from mmsearch.ingest import IngestOptions
from mmsearch.types import Item


class StoredItem(NamedTuple):
    """What became of one item: ``added``, ``updated`` or ``failed``; ``reason`` is a word, ``detail`` a sentence."""

    id: str
    status: str
    reason: str | None = None
    detail: str | None = None


def store_items(collection: Collection, items: Sequence[Item], options: IngestOptions, *, wait: float) -> list[StoredItem]:
    """Store all that can be stored. One call where all is well; where something is not, each item is tried on its own."""
    last = {item.id: item for item in items}  # of two with one id the later wins
    before = {id for id in last if id in collection}
    failed: dict[str, InputError] = {}
    try:
        collection.add(last.values(), on_error="raise", wait=wait, options=options)
    except InputError:
        for item in last.values():
            try:
                collection.add([item], on_error="raise", wait=wait, options=options)
            except InputError as error:
                failed[item.id] = error
    return [_status(item.id, item.id in before, failed.get(item.id)) for item in items]


def _status(id: str, known: bool, error: InputError | None) -> StoredItem:
    if error is None:
        return StoredItem(id, "updated" if known else "added")
    return StoredItem(id, "failed", str(error.reason), error.message.removeprefix(f"{id}: "))
