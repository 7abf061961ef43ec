"""The storage engine: one collection folder, its catalogue and its vectors. Start at :class:`Store`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmsearch.store.changes import Change, CompactReport, Finding, IndexInfo, Move, StoreInfo, Touch
from mmsearch.store.layout import Calls, Disk
from mmsearch.store.rows import Shown
from mmsearch.store.snapshot import Snapshot
from mmsearch.store.store import Store
from mmsearch.store.vectors import SegmentInfo

if TYPE_CHECKING:
    from mmsearch.store.writer import Writer as Writer

__all__ = [
    "Calls",
    "Change",
    "CompactReport",
    "Disk",
    "Finding",
    "IndexInfo",
    "Move",
    "SegmentInfo",
    "Shown",
    "Snapshot",
    "Store",
    "StoreInfo",
    "Touch",
    "Writer",
]


def __getattr__(name: str) -> Any:
    """The writer is imported when it is first asked for: SQLAlchemy comes with it."""
    if name == "Writer":
        from mmsearch.store.writer import Writer

        return Writer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
