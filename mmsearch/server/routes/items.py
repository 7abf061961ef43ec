"""``/v1/items``: add, replace, change, delete, look at one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mmsearch.server.answers import VERSION, ItemOut, ItemsOut, item_json, reply
from mmsearch.server.asking import DeleteIn, Id, ItemIn, ItemsIn, MetaIn, PatchesIn
from mmsearch.server.documentation import binary
from mmsearch.server.errors import Problem
from mmsearch.server.ids import ItemId
from mmsearch.server.queries import unbase64
from mmsearch.server.service import Service, service_of, writing
from mmsearch.server.storing import StoredItem, store_items
from mmsearch.types import Item, ItemStatus

router = APIRouter(prefix="/v1/items", tags=["items"])


@router.post("", response_model=ItemsOut, summary="Add or replace items")
async def upsert(asked: ItemsIn, request: Request) -> Response:
    """Each item gets a status of its own: ``added``, ``updated``, or ``failed`` and why. Searchable when the answer comes."""
    service = writing(request)
    _few_enough(service, len(asked.items))
    items = [await _item(service, one) for one in asked.items]
    return _statuses(service, await _store(service, items))


@router.post("/delete", response_model=ItemsOut, summary="Delete items")
async def delete_many(asked: DeleteIn, request: Request) -> Response:
    """Each id gets a status of its own: ``deleted`` or ``not_found``."""
    service = writing(request)
    _few_enough(service, len(asked.ids))
    return _statuses(service, await _delete(service, asked.ids))


@router.post("/meta", response_model=ItemsOut, summary="Change fields of items")
async def patch_many(asked: PatchesIn, request: Request) -> Response:
    """Price and stock change, pictures do not: nothing is encoded. Statuses: ``updated``, ``unchanged``, ``not_found``."""
    service = writing(request)
    _few_enough(service, len(asked.patches))
    return _statuses(service, await _patch(service, asked.patches, asked.by))


@router.get("/{id}", response_model=ItemOut, summary="One item")
async def get(id: ItemId, request: Request) -> Response:
    """All that is stored of it."""
    service = service_of(request)

    def look() -> dict[str, Any]:
        with service.live.use() as collection:
            return item_json(collection.get(id))

    return reply(await service.run(look))


@router.put("/{id}", response_model=ItemsOut, summary="Add or replace one item", openapi_extra=binary("image/*", "text/plain"))
async def put(
    id: ItemId,
    request: Request,
    group: Annotated[Id | None, Query(description="A product, an album: what belongs together.")] = None,
    meta: Annotated[str | None, Query(max_length=100_000, description="Fields as a JSON object.")] = None,
) -> Response:
    """The body is the picture as it is, or a text (``text/plain``, UTF-8)."""
    service = writing(request)
    data = await request.body()
    fields = _object(meta)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/plain":
        item = Item(id=id, text=_utf8(data), group=group, meta=fields)
    else:
        item = Item(id=id, image=data, group=group, meta=fields)
    (status,) = await _store(service, [item])
    if status.status == "failed":
        raise Problem(422, f"the picture cannot be stored: {status.detail}", reason=status.reason)
    return _statuses(service, [status])


@router.delete("/{id}", response_model=ItemsOut, summary="Delete one item")
async def delete(id: ItemId, request: Request) -> Response:
    """404 where there is none."""
    service = writing(request)
    return _one(service, await _delete(service, [id]))


@router.patch("/{id}", response_model=ItemsOut, summary="Change fields of one item")
async def patch(id: ItemId, asked: MetaIn, request: Request) -> Response:
    """``meta`` is a JSON merge patch (RFC 7386): what is given changes, ``null`` takes a field away, the rest stays."""
    service = writing(request)
    return _one(service, await _patch(service, {id: asked.meta}))


def _one(service: Service, statuses: Sequence[ItemStatus]) -> Response:
    if statuses[0].status == "not_found":
        raise Problem(404, "no item has this id")
    return _statuses(service, statuses)


def _few_enough(service: Service, count: int) -> None:
    if count > service.options.limits.items:
        raise Problem(422, f"{count} items are too many for one request", hint=f"send {service.options.limits.items} at a time")


async def _item(service: Service, one: ItemIn) -> Item:
    if one.text is not None:
        return Item(id=one.id, text=one.text, group=one.group, meta=one.meta)
    data = unbase64(one.image) if one.image is not None else await service.fetch(str(one.url))
    return Item(id=one.id, image=data, group=one.group, meta=one.meta)


async def _store(service: Service, items: list[Item]) -> list[StoredItem]:
    def store() -> list[StoredItem]:
        with service.live.use() as collection:
            return store_items(
                collection, items, service.pictures.for_items(collection.encoder), wait=service.options.limits.write_wait
            )

    return await service.write(store)


async def _delete(service: Service, ids: list[str]) -> list[ItemStatus]:
    def delete() -> list[ItemStatus]:
        with service.live.use() as collection:
            return collection.discard(ids, wait=service.options.limits.write_wait)

    return await service.write(delete)


async def _patch(service: Service, patches: Mapping[str, Mapping[str, Any]], by: str = "id") -> list[ItemStatus]:
    def patch() -> list[ItemStatus]:
        with service.live.use() as collection:
            return collection.update_meta(patches, by=by, wait=service.options.limits.write_wait)

    return await service.write(patch)


def _statuses(service: Service, statuses: Sequence[ItemStatus | StoredItem]) -> Response:
    """What became of each."""
    for one in statuses:
        service.metrics.written.labels(one.status).inc()
    rows = [
        {name: value for name in ("id", "status", "reason", "detail") if (value := getattr(one, name, None)) is not None}
        for one in statuses
    ]
    return reply({"v": VERSION, "items": rows})


def _object(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Problem(422, "meta is a JSON object")
    return value


def _utf8(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Problem(422, "the text is not UTF-8") from None
    if not text.strip():
        raise Problem(422, "the text is empty")
    return text
