"""``/healthz``: the process lives. ``/readyz``: it can answer. ``/metrics``: how it does."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from mmsearch.server.metrics import CONTENT_TYPE
from mmsearch.server.service import service_of

router = APIRouter(tags=["operation"])

OPEN: dict[str, Any] = {"security": []}
"""Documents that no token is needed."""


@router.get("/healthz", response_class=PlainTextResponse, summary="Whether the process lives", openapi_extra=OPEN)
async def healthz() -> str:
    """Always ``ok``, as long as requests are answered at all. Needs no token."""
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse, summary="Whether queries can be answered", openapi_extra=OPEN)
async def readyz(request: Request) -> Response:
    """``ready`` once the model is warm, 503 before and while the service shuts down. Needs no token."""
    if service_of(request).ready:
        return PlainTextResponse("ready\n")
    return PlainTextResponse("not ready\n", 503)


@router.get("/metrics", response_class=PlainTextResponse, summary="Prometheus metrics")
async def metrics(request: Request) -> Response:
    """Latency, batch sizes, the queue, thumbnails, and how fresh the collection is."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)
