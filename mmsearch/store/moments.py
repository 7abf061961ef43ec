"""Dates as people write them in a filter → the span of time that they name."""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

_NS = 1_000_000_000
_ISO = re.compile(
    r"(?P<Y>\d{4})(-(?P<M>\d\d)(-(?P<D>\d\d)([T ](?P<h>\d\d):(?P<m>\d\d)(:(?P<s>\d\d)(\.(?P<f>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
_EPOCH = dt.datetime(1970, 1, 1)


class Moment(NamedTuple):
    """From ``first`` to just before ``after``, in nanoseconds since 1970 (UTC); an instant has both the same."""

    first: float
    after: float

    @classmethod
    def of_seconds(cls, seconds: float) -> Moment:
        """An instant, given as Unix seconds."""
        ns = _bindable(seconds * _NS if isinstance(seconds, int) else _rounded(seconds * _NS))
        return cls(ns, ns)


def moment(text: str) -> Moment | None:
    """The span that an ISO date or time names, ``None`` where it is none.

    >>> moment("1970-01-01"), moment("1970-01-01 00:00:01Z"), moment("yesterday")
    (Moment(first=0, after=86400000000000), Moment(first=1000000000, after=2000000000), None)
    """
    found = _ISO.fullmatch(text.strip())
    if found is None:
        return None
    least = zip("YMDhms", (0, 1, 1, 0, 0, 0), strict=True)
    year, month, day, hour, minute, second = (int(found[key] or low) for key, low in least)
    try:
        start = dt.datetime(year, month, day, hour, minute, second) - _offset(found["zone"])
        if found["D"]:
            length = dt.timedelta(seconds=1 if found["s"] else 60) if found["h"] else dt.timedelta(days=1)
            end = start + length
        else:
            end = dt.datetime(year + month // 12, month % 12 + 1, 1) if found["M"] else dt.datetime(year + 1, 1, 1)
    except (ValueError, OverflowError):
        return None
    first, after = _ns(start), _ns(end)
    if found["f"]:
        first = after = first + int(found["f"].ljust(9, "0"))
    return Moment(_bindable(first), _bindable(after))


def _offset(zone: str | None) -> dt.timedelta:
    if zone in (None, "Z"):
        return dt.timedelta()
    assert zone is not None
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError(zone)
    return dt.timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)


def _ns(when: dt.datetime) -> int:
    since = when - _EPOCH
    return (since.days * 86_400 + since.seconds) * _NS


def _rounded(ns: float) -> float:
    return round(ns) if abs(ns) < 2**63 else ns


def _bindable(ns: float) -> float:
    return ns if abs(ns) < 2**63 else float(ns)
