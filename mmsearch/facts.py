"""What a catalogue tells of itself: what became of items, which values fields have. Public as part of :mod:`mmsearch.types`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = Any


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
