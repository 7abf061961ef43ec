"""Pairs that are nearly the same, as heaps, the best picture of each first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmsearch.types import Record

__all__ = ["Entry", "heaps"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a heap. ``cosine`` and ``bits`` (differing ones of 64) compare it with the heap's first; they are ``None`` for
    the first itself, and ``bits`` where a file cannot be read any more.

    ``same_bytes`` says that it is a copy of the first, ``sharpness`` how much neighbouring pixels differ.
    """

    record: Record
    same_bytes: bool
    cosine: float | None = None
    bits: int | None = None
    sharpness: float | None = None


def heaps(
    records: Sequence[Record],
    pairs: Iterable[tuple[str, str]],
    apart: Iterable[frozenset[str]] = (),
    sharpness: Mapping[str, float] | None = None,
) -> list[list[Record]]:
    """Heaps of at least two records: those that ``pairs`` of ids join, and those of the same bytes.

    No heap holds both of a pair in ``apart``. The best of a heap comes first: most pixels, then sharpest, then most bytes.
    """
    known = {record.id: record for record in records}
    leader = {id: id for id in known}
    members = {id: {id} for id in known}
    enemies: dict[str, set[str]] = {}
    for pair in apart:
        if len(both := sorted(pair)) == 2:
            enemies.setdefault(both[0], set()).add(both[1])
            enemies.setdefault(both[1], set()).add(both[0])

    def join(one: str, other: str) -> None:
        a, b = leader[one], leader[other]
        if a == b or any(enemies.get(id, set()) & members[b] for id in members[a]):
            return
        for id in members[b]:
            leader[id] = a
        members[a] |= members.pop(b)

    first: dict[bytes, str] = {}
    for record in records:
        if record.digest is not None and first.setdefault(record.digest, record.id) != record.id:
            join(first[record.digest], record.id)
    for one, other in pairs:
        join(one, other)
    sharp = sharpness or {}

    def worth(record: Record) -> tuple[float, ...] | tuple[float, float, float, str]:
        pixels = (record.width or 0) * (record.height or 0)
        return -pixels, -round(sharp.get(record.id, 0.0), 1), -(record.size or 0), record.id

    found = [sorted((known[id] for id in ids), key=worth) for ids in members.values() if len(ids) > 1]
    return sorted(found, key=lambda heap: heap[0].id)
