"""What a service answers, as values: hits are :class:`mmsearch.Hit`, as in a local search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from mmsearch.types import Facet, FacetValue, Hit, Hits, ItemStatus, Json, Kind

Facets = Sequence[Facet]
"""The facets, in the order they were asked for."""


@dataclass(frozen=True)
class Page(Hits):
    """The hits of one page. ``next`` is the offset of the page after it, ``None`` where there is none; ``why`` has, if it was
    asked for, each hit's shares by term.
    """

    next: int | None = None
    facets: Facets = ()
    why: tuple[Sequence[Mapping[str, Json]], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A stored item. ``path`` is below its root; ``href`` and ``thumb`` are paths of the service."""

    id: str
    kind: Kind
    vid: int
    href: str
    group: str | None = None
    path: str | None = None
    text: str | None = None
    width: int | None = None
    height: int | None = None
    size: int | None = None
    taken: int | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)
    thumb: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What the collection holds, and what this client may do; ``updated`` is Unix seconds, ``scope`` read or write."""

    images: int
    texts: int
    failures: int
    bytes: int
    updated: float | None
    generation: int
    writing: bool
    index: str
    reason: str
    model: str
    dim: int
    fingerprint: str
    scope: str
    fields: Mapping[str, str]
    limits: Mapping[str, int]


def page(members: Mapping[str, Any]) -> Page:
    """From the JSON of a search."""
    hits = [known(Hit, one) for one in members["hits"]]
    return Page(
        tuple(hits),
        exact=members["exact"],
        candidates=members["candidates"],
        timings=members["timings"],
        next=members["next"],
        facets=facets(members.get("facets") or ()),
        why=tuple(one["why"] for one in members["hits"] if one.get("why")),
    )


def facets(members: Sequence[Mapping[str, Any]]) -> list[Facet]:
    """From the JSON of facets."""
    return [
        Facet(one["field"], one["type"], tuple(FacetValue(**value) for value in one["values"]), one["missing"], one["more"])
        for one in members
    ]


def statuses(members: Mapping[str, Any]) -> list[ItemStatus]:
    """From the JSON of a change; the reason stands before the detail."""
    return [
        ItemStatus(one["id"], one["status"], ": ".join(filter(None, (one.get("reason"), one.get("detail")))) or None)
        for one in members["items"]
    ]


def known(kind: Any, members: Mapping[str, Any]) -> Any:
    """A value of ``kind`` from those members that it knows: a later service may say more."""
    found = {one.name: members[one.name] for one in fields(kind) if one.name in members}
    if "kind" in found:
        found["kind"] = Kind(found["kind"])
    if found.get("box") is not None:
        found["box"] = tuple(found["box"])
    return kind(**found)
