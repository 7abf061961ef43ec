"""The values that cross boundaries: what goes in (Item, Asset, Query), what is kept (Record), what comes out (Hit).

All are immutable. Paths are ``str`` with ``surrogateescape`` (``os.fsdecode``), so that names which are not
UTF-8 survive; the catalogue stores ``os.fsencode`` of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import QueryError
from mmsearch.facts import Facet as Facet
from mmsearch.facts import FacetValue as FacetValue
from mmsearch.facts import ItemStatus as ItemStatus
from mmsearch.facts import Timer as Timer

if TYPE_CHECKING:
    from PIL.Image import Image

Vectors: TypeAlias = NDArray[np.float32]
"""``(n, dim)`` float32, rows of length 1."""
Vids: TypeAlias = NDArray[np.int64]
"""``(n,)`` int64 row numbers of item versions."""
Json: TypeAlias = Any
"""What ``json.dumps`` takes."""


class Kind(StrEnum):
    """What an item is. Images and texts are separate spaces: they are never ranked together by raw cosine."""

    IMAGE = "image"
    TEXT = "text"


class VidSet:
    """An immutable set of vids: sorted, unique, as one array.

    >>> VidSet([5, 3, 5]).vids.tolist()
    [3, 5]
    """

    __slots__ = ("vids",)

    def __init__(self, vids: Vids | Sequence[int], *, is_sorted: bool = False) -> None:
        array = np.asarray(vids, dtype=np.int64)
        self.vids: Vids = array if is_sorted else _sorted_unique(array)

    def __len__(self) -> int:
        return len(self.vids)

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return int(self.vids.nbytes)

    def __contains__(self, vid: int) -> bool:
        at = int(np.searchsorted(self.vids, vid))
        return at < len(self.vids) and int(self.vids[at]) == vid

    def mask(self, vids: Vids) -> NDArray[np.bool_]:
        """``(n,)`` bool: which of ``vids`` are members. O(n log m)."""
        if not len(self.vids):
            return np.zeros(len(vids), dtype=np.bool_)
        at = np.minimum(np.searchsorted(self.vids, vids), len(self.vids) - 1)
        return np.asarray(self.vids[at] == vids)

    def __and__(self, other: VidSet) -> VidSet:
        return VidSet(np.intersect1d(self.vids, other.vids, assume_unique=True), is_sorted=True)

    def __sub__(self, other: VidSet) -> VidSet:
        return VidSet(np.setdiff1d(self.vids, other.vids, assume_unique=True), is_sorted=True)


def _sorted_unique(vids: Vids) -> Vids:
    ordered = np.sort(vids)  # np.unique hashes integers: 26 ms for 131k vids where sorting takes 0.5
    first = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


# --- what goes in -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One image or one text, handed in by a caller.

    ``image`` is a path, the encoded bytes, or a Pillow image; exactly one of ``image`` and ``text`` is given. ``vector``
    saves the encoding: ``(dim,)``, it is normalised on the way in.

    >>> Item(id="sku-1#2", group="sku-1", text="red shoe", meta={"price": 40}).kind
    <Kind.TEXT: 'text'>
    """

    id: str
    image: str | Path | bytes | Image | None = None
    text: str | None = None
    group: str | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)
    vector: NDArray[np.floating[Any]] | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise QueryError("an item needs an id that is not empty")
        if (self.image is None) == (self.text is None):
            raise QueryError(f"item {self.id!r}: give either image= or text=, and not both")

    @property
    def kind(self) -> Kind:
        return Kind.TEXT if self.image is None else Kind.IMAGE


class Asset(NamedTuple):
    """What could become an item: one line of a source's scan. A tuple, since a scan makes one for every file.

    ``path`` is below the source's root; ``text`` is set where the source has read the text already (a caption, a
    manifest row), and then ``size`` and ``mtime_ns`` are those of the file which the text came from.
    """

    id: str
    kind: Kind
    path: str
    size: int
    mtime_ns: int
    group: str | None = None
    text: str | None = None
    meta: Mapping[str, Json] | None = None


class ImageInfo(NamedTuple):
    """What a decoder learns of an image beside its pixels: upright size in pixels, and EXIF as plain JSON.

    ``taken`` is Unix seconds (the camera's clock read as UTC, as EXIF mostly has no zone).
    """

    width: int
    height: int
    taken: int | None
    exif: Mapping[str, Json]


# --- queries ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query: a text, an image, a stored item or a vector, with a weight (negative: away from it)."""

    what: str  # "text" | "image" | "item" | "vector"
    value: Any
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise QueryError(f"the weight of {self.value!r} is {self.weight}, and must be a finite number")


@dataclass(frozen=True, slots=True)
class Query:
    """A weighted sum of terms; ``+``, ``-`` and ``*`` make new ones.

    >>> q = text("evening dress") + 0.6 * image("ref.jpg") - 0.4 * text("red")
    >>> [t.weight for t in q.terms]
    [1.0, 0.6, -0.4]
    """

    terms: tuple[Term, ...]

    def __add__(self, other: Query) -> Query:
        return Query(self.terms + other.terms)

    def __sub__(self, other: Query) -> Query:
        return self + (-other)

    def __neg__(self) -> Query:
        return self * -1.0

    def __mul__(self, weight: float) -> Query:
        return Query(tuple(replace(t, weight=t.weight * weight) for t in self.terms))

    __rmul__ = __mul__


