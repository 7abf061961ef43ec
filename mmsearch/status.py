"""What a collection tells about itself at a glance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.adapter import ON as ADAPTER_ON
from mmsearch.store import Snapshot, StoreInfo
from mmsearch.types import Kind

UPDATED = "updated"
"""Name of the stored value that says when the collection was last brought up to date (Unix seconds)."""
PLAN = "plan:"
"""Before a kind: name of the stored value that says what was decided about its index, when, and why."""
TAIL, GONE = 0.1, 0.3
"""Shares of new and of gone rows from which on an index ought to be built anew."""
LARGE = 50_000
"""Items of a kind from which on measuring pays."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a collection holds and runs on. ``bytes`` counts all files, ``updated`` is Unix seconds.

    ``index`` names what searches run on, ``reason`` says why; ``adapter`` is the fingerprint of the one that is on.
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
    indexes: tuple[IndexState, ...] = ()
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class IndexState:
    """What the items of one kind are searched with, and why: ``recipe`` is ``exact``, or names the derived index.

    Of ``rows`` live items ``tail`` came after the index was built, and are compared one by one; ``gone`` of its own are live no
    more. ``recall`` (among ten, by kind of query), ``ms`` and ``exact_ms`` for one query were measured at the time ``when``,
    with ``measured`` items, for the target ``aim`` and at most ``memory`` bytes.
    """

    kind: str
    recipe: str
    rows: int
    tail: int
    gone: int = 0
    bytes: int = 0
    recall: Mapping[str, float] = field(default_factory=dict)
    ms: float = 0.0
    exact_ms: float = 0.0
    when: float | None = None
    reason: str = ""
    measured: int = 0
    aim: float = 0.95
    memory: int | None = None

    def due(self) -> str | None:
        """Why it is time to measure and build again, or ``None``."""
        if self.recipe != "exact":
            if self.tail > TAIL * self.rows:
                return f"{self.tail:,} of {self.rows:,} items came after it was built"
            if self.gone > GONE * (self.gone + self.rows - self.tail):
                return f"{self.gone:,} of its items are live no more"
            return None
        if self.rows >= LARGE and self.rows >= 2 * self.measured:
            return f"{self.rows:,} items, and {self.measured:,} when it was measured" if self.measured else "never measured"
        return None


def index_states(snapshot: Snapshot) -> list[IndexState]:
    """What each kind of item is searched with. Whether the files are sound is what ``verify`` says."""
    infos = {one.kind: one for one in snapshot.indexes()}
    states = []
    for kind in Kind:
        info, noted = infos.get(str(kind)), json.loads(snapshot.meta(PLAN + str(kind)) or "{}")
        if info is None:
            if rows := snapshot.count(kind):
                states.append(IndexState(str(kind), "exact", rows, 0, **noted))
            continue
        rows, tail = snapshot.count(kind), snapshot.count_since(kind, info.upto_vid)
        old = rows - tail
        told = _told(info.recipe)
        gone = max(int(told.get("rows", old)) - old, 0)
        figures = {name: told[name] for name in ("recall", "ms", "exact_ms") if name in told}
        name = str(told.get("name", info.recipe))
        states.append(IndexState(str(kind), name, rows, tail, gone, info.bytes, **figures, **noted))
    return states


def _told(recipe: str) -> dict[str, Any]:
    try:
        told = json.loads(recipe)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def status_of(snapshot: Snapshot, info: StoreInfo, path: Path) -> Status:
    """Read a collection's status from one snapshot of it."""
    updated = snapshot.meta(UPDATED)
    states = index_states(snapshot)
    return Status(
        path=path,
        info=info,
        images=snapshot.count(Kind.IMAGE),
        texts=snapshot.count(Kind.TEXT),
        failures=snapshot.count_failures(),
        roots=snapshot.roots(),
        bytes=snapshot.size_on_disk(),
        updated=None if updated is None else float(updated),
        index=", ".join(sorted({one.recipe for one in states})) or "exact",
        reason="; ".join(reasons(states)),
        indexes=tuple(states),
        adapter=snapshot.meta(ADAPTER_ON),
    )


def reasons(states: Sequence[IndexState]) -> list[str]:
    """One line a kind: what its searches run on, and why."""
    told = []
    for one in states:
        if one.recipe == "exact":
            told.append(f"{one.kind}s: {one.reason}" if one.reason else f"{one.kind}s: every row is compared")
            continue
        recall = ", ".join(f"{value:.3f} for {name}s" for name, value in sorted(one.recall.items()))
        behind = f"; {one.tail:,} newer rows are compared one by one" if one.tail else ""
        told.append(f"{one.kind}s: {one.reason}; recall@10 {recall}{behind}")
    return told or ["every row is compared"]
