"""The oracle of the store's tests: what a collection must hold, as plain dicts, and a full comparison with a snapshot."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from mmsearch.store import Change, Snapshot, Store
from mmsearch.types import Draft, Failure, Kind, Record, Vectors

DIM = 8
_SHM = Path("/dev/shm")  # Linux: a file system in memory
MEMORY = _SHM if os.access(_SHM, os.W_OK) else None


class SmallStore(Store):
    """Segments of 16 rows, so that a handful of commits makes several."""

    segment_rows = 16


def vector(seed: object, dim: int = DIM) -> np.ndarray:
    """The unit row ``(dim,)`` that belongs to any value, for ever."""
    number = int.from_bytes(hashlib.sha256(repr(seed).encode("utf-8", "backslashreplace")).digest()[:8], "big")
    row = np.random.default_rng(number).standard_normal(dim).astype(np.float32)
    return row / np.linalg.norm(row)


def vectors(seeds: Sequence[object], dim: int = DIM) -> Vectors:
    return np.stack([vector(seed, dim) for seed in seeds]) if seeds else np.empty((0, dim), np.float32)


def stored(rows: Vectors) -> Vectors:
    """What float16 keeps of them."""
    return rows.astype(np.float16).astype(np.float32)


def photo(path: str, *, root: str = "photos", version: int = 0, **more: object) -> Draft:
    """An image item from a file; its digest is of path and version."""
    digest = hashlib.sha256(f"{path}{version}".encode("utf-8", "surrogatepass")).digest()
    known = {"size": 1000 + version, "mtime_ns": 10**18 + version, "meta": {"version": version}} | more
    return Draft(id=path, kind=Kind.IMAGE, root=root, path=path, digest=digest, width=4, height=3, **known)  # type: ignore[arg-type]


def caption(id: str, text: str, **more: object) -> Draft:
    """A text item that came from no file."""
    return Draft(id=id, kind=Kind.TEXT, text=text, **more)  # type: ignore[arg-type]


class Model:
    """A collection in memory: live records by vid, every row ever stored and not lost, failures and roots."""

    def __init__(self) -> None:
        self.items: dict[int, Record] = {}
        self.rows: dict[int, np.ndarray] = {}
        self.failures: dict[tuple[str, str], Failure] = {}
        self.roots: dict[str, str] = {}
        self.next_vid = 0

    def copy(self) -> Model:
        """Another one that goes its own way."""
        other = copy.copy(self)
        other.items, other.rows = self.items.copy(), self.rows.copy()
        other.failures, other.roots = self.failures.copy(), self.roots.copy()
        return other

    def apply(self, change: Change) -> list[int]:
        """The contract of ``Writer.commit``, step by step."""
        for vid in change.deletes:
            self.items.pop(vid, None)
        moving = {move.vid for move in change.moves}
        claimed = {draft.id for draft in change.upserts} | {move.id for move in change.moves}
        for vid, held in list(self.items.items()):
            if held.id in claimed and vid not in moving:
                del self.items[vid]
        vids = list(range(self.next_vid, self.next_vid + len(change.upserts)))
        self.next_vid += len(vids)
        last = {draft.id: vid for vid, draft in zip(vids, change.upserts, strict=True)}
        for at, (vid, draft) in enumerate(zip(vids, change.upserts, strict=True)):
            assert change.vectors is not None
            self.rows[vid] = stored(change.vectors[at])
            if last[draft.id] == vid:
                self.items[vid] = Record(**asdict(draft), vid=vid)
        for move in change.moves:
            if move.vid in self.items:
                self.items[move.vid] = replace(self.items[move.vid], **asdict(move))
        for touch in change.touches:
            if touch.vid in self.items:
                new = {key: value for key, value in asdict(touch).items() if key not in ("meta", "group") or value is not None}
                self.items[touch.vid] = replace(self.items[touch.vid], **new)
        for failure in change.failures:
            self.failures[failure.root, failure.path] = failure
        for place in change.forgiven:
            self.failures.pop(place, None)
        return vids

    def compare(self, snapshot: Snapshot) -> None:
        """Asserts that a snapshot shows this collection by every way of asking."""
        live = sorted(self.items)
        assert snapshot.live().vids.tolist() == live
        assert snapshot.count() == len(live)
        for kind in Kind:
            mine = [vid for vid in live if self.items[vid].kind is kind]
            assert snapshot.live(kind).vids.tolist() == mine
            assert snapshot.count(kind) == len(mine)
        backward = live[::-1]
        assert snapshot.records([*backward, self.next_vid + 5]) == [self.items[vid] for vid in backward]
        by_id = {item.id: item for item in self.items.values()}
        assert snapshot.by_id([*by_id, "no such id"]) == by_id
        self._compare_files(snapshot)
        self._compare_rows(snapshot, backward)
        self._compare_words(snapshot)
        assert list(snapshot.failures()) == sorted(
            self.failures.values(), key=lambda one: (one.root.encode(), os.fsencode(one.path))
        )
        assert snapshot.roots() == self.roots

    def _compare_files(self, snapshot: Snapshot) -> None:
        for root in {item.root for item in self.items.values() if item.root is not None}:
            filed = [item for item in self.items.values() if item.root == root and item.path is not None]
            wanted = sorted((item.path, item.id, item.size, item.mtime_ns, item.vid) for item in filed)
            assert sorted(snapshot.stats(root)) == wanted
            by_path: dict[str, list[Record]] = {}
            for item in sorted(filed, key=lambda one: one.vid):
                by_path.setdefault(item.path or "", []).append(item)
            assert snapshot.by_path(root, [*by_path, "nowhere"]) == by_path
        digests = {item.digest for item in self.items.values() if item.digest is not None}
        found = snapshot.by_digest([*digests, b"none"])
        assert found.keys() == digests
        assert all(self.items[record.vid] == record and record.digest == key for key, record in found.items())

    def _compare_rows(self, snapshot: Snapshot, order: list[int]) -> None:
        if order:
            assert np.array_equal(snapshot.fetch(order), np.stack([self.rows[vid] for vid in order]))
        seen: list[int] = []
        for vids, rows in snapshot.blocks(rows=7):
            assert len(vids) == len(rows) <= 7
            for vid, row in zip(vids.tolist(), rows, strict=True):
                if vid in self.rows:  # not one whose row was lost
                    assert np.array_equal(row.astype(np.float32), self.rows[vid])
                seen.append(vid)
        assert seen == sorted(set(seen))
        assert set(self.items) <= set(seen)

    def _compare_words(self, snapshot: Snapshot) -> None:
        holders: dict[str, set[int]] = {}
        for item in self.items.values():
            for word in words_of(item):
                holders.setdefault(word, set()).add(item.vid)
        for word, vids in holders.items():
            assert {vid for vid, _ in snapshot.search_text(word, 1000)} == vids


def words_of(item: Record) -> set[str]:
    """The plain ASCII words that the item must be found by (four letters and more, which no stemmer touches here)."""
    name = item.id if item.path is None else os.path.splitext(item.path)[0]
    strings = [value for value in item.meta.values() if isinstance(value, str)]
    return set(re.findall(r"\b[a-z]{4,}\b", " ".join([item.text or "", name.replace("_", " "), *strings])))


def clean(store: Store) -> None:
    """Asserts that a full check finds nothing."""
    findings = store.verify()
    assert findings
    assert [one for one in findings if one.level != "ok"] == []
