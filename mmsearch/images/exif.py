"""EXIF, read by ourselves: what a camera says of a photo, out of bytes that may be garbage.

Pillow's reader warns (through the process-wide ``warnings``) and raises on damaged blocks. This one reads the few fields that a
catalogue wants, in bounds, and takes everything else for absent. The same structure heads TIFF and most RAW files.
"""

from __future__ import annotations

import re
import struct
from calendar import timegm
from collections.abc import Container, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

__all__ = ["Exif", "Tiff", "read_exif"]

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_CODES: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
_MAX_VALUES: Final = 100_000
_DATE: Final = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)[ T](\d\d)\D(\d\d)(?:\D(\d\d))?")
_OFFSET: Final = re.compile(r"[+-]\d\d:\d\d")
_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')

ORIENTATION, MAKE, MODEL, EXIF_IFD, GPS_IFD, LENS = 0x112, 0x10F, 0x110, 0x8769, 0x8825, 0xA434
_DATES: Final = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010))  # taken, digitised, changed
_MORE: Final = {LENS, *(tag for tags in _DATES for tag in tags)}
_MAIN: Final = {ORIENTATION, MAKE, MODEL, EXIF_IFD, GPS_IFD, *_MORE}
_GPS: Final = range(1, 7)


class Exif(NamedTuple):
    """``orientation`` 1-8; ``taken`` Unix seconds of the camera's clock read as UTC; ``fields`` plain JSON.

    ``fields`` may have ``make``, ``model``, ``lens``, ``date`` (ISO 8601, with fraction and zone where the camera wrote them) and,
    when asked for, ``gps``: ``{"lat", "lon"}`` in degrees, ``"alt"`` in metres.
    """

    orientation: int = 1
    taken: int | None = None
    fields: Mapping[str, Any] = {}