def text(value: str) -> Query:
    """A query for what ``value`` describes."""
    if not value.strip():
        raise QueryError("the text to search for is empty")
    return Query((Term("text", value),))


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a query picture: ``box`` is (x, y, width, height) in pixels or, where none exceeds 1, in fractions."""

    picture: str | Path | bytes | Image
    box: tuple[float, float, float, float]


def image(value: str | Path | bytes | Image, *, box: tuple[float, float, float, float] | None = None) -> Query:
    """A query for what looks like this picture: a path, encoded bytes, or a Pillow image; or like the part ``box`` of it.

    ``box`` is (x, y, width, height) of the upright picture: pixels or, where no number exceeds 1, fractions.

    >>> image("street.jpg", box=(0.5, 0, 0.5, 1)).terms[0].value.box
    (0.5, 0, 0.5, 1)
    """
    return Query((Term("image", value if box is None else Region(value, box)),))


def item(id: str) -> Query:
    """A query for what is like a stored item; nothing is encoded."""
    return Query((Term("item", id),))


def vector(value: NDArray[np.floating[Any]]) -> Query:
    """A query with a vector ``(dim,)`` made elsewhere by the same encoder; it is normalised."""
    return Query((Term("vector", np.asarray(value, dtype=np.float32)),))


# --- what is kept -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """An item on its way into the store: all that :class:`Record` has but the vid."""

    id: str
    kind: Kind
    root: str | None = None
    path: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    digest: bytes | None = None
    group: str | None = None
    width: int | None = None
    height: int | None = None
    taken: int | None = None
    text: str | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record(Draft):
    """An item as the catalogue has it. ``root`` is the root's name; ``vid`` never changes and is never reused."""

    vid: int = -1


@dataclass(frozen=True, slots=True)
class Failure:
    """An asset that was skipped, and why. Retried only when its size or mtime differs."""

    root: str
    path: str
    reason: str
    detail: str
    size: int
    mtime_ns: int
    tries: int = 1


# --- what comes out ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The nearest rows of each query, best first; row ``i`` has ``counts[i]`` results and undefined values behind them.

    ``scores`` ``(q, k)`` float32 cosines, ``vids`` ``(q, k)`` int64, ``counts`` ``(q,)`` int64. ``exact`` says that every row
    which might be among them was compared.
    """

    scores: NDArray[np.float32]
    vids: NDArray[np.int64]
    counts: NDArray[np.int64]
    exact: bool = True

    def row(self, i: int) -> tuple[NDArray[np.float32], Vids]:
        """Scores and vids of query ``i``, cut to its count."""
        n = int(self.counts[i])
        return self.scores[i, :n], self.vids[i, :n]


@dataclass(frozen=True, slots=True)
class Hit:
    """One result. ``score`` is the cosine of the stored vector and the query; ranks start at 1.

    ``path`` is absolute where the item came from a file; ``exact`` says that no index could have missed a better one.
    ``relevance``, ``rerank`` and ``box`` are ``None`` where no stage has set them. Of a product (``search(fields=…)``) ``matches``
    says what each of its best items gave to ``rerank``, by id: ``{"sku-7#photo-2": 1.9, "sku-7#title": 0.7}``. ``stages`` is
    its value after each rung of the ladder, in their order: ``{"rerank:fast": 0.31, "boost": 0.51}``.
    """

    rank: int
    id: str
    kind: Kind
    score: float
    vid: int
    group: str | None = None
    path: str | None = None
    text: str | None = None
    relevance: float | None = None
    rerank: float | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)
    box: tuple[int, int, int, int] | None = None
    exact: bool = True
    matches: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def best_match(self) -> str:
        """The id of the item that matched best: this one's own, unless ``matches`` names another."""
        return max(self.matches, key=lambda id: self.matches[id]) if self.matches else self.id


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """The answer to one query: a sequence of :class:`Hit`, and how it was found.

    ``candidates`` counts the items that passed kind and filter, ``timings`` are milliseconds per stage.
    """

    hits: tuple[Hit, ...]
    exact: bool = True
    candidates: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)

    @overload
    def __getitem__(self, at: int) -> Hit: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Hit]: ...
    def __getitem__(self, at: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[at]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @cached_property
    def ids(self) -> list[str]:
        """The ids, best first."""
        return [hit.id for hit in self.hits]


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one run of indexing did. ``skipped`` names every file that was left out and why.

    ``skipped_before`` counts files that failed at an earlier run and have not changed since. ``reused`` counts items
    whose vector was taken from an item with the same bytes; ``seconds`` is wall time and ``stages`` the busy seconds of
    each stage, ``bottleneck`` the stage that the others waited for.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    reused: int = 0
    skipped: tuple[Failure, ...] = ()
    skipped_before: int = 0
    pruning_refused: str | None = None
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    bottleneck: str | None = None
    dry_run: bool = False


class Progress(NamedTuple):
    """How far a run is: handed to the caller's ``progress`` function now and then.

    ``total`` is ``None`` until the scan has ended; ``waits`` are the shares (0–1) of time that the encoder waited for
    images and that the decoders waited for the encoder.
    """

    done: int
    total: int | None
    skipped: int
    stage: str
    rate: float
    waits: Mapping[str, float]


ProgressFn: TypeAlias = Callable[[Progress], None]
