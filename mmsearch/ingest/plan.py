"""What a scan means: each asset is compared with the catalogue, and only what differs becomes work.

An unchanged tree must cost little more than listing it, and memory must not grow with it. So the catalogue's side is
kept as arrays (16 bytes an item), the assets stream past in blocks, and the work that is found waits in a temporary
file.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.store import Snapshot
from mmsearch.types import Asset, Json, Kind, Record, Vids

BLOCK = 4096
TRANSIENT = frozenset({"vanished", "permission", "io_error"})
"""Failures that can end without the file's size or mtime changing: these files are tried again at every run."""
EXIF = "exif"
"""The key under which what the camera wrote lies in an item's meta; all other keys come from the source."""


class Action(StrEnum):
    NEW = "new"
    CHANGED = "changed"  # another size or mtime: the bytes decide
    REMETA = "remeta"  # same bytes, other meta or group


class Pending(NamedTuple):
    """One asset that needs work; ``vid`` and ``digest`` are those of the item it replaces."""

    action: Action
    asset: Asset
    vid: int | None = None
    digest: bytes | None = None
    exif: Json = None


class Known:
    """What the catalogue holds of one source, as hashes of (path, id, size, mtime).

    Python's ``hash`` of a string is keyed anew in each process; two assets that agree by chance among a million have a
    probability of 1e-13.
    """

    def __init__(self, snapshot: Snapshot, root: str, scope: str) -> None:
        pairs = np.fromiter(
            (
                (hash((path, id_, size, mtime_ns)), vid)
                for path, id_, size, mtime_ns, vid in snapshot.stats(root, scope)
            ),
            dtype=np.dtype([("key", np.int64), ("vid", np.int64)]),
        )
        pairs.sort(order="key")
        self._keys: NDArray[np.int64] = np.ascontiguousarray(pairs["key"])
        self._vids: Vids = np.ascontiguousarray(pairs["vid"])
        self._seen = np.zeros(len(pairs), dtype=np.bool_)
        self._kept: set[int] = set()
        self._failures = {
            (failure.path, failure.size, failure.mtime_ns): failure.reason in TRANSIENT
            for failure in snapshot.failures(root)
            if not scope or failure.path == scope or failure.path.startswith(scope + "/")
        }
        self._failures_seen: set[str] = set()

    def __len__(self) -> int:
        return len(self._vids)

    def unchanged(self, block: list[Asset]) -> NDArray[np.bool_]:
        """Which assets of the block the catalogue has just so; they count as seen."""
        keys = np.fromiter((hash((a.path, a.id, a.size, a.mtime_ns)) for a in block), np.int64, len(block))
        if not len(self._keys):
            return np.zeros(len(block), dtype=np.bool_)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        same = np.asarray(self._keys[at] == keys)
        self._seen[at[same]] = True
        return same

    def failed(self, asset: Asset) -> bool:
        """Whether this asset was skipped before, at this size and mtime, and would be again."""
        transient = self._failures.get((asset.path, asset.size, asset.mtime_ns))
        if transient is None:
            return False
        self._failures_seen.add(asset.path)
        return not transient

    def stale_failures(self) -> list[str]:
        """Paths of failures whose file is gone or has changed."""
        return [path for path, _, _ in self._failures if path not in self._failures_seen]

    def keep(self, vid: int) -> None:
        """The item is still there, though not just so."""
        self._kept.add(vid)

    def gone(self) -> Vids:
        """Items of which no asset has been seen, ascending."""
        vids = np.sort(self._vids[~self._seen])
        return vids[~np.isin(vids, np.fromiter(self._kept, np.int64, len(self._kept)))]


class Spool:
    """Pending work in a temporary file, one JSON line each: 100,000 assets as objects would weigh 30 MB."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 - lives as long as the spool
        self.total = 0

    def put(self, pending: Pending) -> None:
        asset = pending.asset._replace(kind=pending.asset.kind.value)  # type: ignore[arg-type]
        digest = pending.digest.hex() if pending.digest else None
        json.dump([pending.action.value, asset, pending.vid, digest, pending.exif], self._file)
        self._file.write("\n")
        self.total += 1

    def __iter__(self) -> Iterator[Pending]:
        self._file.seek(0)
        for line in self._file:
            action, asset, vid, digest, exif = json.loads(line)
            asset[1] = Kind(asset[1])
            yield Pending(Action(action), Asset(*asset), vid, bytes.fromhex(digest) if digest else None, exif)

    def close(self) -> None:
        self._file.close()


class Plan(NamedTuple):
    """The outcome of a scan: work to do, and counts of what needs none."""

    pending: Spool
    known: Known
    scanned: int
    unchanged: int
    failed_before: int


def make_plan(
    assets: Iterable[Asset], snapshot: Snapshot, known: Known, *, root: str, checksum: bool, tick: Callable[[int], None]
) -> Plan:
    """Compare every asset with the catalogue. ``checksum`` distrusts size and mtime and has all bytes read.

    ``tick`` is told the number of assets seen, once a block. Costs about 3 µs an asset that has not changed.
    """
    spool = Spool()
    try:
        return _fill(spool, iter(assets), snapshot, known, root, checksum, tick)
    except BaseException:
        spool.close()
        raise


def _fill(
    spool: Spool,
    stream: Iterator[Asset],
    snapshot: Snapshot,
    known: Known,
    root: str,
    checksum: bool,
    tick: Callable[[int], None],
) -> Plan:
    scanned = unchanged = failed_before = 0
    while block := list(islice(stream, BLOCK)):
        scanned += len(block)
        same = known.unchanged(block)
        rest = []
        for asset, is_same in zip(block, same.tolist(), strict=True):
            if is_same and not checksum and asset.meta is None and asset.group is None:
                unchanged += 1
            else:
                rest.append(asset)
        stored = snapshot.by_id([asset.id for asset in rest])
        for asset in rest:
            record = stored.get(asset.id)
            if record is not None and record.root != root:
                record = None
            if record is not None:
                known.keep(record.vid)
            if known.failed(asset):
                failed_before += 1
                continue
            pending = _compare(asset, record, checksum=checksum)
            if pending is None:
                unchanged += 1
            else:
                spool.put(pending)
        tick(scanned)
    return Plan(spool, known, scanned, unchanged, failed_before)


def _compare(asset: Asset, record: Record | None, *, checksum: bool) -> Pending | None:
    if record is None:
        return Pending(Action.NEW, asset)
    if checksum or (asset.size, asset.mtime_ns) != (record.size, record.mtime_ns):
        return Pending(Action.CHANGED, asset, record.vid, record.digest, record.meta.get(EXIF))
    theirs = {key: value for key, value in record.meta.items() if key != EXIF}
    if _canonical(asset.meta or {}) != _canonical(theirs) or asset.group != record.group:
        return Pending(Action.REMETA, asset, record.vid, record.digest, record.meta.get(EXIF))
    return None


def _canonical(meta: Json) -> str:
    return json.dumps(meta, sort_keys=True)
