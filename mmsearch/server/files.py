"""An item's file, found by its id only; what is opened is looked at again, so that no link leads out of its root."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from mmsearch.collection import Collection
from mmsearch.errors import InputError
from mmsearch.files import read_file
from mmsearch.images.formats import Format, sniff
from mmsearch.server.errors import Problem
from mmsearch.types import Record

MAX_BYTES: Final = 256 << 20
"""Larger files are not served: they are held in memory for the time of the request."""

_TYPES: Final = {
    Format.JPEG: "image/jpeg",
    Format.PNG: "image/png",
    Format.GIF: "image/gif",
    Format.WEBP: "image/webp",
    Format.AVIF: "image/avif",
    Format.BMP: "image/bmp",
}
"""Pictures that browsers draw and that hold no script, by content and never by name; all else is for saving only."""


class Served(NamedTuple):
    """A file's bytes, its content type, and whether a browser may show it."""

    data: bytes
    type: str
    inline: bool


def read(collection: Collection, record: Record, extra: Sequence[Path]) -> Served:
    """The file of an item. Raises :class:`Problem` 404 where there is none that may be served."""
    try:
        data = read_file(path_of(collection, record, extra), max_bytes=MAX_BYTES)
    except InputError:
        raise Problem(404, "the item's file cannot be read now") from None
    kind = sniff(data)
    type_ = _TYPES.get(kind) if kind else None
    return Served(data, type_ or "application/octet-stream", type_ is not None)


def path_of(collection: Collection, record: Record, extra: Sequence[Path]) -> str:
    """The real path of an item's file, every link resolved: below its root, or below one of ``extra``.

    Raises :class:`Problem` 404. The path that comes back has no link left in it, so what is opened is what was checked,
    unless someone with the rights to change the tree does so in between.
    """
    path = collection.locate(record)
    if path is None:
        raise Problem(404, "this item came from no file")
    real = os.path.realpath(path)
    root = collection.roots().get(record.root) if record.root is not None else None
    allowed = [*([_folder(root)] if root else []), *map(str, extra)]
    if not any(_below(real, os.path.realpath(folder)) for folder in allowed):
        raise Problem(404, "the item's file lies outside the folders that are served", hint="name its folder with --files-under")
    return real


def _folder(root: str) -> str:
    """A manifest's root is its folder, or the file itself in older collections."""
    return os.path.dirname(root) if os.path.isfile(root) else root


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)
