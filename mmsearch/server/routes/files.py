"""``/v1/items/{id}/file`` and ``/v1/thumb/{vid}``: pictures."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from mmsearch.server import files, thumbnails
from mmsearch.server.errors import Problem
from mmsearch.server.ids import ItemId
from mmsearch.server.service import service_of

router = APIRouter(prefix="/v1", tags=["pictures"])

_PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}}
_SANDBOX = "default-src 'none'; sandbox"


@router.get("/items/{id}/file", response_class=Response, responses={**_PICTURE}, summary="An item's file")
async def file(id: ItemId, request: Request) -> Response:
    """The file as it is, for items that came from one: found by id only, and only where it lies below its root."""
    service = service_of(request)

    def read() -> files.Served:
        with service.live.use() as collection:
            return files.read(collection, collection.get(id), service.options.extra_folders)

    found = await service.run(read)
    headers = {"Content-Security-Policy": _SANDBOX, "Cache-Control": "private, max-age=60"}
    if not found.inline:
        headers["Content-Disposition"] = "attachment"
    return Response(found.data, 200, headers, found.type)


@router.get(
    "/thumb/{vid}", response_class=Response, responses={**_PICTURE, 304: {"description": "Not modified"}}, summary="A thumbnail"
)
async def thumb(
    vid: Annotated[int, Path(ge=0, le=2**62)],
    request: Request,
    size: Annotated[int, Query(ge=16, le=4096, description="The longer side, in pixels; rounded up to 128, 256, 512 …")] = 256,
) -> Response:
    """A small JPEG. A version of an item never changes its picture: a browser may keep it."""
    service = service_of(request)
    rounded = thumbnails.round_up(size, service.options.thumbnails)

    def make() -> thumbnails.Thumb | None:
        with service.live.use() as collection:
            return thumbnails.get(collection, vid, rounded, service.options.extra_folders, request.headers.get("if-none-match"))

    found = await service.run(make)
    if found is None:
        raise Problem(404, "there is no thumbnail of this item")
    service.metrics.thumbnails.labels(found.source).inc()
    headers = {"ETag": found.etag, "Cache-Control": "private, max-age=86400"}
    if found.data is None:
        return Response(status_code=304, headers=headers)
    return Response(found.data, 200, headers, "image/jpeg")
