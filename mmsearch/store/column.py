"""One field of all live items as arrays: a type for each, and its number, or the code of its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as default
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Json, Vids

_EXACT = 2**53
"""Whole numbers up to here are themselves as float64."""
_PER_TEXT = 110
"""Bytes that a text costs beside its characters: the string's head, and its place in the dictionary."""


class Field(NamedTuple):
    """One field. ``kind``: ``text number path taken mtime meta``; ``source``: a column of ``item``, or the path in its JSON, so
    a name for it that no other field has.
    """

    name: str
    kind: str
    source: str


class Type(IntEnum):
    """What JSON has in a place; a key that is not there counts as null."""

    NULL = 0
    INTEGER = 1
    REAL = 2
    TEXT = 3
    FALSE = 4
    TRUE = 5
    OTHER = 6
    """An array or object: its content is not kept."""


_OF_CLASS = {type(None): Type.NULL, int: Type.INTEGER, float: Type.REAL, str: Type.TEXT, list: Type.OTHER, dict: Type.OTHER}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A field of the items ``vids`` ``(n,)``, ascending. ``types`` ``(n,)`` are :class:`Type`; ``numbers`` ``(n,)`` int64 or
    float64, 0 where there is none; ``codes`` ``(n,)`` stand for the ``texts``, which are numbered in their order.

    ``vague``: there are numbers that neither int64 nor float64 hold (a whole one beyond 2**63, or one beyond 2**53 beside
    reals). ``odd``: there are texts that SQLite takes otherwise than Python: with NUL, or what UTF-8 cannot hold.
    """

    vids: Vids
    types: NDArray[np.uint8]
    numbers: NDArray[np.int64] | NDArray[np.float64] | None = None
    codes: NDArray[np.int32] | None = None
    texts: dict[str, int] = default(default_factory=dict)
    text_bytes: int = 0
    vague: bool = False
    odd: bool = False

    @property
    def nbytes(self) -> int:
        """About what it takes in memory. The vids count, though columns may share them: an older one keeps its own."""
        arrays = (self.vids, self.types, self.numbers, self.codes)
        return sum(0 if one is None else one.nbytes for one in arrays) + self.text_bytes

    def without(self, at: NDArray[np.int64]) -> Column:
        """All rows but those at these places; texts that nobody has any more stay. 3 ms a million items."""
        numbers: NDArray[Any] | None = None if self.numbers is None else np.delete(self.numbers, at)
        codes = None if self.codes is None else np.delete(self.codes, at)
        few = (self.texts, self.text_bytes, self.vague, self.odd)
        return Column(np.delete(self.vids, at), np.delete(self.types, at), numbers, codes, *few)


class ColumnBuilder:
    """Collects values, in order of their vids, behind those of a column that there is already (which stays as it is).

    ``plain``: they are of a column of the table, where an object stands for what no JSON is, a BLOB: neither a number nor a
    text, and SQLite compares it with both.
    """

    def __init__(self, former: Column | None = None, *, plain: bool = False) -> None:
        self._plain = plain
        self._types: list[NDArray[np.uint8]] = []
        self._numbers: list[NDArray[Any] | None] = []
        self._codes: list[NDArray[np.int32] | None] = []
        self.texts: dict[str, int] = {}
        self._shared = False  # the dictionary is another column's: to be copied before a text is added
        self.text_bytes, self._vague, self._odd = 0, False, False
        if former is not None:
            self._types, self._numbers, self._codes = [former.types], [former.numbers], [former.codes]
            self.texts, self._shared = former.texts, True
            self.text_bytes, self._vague, self._odd = former.text_bytes, former.vague, former.odd

    def add(self, values: Sequence[Json]) -> None:
        """The next values. About 60 ns a number, 80 ns a text."""
        classes = set(map(type, values))
        if self._plain and dict in classes:
            self._vague = self._odd = True
        self._types.append(_types(values, classes))
        self._numbers.append(self._numeric(values, classes) if classes & {int, float} else None)
        self._codes.append(self._coded(values, classes) if str in classes else None)

    def _numeric(self, values: Sequence[Any], classes: set[type]) -> NDArray[Any]:
        if not classes <= {int, float}:
            values = [one if one.__class__ is int or one.__class__ is float else 0 for one in values]
        try:
            if float not in classes:
                return np.array(values, dtype=np.int64)
            if any(one.__class__ is int and abs(one) > _EXACT for one in values):
                self._vague = True
            return np.array(values, dtype=np.float64)
        except OverflowError:  # beyond int64, or beyond float64
            self._vague = True
            return np.zeros(len(values), dtype=np.int64)

    def _coded(self, values: Sequence[Any], classes: set[type]) -> NDArray[np.int32]:
        if classes == {str}:
            self._learn(values)
            return np.fromiter(map(self.texts.__getitem__, values), dtype=np.int32, count=len(values))
        self._learn([one for one in values if one.__class__ is str])
        codes = (self.texts[one] if one.__class__ is str else 0 for one in values)
        return np.fromiter(codes, dtype=np.int32, count=len(values))

    def _learn(self, texts: Sequence[str]) -> None:
        new = [one for one in dict.fromkeys(texts) if one not in self.texts]
        if not new:
            return
        if self._shared:
            self.texts, self._shared = dict(self.texts), False
        self.texts.update(zip(new, range(len(self.texts), len(self.texts) + len(new)), strict=True))
        self.text_bytes += sum(len(one) + _PER_TEXT for one in new)
        joined = "".join(new)
        self._odd = self._odd or not (joined.isascii() or _is_utf8(joined)) or "\0" in joined

    def column(self, vids: Vids) -> Column:
        """All values so far; ``vids`` has one for each."""
        numbers = self._all_numbers()
        codes = _joined(self._codes, self._types, np.int32)
        few = (self.texts, self.text_bytes, self._vague, self._odd)
        types = np.concatenate(self._types) if self._types else np.empty(0, dtype=np.uint8)
        return Column(vids, types, numbers, codes, *few)

    def _all_numbers(self) -> NDArray[np.int64] | NDArray[np.float64] | None:
        parts = [one for one in self._numbers if one is not None and len(one)]
        if not parts:
            return None
        if all(one.dtype == np.int64 for one in parts):
            return _joined(self._numbers, self._types, np.int64)
        if any(one.dtype == np.int64 and (one.max() > _EXACT or one.min() < -_EXACT) for one in parts):
            self._vague = True
        return _joined(self._numbers, self._types, np.float64)


def _types(values: Sequence[Json], classes: set[type]) -> NDArray[np.uint8]:
    if len(classes) == 1 and bool not in classes:
        return np.full(len(values), _OF_CLASS[next(iter(classes))], dtype=np.uint8)
    if bool in classes:
        of = _OF_CLASS
        found = ((Type.TRUE if one else Type.FALSE) if one.__class__ is bool else of[one.__class__] for one in values)
        return np.fromiter(found, dtype=np.uint8, count=len(values))
    return np.fromiter(map(_OF_CLASS.__getitem__, map(type, values)), dtype=np.uint8, count=len(values))


def _joined(parts: Sequence[NDArray[Any] | None], lengths: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any] | None:
    """The parts end to end, zeros for those that are not there."""
    if all(one is None for one in parts):
        return None
    out: NDArray[Any] = np.zeros(sum(map(len, lengths)), dtype=dtype)
    at = 0
    for one, length in zip(parts, lengths, strict=True):
        if one is not None:
            out[at : at + len(length)] = one
        at += len(length)
    return out


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
