"""What manifests and COCO files have in common: assets of images that are named, of texts that are held, and their problems."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b

from mmsearch.sources.files import problem
from mmsearch.types import Asset, Failure, Json, Kind

MAX_PROBLEMS = 10_000


class Problems(list[Failure]):
    """The problems of one scan; beyond :data:`MAX_PROBLEMS` they are only counted, so that memory stays flat."""

    more = 0

    def note(self, path: str, reason: str, detail: str) -> None:
        """Add one."""
        if len(self) < MAX_PROBLEMS:
            self.append(problem(path, reason, detail))
        else:
            self.more += 1

    def close(self, path: str) -> None:
        """Say how many were not kept."""
        if self.more:
            self.append(problem(path, "more", f"and {self.more:,} more problems"))


def text_asset(id: str, text: str, path: str, group: str | None, meta: Mapping[str, Json]) -> Asset:
    """A text that a file of many holds. ``size`` counts its bytes, and for ``mtime_ns`` stands a hash of it.

    So a changed text is seen as changed, and another row's change is not. Meta and group are no part of it: the ingest
    compares them itself wherever an asset brings them.
    """
    data = text.encode()
    return Asset(id, Kind.TEXT, path, len(data), digest63(data), group, text, meta)


def digest63(data: bytes) -> int:
    """A hash of 63 bits that is the same in every process."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") >> 1


def image_asset(id: str, root: str, below: str, group: str | None, meta: Mapping[str, Json]) -> Asset:
    """An image that a file names. One ``stat``.

    Where there is no such file, size and mtime are -1: the item is then not taken for gone (its line is still there, its
    disk may not be), and reading it fails with the reason.
    """
    try:
        stat = os.stat(f"{root.rstrip('/')}/{below}")
    except (OSError, ValueError):
        return Asset(id, Kind.IMAGE, below, -1, -1, group, None, meta)
    return Asset(id, Kind.IMAGE, below, stat.st_size, stat.st_mtime_ns, group, None, meta)


def below_root(root: str, folder: str, name: str) -> str:
    """Where the file ``name``, as written in a file of ``folder``, lies below ``root``. Raises :class:`ValueError`."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError("the image has no name")
    os.fsencode(name)  # UnicodeEncodeError, a ValueError, for what no file can be called
    if "://" in name[:12]:
        raise ValueError(f"{name[:80]!r} is an address, not a file")
    full = os.path.normpath(os.path.join(folder, name))
    prefix = root.rstrip("/") + "/"
    if not full.startswith(prefix):
        raise ValueError(f"{name[:80]!r} is not below {root}")
    return full[len(prefix) :]
