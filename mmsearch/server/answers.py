"""What comes out, as JSON; and its description for the documentation."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.responses import Response

from mmsearch.types import Hit, Record

VERSION = 1
"""The version of a hit: fields may be added to it, never renamed or taken away."""

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
"""Ids that are in an address what they are; the characters that :func:`urllib.parse.quote` leaves alone."""


class HitOut(BaseModel):
    """One hit. ``href`` and ``thumb`` are paths of this service."""

    v: int
    rank: int
    id: str
    kind: str
    score: float
    vid: int
    group: str | None = None
    path: str | None = Field(default=None, description="Below its root; no folder of the server is told.")
    text: str | None = None
    relevance: float | None = None
    rerank: float | None = None
    meta: dict[str, Any]
    box: list[int] | None = None
    matches: dict[str, float] = Field(description="Of a product: what its best items gave to rerank, by id.")
    stages: dict[str, float] = Field(description="Its value after each rung of the ladder, in their order.")
    exact: bool
    href: str
    thumb: str | None = None
    why: list[dict[str, Any]] | None = None


class HitsOut(BaseModel):
    """A page of hits. ``next`` is the offset of the page after it, null where there is none."""

    v: int
    hits: list[HitOut]
    offset: int
    k: int
    next: int | None
    exact: bool
    candidates: int
    timings: dict[str, float]
    facets: list[dict[str, Any]] | None = Field(default=None, description="As of /v1/facets.")


class ItemOut(BaseModel):
    """A stored item."""

    v: int
    id: str
    kind: str
    vid: int
    group: str | None = None
    path: str | None = None
    text: str | None = None
    width: int | None = None
    height: int | None = None
    size: int | None = None
    taken: int | None = None
    meta: dict[str, Any]
    href: str
    thumb: str | None = None


class StatusOfItem(BaseModel):
    """What became of one item: ``added updated unchanged deleted not_found failed``."""

    id: str
    status: str
    reason: str | None = None
    detail: str | None = None


class ItemsOut(BaseModel):
    """What became of the items, in the order they were sent."""

    v: int
    items: list[StatusOfItem]


class ProblemOut(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    request_id: str | None = None


def href(id: str) -> str:
    """Where an item is. Slashes in its id are encoded; bytes that are not UTF-8 survive."""
    if _PLAIN.fullmatch(id):  # most ids: 0.3 µs instead of 0.7
        return f"/v1/items/{id}"
    return "/v1/items/" + quote(os.fsencode(id), safe="")


def hit_json(hit: Hit, folders: Sequence[str]) -> dict[str, Any]:
    """One hit as :class:`HitOut` describes it."""
    return {
        "v": VERSION,
        "rank": hit.rank,
        "id": hit.id,
        "kind": str(hit.kind),
        "score": hit.score,
        "vid": hit.vid,
        "group": hit.group,
        "path": below(hit.path, folders),
        "text": hit.text,
        "relevance": hit.relevance,
        "rerank": hit.rerank,
        "meta": hit.meta,
        "box": hit.box,
        "matches": hit.matches,
        "stages": hit.stages,
        "exact": hit.exact,
        "href": href(hit.id),
        "thumb": f"/v1/thumb/{hit.vid}" if hit.kind == "image" else None,
    }


def item_json(record: Record) -> dict[str, Any]:
    """One stored item as :class:`ItemOut` describes it."""
    names = ("id", "vid", "group", "text", "width", "height", "size", "taken", "meta")
    path = record.path if record.root is not None or record.path is None else os.path.basename(record.path)
    return {
        "v": VERSION,
        "kind": str(record.kind),
        **{name: getattr(record, name) for name in names},
        "path": path,
        "href": href(record.id),
        "thumb": f"/v1/thumb/{record.vid}" if record.kind == "image" else None,
    }


def below(path: str | None, folders: Sequence[str]) -> str | None:
    """An absolute path as it is below the first of ``folders`` that holds it; the bare name where none does.

    ``folders`` end with a slash, the longest come first.
    """
    if path is None:
        return None
    for folder in folders:
        if path.startswith(folder):
            return path[len(folder) :]
    return os.path.basename(path)


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response that any parser takes: names that are not UTF-8 get U+FFFD, numbers that are not finite null."""
    try:
        body = to_json(value, inf_nan_mode="null")  # several times as fast as the standard library's
    except ValueError:
        body = json.dumps(_clean(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, status, dict(headers or {}), "application/json")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape" if _escaped(value) else "replace").decode("utf-8", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_clean(key): _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return value


def _escaped(value: str) -> bool:
    return all(not "\ud800" <= char <= "\udfff" or "\udc80" <= char <= "\udcff" for char in value)