class Tiff:
    """A reader of the tag structure of TIFF, which EXIF uses. Never raises: what is out of bounds is not there.

    ``beyond`` becomes true when something read so far pointed behind the end of the data.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")
        self.ok = bool(self._order) and len(data) >= 8
        self.beyond = False

    def _unpack(self, code: str, at: int, count: int = 1) -> tuple[Any, ...]:
        try:
            return struct.unpack_from(f"{self._order}{count}{code}", self._data, at)
        except struct.error:
            return ()

    def first(self) -> int:
        """The offset of the first directory; 0 where there is none."""
        return int((self._unpack("I", 4) or (0,))[0]) if self.ok else 0

    def directory(self, offset: int, wanted: Container[int]) -> dict[int, tuple[Any, ...]]:
        """Tag → values of the ``wanted`` ones in the directory at ``offset``.

        Rationals are (numerator, denominator), texts one ``bytes``; of a tag that is there twice the first counts. Others are
        only looked at: 65,535 entries may each claim the same 100,000 numbers, and reading them all would take gigabytes.
        """
        found: dict[int, tuple[Any, ...]] = {}
        if not self.ok or offset < 8:
            return found
        (count,) = self._unpack("H", offset) or (0,)
        for at in range(offset + 2, offset + 2 + 12 * int(count), 12):
            if at + 12 > len(self._data):
                self.beyond = True
                break
            (tag, kind), (n,) = self._unpack("H", at, 2), self._unpack("I", at + 4)
            place = self._where(kind, n, at + 8)
            if place is not None and tag in wanted and tag not in found and (values := self._values(kind, n, place)):
                found[tag] = values
        return found

    def _where(self, kind: int, count: int, at: int) -> int | None:
        """Where the values of an entry lie whose own four bytes are at ``at``; ``None`` where there are none."""
        size = _SIZES.get(kind, 0) * count
        if not size or count > _MAX_VALUES:
            return None
        if size > 4:
            (at,) = self._unpack("I", at) or (len(self._data),)
        if at + size > len(self._data):
            self.beyond = True
            return None
        return at

    def _values(self, kind: int, count: int, at: int) -> tuple[Any, ...]:
        if kind in (2, 7, 129):
            return (bytes(self._data[at : at + _SIZES[kind] * count]),)
        if kind in (5, 10):
            flat = self._unpack("I" if kind == 5 else "i", at, 2 * count)
            return tuple(zip(flat[::2], flat[1::2], strict=True))
        return self._unpack(_CODES[kind], at, count) if kind in _CODES else ()


def read_exif(block: bytes, *, xmp: bytes = b"", gps: bool = False) -> Exif:
    """The fields of an EXIF block (with or without its ``Exif\\0\\0``), or of a whole TIFF or RAW file.

    Never raises; garbage gives the defaults. ``xmp`` is asked for the orientation where EXIF has none. Costs some 30 µs.
    """
    tiff = Tiff(block[6:] if block[:6] == b"Exif\0\0" else block)
    main = tiff.directory(tiff.first(), _MAIN)
    more = tiff.directory(_int(main, EXIF_IFD), _MORE)
    orientation = _int(main, ORIENTATION)
    if ORIENTATION not in main and (match := _XMP_ORIENTATION.search(xmp)):
        orientation = int(match[1])
    taken, date = _taken({**main, **more})
    texts = {"make": _text(main, MAKE), "model": _text(main, MODEL), "lens": _text(more, LENS), "date": date}
    fields: dict[str, Any] = {name: text for name, text in texts.items() if text}
    if gps and (place := _place(tiff.directory(_int(main, GPS_IFD), _GPS))):
        fields["gps"] = place
    return Exif(orientation if 1 <= orientation <= 8 else 1, taken, fields)


def _int(tags: Mapping[int, tuple[Any, ...]], tag: int) -> int:
    value = tags.get(tag, (0,))[0]
    return value if isinstance(value, int) else 0


def _text(tags: Mapping[int, tuple[Any, ...]], tag: int) -> str:
    raw = tags.get(tag, (b"",))[0]
    if not isinstance(raw, bytes):
        return ""
    raw = raw.split(b"\0", 1)[0]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def _taken(tags: Mapping[int, tuple[Any, ...]]) -> tuple[int | None, str]:
    for date_tag, fraction_tag, offset_tag in _DATES:
        match = _DATE.match(_text(tags, date_tag))
        if not match:
            continue
        try:
            moment = datetime(*(int(part or 0) for part in match.groups()))  # type: ignore[arg-type]
        except ValueError:  # 0000:00:00, the 31st of February
            continue
        fraction, offset = _text(tags, fraction_tag), _text(tags, offset_tag)
        date = moment.isoformat()
        date += f".{fraction[:6]}" if fraction.isascii() and fraction.isdigit() else ""
        date += offset if _OFFSET.fullmatch(offset) else ""
        return timegm(moment.timetuple()), date
    return None, ""


def _place(tags: Mapping[int, tuple[Any, ...]]) -> dict[str, float]:
    latitude, longitude = _degrees(tags, 2, 1, b"S"), _degrees(tags, 4, 3, b"W")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return {}
    place = {"lat": latitude, "lon": longitude}
    altitude = _ratio(tags.get(6, ((0, 0),))[0])
    if altitude is not None:
        place["alt"] = round(-altitude if _int(tags, 5) == 1 else altitude, 1)
    return place


def _degrees(tags: Mapping[int, tuple[Any, ...]], tag: int, reference: int, negative: bytes) -> float | None:
    parts = [_ratio(value) for value in tags.get(tag, ())[:3]]
    if not parts or any(part is None for part in parts):
        return None
    degrees = sum(float(part or 0) / 60.0**i for i, part in enumerate(parts))
    side = tags.get(reference, (b"",))[0]
    return round(-degrees if isinstance(side, bytes) and side[:1].upper() == negative else degrees, 6)


def _ratio(value: object) -> float | None:
    if not (isinstance(value, tuple) and len(value) == 2 and value[1]):
        return None
    return float(value[0] / value[1])
