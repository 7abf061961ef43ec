"""What is sent: one function for each verb, which both clients use. Nothing here opens a connection."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from mmsearch.errors import QueryError
from mmsearch.types import Item, Json, Kind, Query, Term, text

ITEMS, CHARS = 200, 8 << 20
"""The most that one request holds: items, and characters of their pictures and texts."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Each may be sent a second time without harm: they say what shall be, not what to add."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None


def search(query: Query | str, options: Mapping[str, Any]) -> Request:
    """A search. Pictures are sent along, as base64."""
    wanted = text(query) if isinstance(query, str) else query
    body = {name: value for name, value in options.items() if value is not None}
    if isinstance(kind := body.get("kind"), Kind):
        body["kind"] = str(kind)
    return Request("POST", "/v1/search", json={**body, "terms": [_term(term) for term in wanted.terms]})


def similar(ids: str | Sequence[str], unlike: Sequence[str], options: Mapping[str, Any]) -> Request:
    """Items like others; those themselves are left out."""
    body = {name: value for name, value in options.items() if value is not None}
    return Request(
        "POST", "/v1/search", json={**body, "like": [ids] if isinstance(ids, str) else list(ids), "unlike": list(unlike)}
    )


def facets(names: Sequence[str], options: Mapping[str, Any]) -> Request:
    """Counts of fields' values."""
    given = {name: value for name, value in options.items() if value is not None}
    params = given.pop("params", {})
    query = given.pop("query", None)
    return Request(
        "GET",
        "/v1/facets",
        {**given, "field": list(names), "param": [f"{name}={json.dumps(value)}" for name, value in params.items()]}
        | ({"q": query} if query is not None else {}),
    )


def upserts(items: Iterable[Item]) -> Iterator[Request]:
    """Items to store, in requests of a size that services take."""
    some: list[dict[str, Any]] = []
    size = 0
    for one in map(_item, items):
        weight = len(one.get("image", one.get("text", "")))
        if some and (len(some) >= ITEMS or size + weight > CHARS):
            yield Request("POST", "/v1/items", json={"items": some})
            some, size = [], 0
        some.append(one)
        size += weight
    if some:
        yield Request("POST", "/v1/items", json={"items": some})


def discard(ids: Iterable[str]) -> Request:
    """Ids to delete."""
    return Request("POST", "/v1/items/delete", json={"ids": list(ids)})


def update_meta(patches: Mapping[str, Mapping[str, Json]], by: str) -> Request:
    """Changes of fields."""
    return Request("POST", "/v1/items/meta", json={"patches": {id: dict(one) for id, one in patches.items()}, "by": by})


def get(id: str) -> Request:
    """One item."""
    return Request("GET", f"/v1/items/{quote(id, safe='')}")


def thumbnail(vid: int, size: int) -> Request:
    """One thumbnail."""
    return Request("GET", f"/v1/thumb/{vid}", {"size": size})


def file(id: str) -> Request:
    """An item's file."""
    return Request("GET", f"/v1/items/{quote(id, safe='')}/file")


def status() -> Request:
    """The status."""
    return Request("GET", "/v1/status")


def _term(term: Term) -> dict[str, Any]:
    match term.what:
        case "text":
            return {"text": str(term.value), "weight": term.weight}
        case "item":
            return {"id": term.value, "weight": term.weight}
        case "vector":
            return {"vector": np.asarray(term.value, dtype=np.float64).tolist(), "weight": term.weight}
        case "image":
            return {"image": _base64(term.value), "weight": term.weight}
    raise QueryError(f"a query term cannot be a {term.what!r}")


def _item(item: Item) -> dict[str, Any]:
    if item.vector is not None:
        raise QueryError(f"item {item.id!r}: a service encodes items itself", hint="leave vector= out")
    content = {"text": item.text} if item.text is not None else {"image": _base64(item.image)}
    return {"id": item.id, "group": item.group, "meta": dict(item.meta), **content}


def _base64(image: Any) -> str:
    return base64.b64encode(encoded(image)).decode()


def encoded(image: Any) -> bytes:
    """A picture's bytes: of the file at a path of *this* machine, as given, or of a Pillow image."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        return Path(image).expanduser().read_bytes()
    import io

    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
