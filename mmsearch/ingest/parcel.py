"""A batch on its way through the pipeline, and how loaded assets are sorted into it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.ingest.plan import EXIF, Action, Pending
from mmsearch.store import Change, Move, Snapshot, Touch
from mmsearch.types import Draft, Failure, ImageInfo, Json, Kind, Record, Vectors


class Read(NamedTuple):
    """An asset whose bytes have been read: an image's pixels or a text, ready for the encoder.

    ``content`` is ``None`` where the digest alone showed that nothing is new.
    """

    pending: Pending
    digest: bytes | None
    content: NDArray[np.uint8] | str | None
    info: ImageInfo | None
    size: int
    mtime_ns: int


@dataclass(slots=True)
class Parcel:
    """What one batch will change: rows to encode, rows that are known already, and items whose row stays."""

    kind: Kind
    drafts: list[Draft] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    known_drafts: list[Draft] = field(default_factory=list)
    known_rows: list[NDArray[np.float32]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    replaced: int = 0  # of the drafts: those that take the place of an older version
    remade: int = 0  # of the touches: those with another meta or group
    reused: int = 0
    rows: Vectors | None = None

    def change(self, forgiven: Sequence[tuple[str, str]]) -> Change:
        """The one transaction that this parcel becomes."""
        rows = [] if self.rows is None else [self.rows]
        if self.known_rows:
            rows.append(np.stack(self.known_rows))
        return Change(
            upserts=self.drafts + self.known_drafts,
            vectors=np.concatenate(rows) if rows else None,
            moves=self.moves,
            touches=self.touches,
            failures=self.failures,
            forgiven=forgiven,
        )

    def __len__(self) -> int:
        return len(self.drafts) + len(self.known_drafts) + len(self.moves) + len(self.touches) + len(self.failures)


class Sorter:
    """Decides for each asset that was read: encode it, reuse a stored row, move the item, or only note its new stat.

    ``root`` is the name of the items' root; ``gone`` are the vids of items whose file is no longer there: one of them
    with the same bytes has been moved.
    """

    def __init__(self, root: str | None, gone: Collection[int] = ()) -> None:
        self.root = root
        self._gone = set(gone)

    def sort(self, kind: Kind, batch: Sequence[Read], snapshot: Snapshot) -> Parcel:
        """One parcel of a batch of one kind."""
        parcel = Parcel(kind)
        stored = snapshot.by_digest([read.digest for read in batch if read.digest is not None])
        for read in batch:
            pending = read.pending
            same = stored.get(read.digest) if read.digest is not None else None
            if same is not None and same.kind is not kind:
                same = None
            if read.digest is not None and read.digest == pending.digest and pending.vid is not None:
                parcel.touches.append(self._touch(read))
            elif same is not None and same.vid in self._gone and pending.action is Action.NEW:
                self._gone.discard(same.vid)
                parcel.moves.append(self._move(read, same))
            elif same is not None:
                parcel.known_drafts.append(self._draft(kind, read, same))
                parcel.known_rows.append(snapshot.fetch([same.vid])[0])
                parcel.reused += 1
                parcel.replaced += pending.vid is not None
            else:
                parcel.drafts.append(self._draft(kind, read, None))
                parcel.inputs.append(read.content)
                parcel.replaced += pending.vid is not None
        return parcel

    def still_gone(self) -> list[int]:
        """The gone items that did not turn up under another name."""
        return sorted(self._gone)

    def remeta(self, pending: Pending) -> Touch:
        """The item's bytes are the same, its meta or group is not."""
        assert pending.vid is not None
        asset = pending.asset
        meta = _meta(asset.meta, pending.exif)
        return Touch(vid=pending.vid, size=asset.size, mtime_ns=asset.mtime_ns, meta=meta, group=asset.group)

    def _draft(self, kind: Kind, read: Read, same: Record | None) -> Draft:
        asset, info = read.pending.asset, read.info
        if info is None and same is not None:
            width, height, taken, exif = same.width, same.height, same.taken, same.meta.get(EXIF)
        else:
            width, height, taken, exif = info or (None, None, None, None)
        return Draft(
            id=asset.id,
            kind=kind,
            root=self.root,
            path=asset.path or None,
            size=read.size,
            mtime_ns=read.mtime_ns,
            digest=read.digest,
            group=read.pending.asset.group,
            width=width,
            height=height,
            taken=taken,
            text=read.content if isinstance(read.content, str) else None,
            meta=_meta(asset.meta, exif),
        )

    def _move(self, read: Read, same: Record) -> Move:
        asset = read.pending.asset
        return Move(
            vid=same.vid,
            id=asset.id,
            root=self.root,
            path=asset.path,
            size=read.size,
            mtime_ns=read.mtime_ns,
            group=read.pending.asset.group,
            meta=_meta(asset.meta, same.meta.get(EXIF)),
        )

    def _touch(self, read: Read) -> Touch:
        return replace(self.remeta(read.pending), size=read.size, mtime_ns=read.mtime_ns)


def _meta(meta: Mapping[str, Json] | None, exif: Mapping[str, Json] | None) -> dict[str, Json]:
    return {**(meta or {}), **({EXIF: dict(exif)} if exif else {})}


class Recent:
    """Rows encoded a moment ago, by digest: copies of one file in flight together are encoded once."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._rows: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()

    def get(self, digest: bytes | None) -> NDArray[np.float32] | None:
        return None if digest is None else self._rows.get(digest)

    def put(self, digest: bytes | None, row: NDArray[np.float32]) -> None:
        if digest is not None:
            self._rows[digest] = row
            if len(self._rows) > self._size:
                self._rows.popitem(last=False)
