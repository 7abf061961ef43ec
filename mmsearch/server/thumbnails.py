"""Thumbnails: made on first use, kept beside the collection in ``thumbnails/``, which may be deleted at any time."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mmsearch.collection import Collection
from mmsearch.errors import ImageError, InputError, ItemNotFound
from mmsearch.files import read_with_stat
from mmsearch.images import thumbnail
from mmsearch.server.files import path_of
from mmsearch.types import Kind

FOLDER = "thumbnails"
_SIZES = (128, 256, 512, 1024)


class Thumb(NamedTuple):
    """A thumbnail; ``data`` is ``None`` where the caller has it already. ``source``: ``browser``, ``disk`` or ``made``."""

    data: bytes | None
    etag: str
    source: str


def round_up(size: int, largest: int) -> int:
    """The size that is made for a size that is asked: few sizes, so that few files are kept."""
    return next((one for one in _SIZES if one >= size), _SIZES[-1]) if size <= largest else max(s for s in _SIZES if s <= largest)


def get(collection: Collection, vid: int, size: int, extra: Sequence[Path], known: str | None) -> Thumb | None:
    """The thumbnail of an item's version, ``None`` where it has no picture that can be read.

    A version's picture never changes, so the ETag is made of its number. A file that was changed after it was indexed
    is shown as it is now, and not kept. ``known`` is the ``If-None-Match`` header.
    """
    try:
        record = collection.by_vid(vid)
    except ItemNotFound:
        return None
    if record.kind is not Kind.IMAGE:
        return None
    etag = f'"{collection.info.fingerprint[:8]}-{vid}-{size}"'
    if known is not None and etag in [one.strip().removeprefix("W/") for one in known.split(",")]:
        return Thumb(None, etag, "browser")
    kept = collection.path / FOLDER / str(size) / f"{vid // 1000}" / f"{vid}.jpg"
    with suppress(OSError):
        return Thumb(kept.read_bytes(), etag, "disk")
    if record.path is None:
        return None
    try:
        found = read_with_stat(path_of(collection, record, extra))
        data = thumbnail(found.data, size)
    except (ImageError, InputError):
        return None
    if record.mtime_ns in (None, 0, found.mtime_ns):
        _keep(kept, data)
    return Thumb(data, etag, "made")


def _keep(path: Path, data: bytes) -> None:
    """Whole or not at all; on read-only media not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        os.replace(draft, path)
