"""Rebuilds what a disk may hold after the power went: from a record of what was done, with what was not synced partly lost.

The model is stricter than common file systems, where a sync of one file often takes others along:

- What was written to a file before its last sync is there. Of later writes any subset of 4 KiB (or 512 byte) pieces is;
  a piece that is lost leaves what was there before, or zeros where other pieces made the file longer.
- Of each folder's changes of names a prefix is there, at least up to the folder's last sync. A name that is there may
  well belong to a file without content.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.faults.trace import Event

_NAMES = ("create", "unlink", "rename", "mkdir")


def everything(events: Sequence[Event]) -> dict[str, bytes | None]:
    """What the folder holds when nothing is lost: content by path, ``None`` for a folder."""
    return _Cut(events, None).files()


def after_power_cut(events: Sequence[Event], random_: random.Random) -> dict[str, bytes | None]:
    """One of the states that a power cut right after ``events`` can leave."""
    return _Cut(events, random_).files()


def build(state: dict[str, bytes | None], folder: Path) -> None:
    """Writes a state to an empty folder."""
    for path, content in state.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


class _Cut:
    def __init__(self, events: Sequence[Event], random_: random.Random | None) -> None:
        self._events = events
        self._random = random_
        # most of the time half of the pieces are lost, sometimes nearly none or nearly all
        self._share = random_.choice([0.02, 0.5, 0.5, 0.98, 1.0]) if random_ else 0.0
        self._piece = random_.choice([4096, 4096, 4096, 512]) if random_ else 1 << 40

    def files(self) -> dict[str, bytes | None]:
        content = self._contents()
        state: dict[str, bytes | None] = {}
        for path, file in sorted(self._names().items()):
            folder = path.rpartition("/")[0]
            if folder and folder not in state:
                continue  # its folder's own name was lost
            state[path] = None if file < 0 else bytes(content[file])
            if self._random and path.endswith("-shm"):
                state[path] = self._random.randbytes(32768)
        return state

    def _names(self) -> dict[str, int]:
        changes: dict[str, list[Event]] = defaultdict(list)
        synced: dict[str, int] = {}
        for event in self._events:
            if event.what in _NAMES:
                changes[event.path.rpartition("/")[0]].append(event)
            elif event.what == "sync_folder":
                synced[event.path] = len(changes[event.path])
        names: dict[str, int] = {}
        for folder, all_changes in changes.items():
            kept = len(all_changes)
            if self._random:
                kept = self._random.randint(synced.get(folder, 0), kept)
            for event in all_changes[:kept]:
                if event.what in ("unlink", "rename"):
                    names.pop(event.path, None)
                if event.what != "unlink":
                    names[event.target or event.path] = event.file
        return names

    def _contents(self) -> dict[int, bytearray]:
        last = {event.file: at for at, event in enumerate(self._events) if event.what == "sync"}
        content: dict[int, bytearray] = defaultdict(bytearray)
        for at, event in enumerate(self._events):
            if event.what not in ("write", "truncate"):
                continue
            safe = self._random is None or at < last.get(event.file, -1)
            if event.what == "write":
                self._write(content[event.file], event, safe)
            elif safe or not self._lost():
                _resize(content[event.file], event.offset)
        return content

    def _write(self, content: bytearray, event: Event, safe: bool) -> None:
        if safe:
            _put(content, event.offset, event.data)
            return
        start, end = event.offset, event.offset + len(event.data)
        while start < end:
            stop = min(end, start - start % self._piece + self._piece)
            if not self._lost():
                _put(content, start, event.data[start - event.offset : stop - event.offset])
            start = stop

    def _lost(self) -> bool:
        return self._random is not None and self._random.random() < self._share


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        _resize(content, offset)
    content[offset : offset + len(data)] = data
