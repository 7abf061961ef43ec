"""``/``: the web page, its files, and the link that logs in to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, Response

from mmsearch.server.auth import Scope
from mmsearch.server.errors import Problem
from mmsearch.server.service import service_of

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent.parent / "web"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_LOGIN = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>mmsearch</title>"
    "<h1>mmsearch</h1><p>Open the link that <code>mmsearch serve</code> has printed; it logs this browser in.</p>"
)


@router.get("/")
async def page(request: Request, token: Annotated[str | None, Query(max_length=500)] = None) -> Response:
    """The page; with ``?token=``, a cookie and the page without it in the address."""
    service = service_of(request)
    if token is not None:
        cookie = service.door.session(token.encode(), secure=service.options.secure_cookie)
        if cookie is None:
            return HTMLResponse(_LOGIN, 401)
        return Response(status_code=303, headers={"Location": "/", "Set-Cookie": cookie})
    if request.scope["mmsearch.scope"] is Scope.NONE:
        return HTMLResponse(_LOGIN, 401)
    return await asset("index.html")


@router.get("/web/{name}")
async def asset(name: str) -> Response:
    """A file of the page."""
    path = FOLDER / name
    if not _NAME.fullmatch(name) or path.suffix not in _TYPES or not path.is_file():
        raise Problem(404, "there is no such file")
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})
