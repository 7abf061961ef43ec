"""What is handed to a commit, and what the store tells about itself: frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmsearch.types import Draft, Failure, Json, Vectors


@dataclass(frozen=True, slots=True)
class Move:
    """An item with the same bytes in another place: its row and vid are kept."""

    vid: int
    id: str
    root: str | None
    path: str | None
    size: int | None
    mtime_ns: int | None
    group: str | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Touch:
    """The same bytes in the same place, with another stat; ``meta`` and ``group`` stay as they are where ``None``."""

    vid: int
    size: int | None
    mtime_ns: int | None
    meta: Mapping[str, Json] | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Everything that one commit does, all of it or nothing.

    ``vectors`` is ``(len(upserts), dim)`` float32, row ``i`` for ``upserts[i]``. An upsert whose id exists replaces
    that item: the old version dies in the same commit and the new one gets a new vid; of two upserts with one id the
    later counts. A move to an id that another item holds replaces that item. Vids that are not live are ignored.
    ``forgiven`` are the ``(root, path)`` of failures to forget.
    """

    upserts: Sequence[Draft] = ()
    vectors: Vectors | None = None
    deletes: Sequence[int] = ()
    moves: Sequence[Move] = ()
    touches: Sequence[Touch] = ()
    failures: Sequence[Failure] = ()
    forgiven: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a collection is; all but the versions is fixed when it is created. ``created`` is ISO 8601 in UTC."""

    format_version: int
    dim: int
    dtype: str
    model: str
    fingerprint: str
    created: str
    mmsearch_version: str


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did: segments rewritten into how many, dead rows dropped, bytes given back to the disk."""

    segments_before: int = 0
    segments_after: int = 0
    rows_dropped: int = 0
    bytes_freed: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check. ``level`` is ``ok``, ``warning`` (nothing is lost) or ``error``; ``what`` a short stable word."""

    level: str
    what: str
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A derived index as the catalogue has it: a file name below ``indexes/``, its size and CRC-32, and what is in it."""

    kind: str
    file: str
    bytes: int
    crc32: int
    upto_vid: int
    recipe: str
    faiss_version: str
