"""What a catalogue tells of itself: what became of items, which values fields have. Public as part of :mod:`mmsearch.types`.

Beside it :class:`Timer`, which says of a search where its time went.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Json = Any


class Timer:
    """Milliseconds per stage, in the order of the stages.

    >>> timer = Timer()
    >>> with timer.stage("encode"):
    ...     pass
    >>> list(timer.ms)
    ['encode']
    """

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - began) * 1000


@dataclass(frozen=True, slots=True)
class ItemStatus:
    """What became of one item of a call: ``added updated unchanged deleted not_found failed``, and why it failed."""

    id: str
    status: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value with its count; of a range ``value`` is ``None``, and it holds ``low <= x < high`` (the last ``<= high``)."""

    value: Json
    count: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Facet:
    """One field's values, the most frequent first, ranges in their order.

    ``type`` is ``number``, ``text`` or ``bool`` (what most values are), ``missing`` counts those without a value and
    ``more`` the values that are not listed.
    """

    field: str
    type: str
    values: tuple[FacetValue, ...]
    missing: int = 0
    more: int = 0
