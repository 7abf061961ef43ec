"""The storage engine: one collection folder, its catalogue and its vectors. Start at :class:`Store`."""

from __future__ import annotations

from mmsearch.store.changes import Change, CompactReport, Finding, IndexInfo, Move, StoreInfo, Touch
from mmsearch.store.layout import Calls, Disk
from mmsearch.store.snapshot import Snapshot
from mmsearch.store.store import Store
from mmsearch.store.vectors import SegmentInfo
from mmsearch.store.writer import Writer

__all__ = [
    "Calls",
    "Change",
    "CompactReport",
    "Disk",
    "Finding",
    "IndexInfo",
    "Move",
    "SegmentInfo",
    "Snapshot",
    "Store",
    "StoreInfo",
    "Touch",
    "Writer",
]
