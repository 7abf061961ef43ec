"""What a collection tells about itself at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmsearch.store import Snapshot, StoreInfo
from mmsearch.types import Kind

UPDATED = "updated"
"""Name of the stored value that says when the collection was last brought up to date (Unix seconds)."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a collection holds and runs on. ``bytes`` counts all files, ``updated`` is Unix seconds.

    ``index`` names what searches run on, ``reason`` says why.
    """

    path: Path
    info: StoreInfo
    images: int
    texts: int
    failures: int
    roots: Mapping[str, str]
    bytes: int
    updated: float | None
    index: str
    reason: str


def status_of(snapshot: Snapshot, info: StoreInfo, path: Path) -> Status:
    """Read a collection's status from one snapshot of it."""
    updated = snapshot.meta(UPDATED)
    return Status(
        path=path,
        info=info,
        images=snapshot.count(Kind.IMAGE),
        texts=snapshot.count(Kind.TEXT),
        failures=sum(1 for _ in snapshot.failures()),
        roots=snapshot.roots(),
        bytes=snapshot.size_on_disk(),
        updated=None if updated is None else float(updated),
        index="exact",
        reason="every row is compared; nothing is approximated",
    )
