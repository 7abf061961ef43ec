"""``/v1/status``: what the collection holds, and how a run of indexing gets on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from mmsearch.server.answers import reply
from mmsearch.server.auth import Scope
from mmsearch.server.errors import busy
from mmsearch.server.service import service_of

router = APIRouter(prefix="/v1", tags=["operation"])


class StatusOut(BaseModel):
    """Counts and facts. ``rate`` is items a second while a writer runs; ``fields`` are the names that ``where`` knows."""

    v: int
    images: int
    texts: int
    failures: int
    bytes: int
    updated: float | None = Field(description="Unix seconds of the last change.")
    generation: int = Field(description="Rises with every change.")
    writing: bool = Field(description="Whether a writer is at work now.")
    rate: float | None
    index: str
    reason: str
    model: str
    dim: int
    fingerprint: str
    fields: dict[str, str]
    scope: str = Field(description="What the caller may do: read or write.")
    rerankers: list[str]
    fetch: bool
    limits: dict[str, int]


@router.get("/status", response_model=StatusOut, summary="What the collection holds")
async def status(request: Request) -> Response:
    """Counts, model, index, the fields to filter by, and what this caller may do."""
    service = service_of(request)

    def fields() -> dict[str, str]:
        with service.live.use() as collection:
            return collection.fields()

    limits, scope = service.options.limits, request.scope["mmsearch.scope"]
    may_write = scope is Scope.WRITE and not service.options.read_only
    return reply(
        {
            **service.watcher.now,
            "fields": await service.run(fields),
            "scope": "write" if may_write else "read",
            "rerankers": list(service.options.rerankers),
            "fetch": service.options.allow_fetch,
            "limits": {name: getattr(limits, name) for name in ("k", "offset", "terms", "image_bytes", "body_bytes", "items")},
        }
    )


@router.get(
    "/status/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="The same, live",
)
async def events(request: Request) -> Response:
    """Server-sent events: the counts now, and again whenever they change. Ends when the service does."""
    service = service_of(request)
    if service.streams >= service.options.limits.streams:
        raise busy("too many listeners")

    async def lines() -> AsyncIterator[str]:
        service.streams += 1
        try:
            async for status in service.watcher.changes():
                yield f"event: status\ndata: {json.dumps(status)}\n\n" if status else ": nothing new\n\n"
        finally:
            service.streams -= 1

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
