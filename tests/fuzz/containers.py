"""Damage that knows the formats: lengths, counts, chunks and blocks are changed and checksums kept right.

A flipped byte mostly ends at a checksum. What is changed here gets past it, into the decoder.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

from tests.fuzz.mutate import EXTREMES, blind, extreme

TAGS = (0xFE, 0x100, 0x101, 0x103, 0x111, 0x117, 0x112, 0x8769, 0x8825, 0x14A, 0x132)
Piece = tuple[bytes, bytes]  # a name, and what belongs to it


def _shuffled(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    """Pieces changed, dropped, doubled, swapped or renamed."""
    pieces = list(pieces)
    for _ in range(rng.choice((1, 1, 2))):
        if not pieces:
            break
        at, what = rng.randrange(len(pieces)), rng.randrange(6)
        name, body = pieces[at]
        if what == 0:
            del pieces[at]
        elif what == 1:
            pieces.insert(rng.randrange(len(pieces) + 1), pieces[at])
        elif what == 2:
            other = rng.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif what == 3:
            pieces[at] = (rng.choice(pieces)[0], body)
        else:
            pieces[at] = (name, extreme(body, rng) if what == 4 else blind(body, rng))
    return pieces


def _length(size: int, rng: random.Random, limit: int) -> int:
    """A length that is right, mostly; else one that lies."""
    return size if rng.random() < 0.85 else rng.choice((*EXTREMES, size - 1, size + 1)) % (limit + 1)


def jpeg(data: bytes, rng: random.Random) -> bytes:
    """Segments: their markers, lengths, order; an EXIF block with changed entries among them."""
    pieces: list[Piece] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        pieces.append((data[at + 1 : at + 2], data[at + 4 : at + 2 + size]))
        at += 2 + size
    rest = data[at:]
    out = data[:2]
    for name, body in _shuffled(pieces, rng):
        if body.startswith(b"Exif\0\0") and rng.random() < 0.7:
            body = b"Exif\0\0" + tiff(body[6:], rng)
        out += b"\xff" + name + struct.pack(">H", _length(len(body) + 2, rng, 0xFFFF)) + body
    return out + (blind(rest, rng) if rng.random() < 0.3 else rest)


def png(data: bytes, rng: random.Random) -> bytes:
    """Chunks with right CRCs; the pixels are changed inside their compression."""
    pieces: list[Piece] = []
    at = 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        pieces.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    out = data[:8]
    for name, body in _shuffled(pieces, rng):
        if name == b"IDAT" and rng.random() < 0.4:
            body = _inside_deflate(body, rng)
        if name == b"eXIf" and rng.random() < 0.7:
            body = tiff(body, rng)
        length = _length(len(body), rng, 0xFFFFFFFF)
        out += struct.pack(">I", length) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return out


def _inside_deflate(body: bytes, rng: random.Random) -> bytes:
    try:
        return zlib.compress(blind(zlib.decompress(body), rng))
    except zlib.error:
        return body


def tiff(data: bytes, rng: random.Random) -> bytes:
    """Directory entries: tag, type, count, value; and where the next directory lies (in a circle, too)."""
    order = "<" if data[:2] == b"II" else ">"
    out = bytearray(data)
    if len(out) < 8:
        return data
    first = int(struct.unpack_from(order + "I", out, 4)[0])
    if first + 2 > len(out):
        return blind(data, rng)
    count = int(struct.unpack_from(order + "H", out, first)[0])
    for _ in range(rng.choice((1, 2, 3))):
        at = first + 2 + 12 * rng.randrange(count + 1)
        if at + 12 > len(out):
            break
        field = rng.randrange(5)
        if field == 0:
            struct.pack_into(order + "H", out, at, rng.choice(TAGS))
        elif field == 1:
            struct.pack_into(order + "H", out, at + 2, rng.choice((0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 16, 129, 0xFFFF)))
        elif field == 2:
            struct.pack_into(order + "I", out, at + 4, rng.choice((*EXTREMES, count)))
        elif field == 3:
            struct.pack_into(order + "I", out, at + 8, rng.choice((*EXTREMES, first, 8, len(out) - 1, len(out))))
        else:
            struct.pack_into(order + "H", out, first, rng.choice((0, count + 1, 0xFFFF)))
    return bytes(out)


def webp(data: bytes, rng: random.Random) -> bytes:
    """RIFF chunks: names, lengths, order; the size of the whole."""
    pieces: list[Piece] = []
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        pieces.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + (size & 1)
    out = b""
    for name, body in _shuffled(pieces, rng):
        out += name + struct.pack("<I", _length(len(body), rng, 0xFFFFFFFF)) + body + b"\0" * (len(body) & 1)
    return b"RIFF" + struct.pack("<I", _length(len(out) + 4, rng, 0xFFFFFFFF)) + b"WEBP" + out


def gif(data: bytes, rng: random.Random) -> bytes:
    """The screen's size and flags, a frame's place, the lengths of blocks."""
    out = bytearray(data)
    frames = [at for at in range(13, len(out) - 11) if out[at] == 0x2C] or [6]
    for _ in range(rng.choice((1, 2, 3))):
        where = rng.randrange(4)
        if where == 0:
            struct.pack_into("<H", out, rng.choice((6, 8)), rng.choice(EXTREMES) & 0xFFFF)
        elif where == 1:
            out[10] = rng.randrange(256)
        elif where == 2:
            struct.pack_into("<H", out, rng.choice(frames) + rng.choice((1, 3, 5, 7)), rng.choice(EXTREMES) & 0xFFFF)
        else:
            out[min(rng.choice(frames) + rng.choice((9, 10, 11)), len(out) - 1)] = rng.randrange(256)
    return bytes(out)


def boxes(data: bytes, rng: random.Random) -> bytes:
    """AVIF, HEIC, JPEG 2000: boxes of boxes; lengths and contents of those at any depth."""
    found: list[tuple[int, int]] = []
    _walk(data, 0, len(data), found, 0)
    if not found:
        return blind(data, rng)
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 3))):
        at, size = rng.choice(found)
        if rng.random() < 0.4:
            struct.pack_into(">I", out, at, rng.choice((*EXTREMES, size - 1, size + 8)) & 0xFFFFFFFF)
        else:
            body = extreme(bytes(out[at + 8 : at + size]), rng)
            out[at + 8 : at + size] = body
    return bytes(out)


def _walk(data: bytes, at: int, end: int, found: list[tuple[int, int]], depth: int) -> None:
    while at + 8 <= end and depth < 6:
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8 or at + size > end or not name.strip(b"\xa9 ").isalnum():
            return
        found.append((at, size))
        skip = 12 if name in (b"meta", b"iinf", b"iref", b"dref", b"stsd") else 8
        _walk(data, at + skip, at + size, found, depth + 1)
        at += size


def bmp(data: bytes, rng: random.Random) -> bytes:
    """The two headers."""
    return extreme(data[:54], rng) + data[54:]


CONTAINERS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "jpg": jpeg,
    "png": png,
    "tif": tiff,
    "dng": tiff,
    "webp": webp,
    "gif": gif,
    "avif": boxes,
    "heic": boxes,
    "jp2": boxes,
    "bmp": bmp,
}


def damaged(ending: str, data: bytes, rng: random.Random) -> bytes:
    """A file of this kind with damage of either sort, or of both."""
    if ending in CONTAINERS and rng.random() < 0.65:
        data = CONTAINERS[ending](data, rng)
        if rng.random() < 0.75:
            return data
    return blind(data, rng)
