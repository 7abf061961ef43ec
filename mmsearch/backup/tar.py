"""A strict little part of tar: plain files with short names and no headers of any other kind.

Nothing is ever unpacked to a path that an archive names, so that no name can lead anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from mmsearch.errors import CollectionCorrupt

BLOCK = 512
_MAX_MEMBERS = 1_000_000
_FIELDS = (b"0000644\0", b"0000000\0", b"0000000\0")  # mode, uid, gid


class Place(NamedTuple):
    """Where a member's bytes lie in the file."""

    offset: int
    size: int


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member. The same for all times and users. Raises ``ValueError`` beyond 8 GiB or 100 letters."""
    raw = name.encode("ascii")
    if len(raw) > 100 or not 0 <= size < 8**11:
        raise ValueError(f"{name} with {size} bytes does not fit into a plain tar header")
    before = raw.ljust(100, b"\0") + b"".join(_FIELDS) + b"%011o\0" % size + b"%011o\0" % 0
    after = b"0" + bytes(100) + b"ustar\0" + b"00" + bytes(247)
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after


def padding(size: int) -> bytes:
    """What follows a member of this size."""
    return bytes(-size % BLOCK)


END = bytes(2 * BLOCK)


def is_tar(path: Path) -> bool:
    """Whether a file begins as a tar does. ``False`` for what cannot be read, too."""
    try:
        with path.open("rb") as file:
            return file.read(BLOCK)[257:262] == b"ustar"
    except OSError:
        return False


def places(file: IO[bytes], length: int) -> dict[str, Place]:
    """The members of an open tar file of ``length`` bytes. Reads headers only.

    Raises :class:`CollectionCorrupt` for anything but plain files with different names, for a member that would end behind
    the file, and where the end is missing.
    """
    found: dict[str, Place] = {}
    for name, place in _headers(file, length):
        if name in found or len(found) == _MAX_MEMBERS:
            raise _bad(f"{name!r} is in it twice, or it has too many members")
        found[name] = place
    return found


def _headers(file: IO[bytes], length: int) -> Iterator[tuple[str, Place]]:
    at = 0
    while True:
        file.seek(at)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise _bad("its end is missing")
        if block == bytes(BLOCK):
            return
        name, size = _parse(block)
        if at + BLOCK + size > length:
            raise _bad(f"{name!r} ends behind the end of the file")
        yield name, Place(at + BLOCK, size)
        at += BLOCK + size + -size % BLOCK


def _parse(block: bytes) -> tuple[str, int]:
    """Name and size. Only what :func:`header` writes, and what other programs write for the same, is understood."""
    try:
        checksum = int(block[148:156].strip(b" \0"), 8)
        size = int(block[124:136].strip(b" \0"), 8)
        name = block[:100].rstrip(b"\0").decode("ascii")
    except ValueError:
        raise _bad("it is no tar file") from None
    if sum(block[:148]) + sum(block[156:]) + 8 * ord(" ") != checksum or block[257:262] != b"ustar":
        raise _bad("it is no tar file")
    if block[156:157] not in (b"0", b"\0") or block[345:500].strip(b"\0") or size < 0:
        raise _bad(f"{name!r} is no plain file")
    return name, size


def _bad(what: str) -> CollectionCorrupt:
    return CollectionCorrupt(
        f"the archive cannot be read: {what}",
        hint="it is damaged, or no archive of mmsearch export: take another copy of it",
    )
