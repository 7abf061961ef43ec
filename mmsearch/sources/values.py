"""Values of any origin → plain JSON that a catalogue can keep, and captions out of it."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mmsearch.types import Json

MAX_DEPTH = 32


def well_formed(text: str) -> str:
    """``text`` without lone surrogates, which JSON can spell and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def plain(value: Any, depth: int = 0) -> Json:
    """``value`` as strict JSON: no NaN, no lone surrogates, dates as ISO text, bytes as base64, the rest as ``str``.

    Below :data:`MAX_DEPTH` levels everything becomes ``None``.

    >>> plain({"when": dt.date(2023, 5, 1), "size": Decimal("1.5"), "bad": float("nan")})
    {'when': '2023-05-01', 'size': 1.5, 'bad': None}
    """
    if isinstance(value, str):
        return well_formed(value)
    if value is None or isinstance(value, bool | int):
        return value
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {well_formed(str(k)): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v, depth + 1) for v in value]
    return _scalar(value)


def _scalar(value: Any) -> Json:
    if isinstance(value, float | Decimal):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist(), MAX_DEPTH - 4)
    return well_formed(str(value))


def parse_json(text: str) -> Json:
    """``json.loads`` made strict: raises :class:`ValueError` for whatever is wrong, too deep nesting as well."""
    try:
        return plain(json.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def strings_of(value: Json) -> list[str]:
    """The texts in a string or a list of strings, without white space around them, blank ones and repetitions.

    Raises :class:`ValueError` for anything else.
    """
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str) for v in values):
        raise ValueError("neither a string nor a list of strings")
    return list(dict.fromkeys(text for v in values if (text := v.strip())))
