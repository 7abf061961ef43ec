"""Items that a caller holds: pictures, bytes, texts, or vectors made elsewhere."""

from __future__ import annotations

import gc
import io
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.decoding.loader import Loader
from mmsearch.errors import UsageError
from mmsearch.ingest.options import IngestOptions, Rules, Target
from mmsearch.ingest.parcel import Sorter
from mmsearch.ingest.pipeline import Pipeline, Stages, Tally
from mmsearch.ingest.plan import EXIF, Action, Pending
from mmsearch.ingest.sync import FEW, bottleneck
from mmsearch.store import Change
from mmsearch.types import Asset, Draft, IngestReport, Item, Kind, Record, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

BLOCK = 4096


def add(items: Iterable[Item], target: Target, *, rules: Rules, options: IngestOptions) -> IngestReport:
    """Add items, or replace those with the same id; of two with one id in a call the later wins.

    Items with a vector are stored as they are, the others are encoded. With ``rules.on_error == "raise"`` the first
    item that cannot be read raises :class:`InputError`; what was committed before it stays.
    """
    began = time.monotonic()
    tally = Tally()
    stream = iter(items)
    with ExitStack() as stack:
        loader: Loader | None = None
        while block := list(islice(stream, BLOCK)):
            latest = {item.id: item for item in block}
            with target.store.snapshot() as snapshot:
                stored = snapshot.by_id(list(latest))
            with _no_collector():
                _store_ready([item for item in latest.values() if item.vector is not None], stored, target, tally)
            rest = {id_: item for id_, item in latest.items() if item.vector is None}
            if rest:
                if loader is None:
                    few = sum(item.kind is Kind.IMAGE for item in rest.values()) <= FEW
                    loader = stack.enter_context(options.loader(target.encoder(), few=few))
                _encode(rest, stored, target, tally, loader, rules, options)
    return IngestReport(
        added=tally.added,
        updated=tally.updated,
        unchanged=tally.touched,
        reused=tally.reused,
        skipped=tuple(tally.skipped),
        seconds=time.monotonic() - began,
        stages={"decode": tally.decode, "encode": tally.encode, "commit": tally.commit},
        bottleneck=bottleneck(tally),
    )


# --- items with a vector ----------------------------------------------------------------------------------------


@contextmanager
def _no_collector() -> Iterator[None]:
    """Python's search for cycles, held off for one block: it would walk all of the program's objects again and again for
    thousands of new ones that are in no cycle, a tenth of the time. What it would have found it finds afterwards.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _store_ready(items: list[Item], stored: dict[str, Record], target: Target, tally: Tally) -> None:
    if not items:
        return
    assert target.writer is not None
    rows = _rows(items)
    drafts = [
        Draft(item.id, item.kind, path=_path(item) or None, group=item.group, text=item.text, meta=dict(item.meta))
        for item in items
    ]
    target.writer.commit(Change(upserts=drafts, vectors=_unit(rows, target.store.info.dim)))
    replaced = sum(item.id in stored for item in items)
    tally.added += len(items) - replaced
    tally.updated += replaced


def _rows(items: list[Item]) -> Vectors:
    """The items' vectors ``(n, dim)``; one that came as ``(1, dim)`` is as good. Raises :class:`UsageError`."""
    try:
        rows = np.array([item.vector for item in items], dtype=np.float32)
        return rows if rows.ndim == 2 else rows.reshape(len(rows), -1)
    except (TypeError, ValueError):  # of several shapes
        parts = [np.asarray(item.vector, dtype=np.float32).reshape(-1) for item in items]
    if len({len(one) for one in parts}) > 1:
        raise UsageError(f"the vectors have different lengths: {sorted({len(one) for one in parts})[:3]}")
    return np.stack(parts)


def _unit(rows: Vectors, dim: int) -> Vectors:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if rows.shape[1] != dim or not np.isfinite(norms).all() or (norms == 0).any():
        raise UsageError(f"a vector must have {dim} finite numbers that are not all zero; got {rows.shape[1]}")
    return np.asarray(rows / norms, dtype=np.float32)


# --- items to encode --------------------------------------------------------------------------------------------


class _Held:
    """A source of items in memory."""

    root, scope, complete = "", "", False

    def __init__(self, items: dict[str, Item]) -> None:
        self._items = items

    def scan(self) -> Iterator[Asset]:
        for item in self._items.values():
            yield Asset(item.id, item.kind, _path(item), 0, 0, item.group, item.text, dict(item.meta))

    def read(self, asset: Asset) -> bytes:
        value = self._items[asset.id].image
        assert value is not None
        assert not isinstance(value, str | Path)  # these are located, not read
        return value if isinstance(value, bytes) else _png(value)

    def locate(self, asset: Asset) -> str | None:
        """The image's path where it was given as one."""
        return asset.path or None


def _encode(
    items: dict[str, Item],
    stored: dict[str, Record],
    target: Target,
    tally: Tally,
    loader: Loader,
    rules: Rules,
    options: IngestOptions,
) -> None:
    assert target.writer is not None
    source, encoder = _Held(items), target.encoder()
    stages = Stages(source, loader, encoder, target.store, target.writer, Sorter(None), options.batch_for(encoder))
    pipeline = Pipeline(stages, raise_errors=rules.on_error == "raise", progress=target.progress, tally=tally)
    pipeline.run((_pending(asset, stored.get(asset.id)) for asset in source.scan()), total=None)


def _pending(asset: Asset, record: Record | None) -> Pending:
    if record is None:
        return Pending(Action.NEW, asset)
    same_kind = record.kind is asset.kind
    return Pending(Action.CHANGED, asset, record.vid, record.digest if same_kind else None, record.meta.get(EXIF))


def place_of(item: Item) -> str:
    """What a failure of this item has for a path: its file, else its id."""
    return _path(item) or item.id


def _path(item: Item) -> str:
    if isinstance(item.image, str | Path):
        return os.path.abspath(os.path.expanduser(item.image))
    return ""


def _png(image: Image) -> bytes:
    """A Pillow image as bytes, so that it takes the same way as all others: upright, transparency and all."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode not in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"):
        upright = upright.convert("RGB")
    buffer = io.BytesIO()
    upright.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
