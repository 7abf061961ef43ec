"""``/v1/facets``: which values the fields have, with counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from mmsearch.server.answers import VERSION, reply
from mmsearch.server.asking_query import FacetsQuery
from mmsearch.server.errors import Problem
from mmsearch.server.service import Service, service_of

router = APIRouter(prefix="/v1", tags=["search"])


class FacetValueOut(BaseModel):
    """A value and how many items have it; a range has ``low`` and ``high`` instead of a value."""

    value: Any = None
    count: int
    low: float | None = None
    high: float | None = None


class FacetOut(BaseModel):
    """A field's values. ``missing`` counts items without one, ``more`` the values that are not listed."""

    field: str
    type: Literal["number", "text", "bool"]
    values: list[FacetValueOut]
    missing: int
    more: int


class FacetsOut(BaseModel):
    """The facets, in the order they were asked for."""

    v: int
    facets: list[FacetOut]


@router.get("/facets", response_model=FacetsOut, summary="Count values of fields")
async def facets(asked: Annotated[FacetsQuery, Query()], request: Request) -> Response:
    """Counted are all items that satisfy ``where``, or with ``q`` the nearest thousand of them."""
    service = service_of(request)
    options = {"kind": asked.kind, "where": asked.where, "params": asked.params(), "group_by": asked.group_by}
    return reply({"v": VERSION, "facets": await count(service, asked.field, query=asked.q, limit=asked.limit, **options)})


async def count(service: Service, fields: Sequence[str], **options: Any) -> list[Mapping[str, Any]]:
    """The facets of these fields as JSON. Raises :class:`Problem` 422 where they are too many."""
    if len(fields) > service.options.limits.facets:
        raise Problem(422, f"at most {service.options.limits.facets} fields at a time")

    def look() -> list[Mapping[str, Any]]:
        with service.live.use() as collection:
            return [asdict(one) for one in collection.facets(fields, **options)]

    return await service.run(look)
