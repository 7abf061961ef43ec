"""Damage that knows nothing of formats: bits flipped, ends cut, pieces doubled, numbers made extreme. Seeded."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from mmsearch.errors import MMSearchError

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Lengths, counts and offsets at which readers go wrong."""


def flip(data: bytes, rng: random.Random) -> bytes:
    """One to eight bytes become others."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 8) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256)
    return bytes(out)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return data[: rng.randrange(len(data))] if data else data


def append(data: bytes, rng: random.Random) -> bytes:
    """Bytes behind the end."""
    return data + rng.randbytes(rng.choice((1, 4, 16, 300)))


def extreme(data: bytes, rng: random.Random) -> bytes:
    """A number of 1, 2 or 4 bytes becomes an extreme one."""
    code = rng.choice(("B", "<H", ">H", "<I", ">I"))
    size = struct.calcsize(code)
    if len(data) < size:
        return data
    at = rng.randrange(len(data) - size + 1)
    value = (rng.choice(EXTREMES) + rng.randint(-1, 1)) % (1 << 8 * size)
    return data[:at] + struct.pack(code, value) + data[at + size :]


def double(data: bytes, rng: random.Random) -> bytes:
    """A piece comes twice."""
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end][:2000] + data[end:]


def remove(data: bytes, rng: random.Random) -> bytes:
    """A piece is missing."""
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 2, 4, 64)) :]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """A piece becomes zeros, ones or noise, as a bad block of a disk leaves it."""
    start, size = rng.randrange(len(data) + 1), rng.choice((1, 4, 16, 512))
    piece = data[start : start + size]
    new = rng.choice((bytes(len(piece)), b"\xff" * len(piece), rng.randbytes(len(piece))))
    return data[:start] + new + data[start + size :]


BLIND: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, append, extreme, double, remove, overwrite)


def blind(data: bytes, rng: random.Random) -> bytes:
    """One to three such damages."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(BLIND)(data, rng)
    return data


def refused(error: MMSearchError, *, kind: str = "refused", names: str = "", hides: str | None = None) -> str:
    """Asserts that an error helps in at most three lines and gives no secret away; returns ``kind``."""
    text = f"{error.message}\n{error.hint or ''}"
    assert error.message
    assert names in error.message, text
    assert len(text.splitlines()) <= 3, text
    assert hides is None or hides not in text, text
    return kind
