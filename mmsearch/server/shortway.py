"""The short way for the request that comes most, ``POST /v1/search``: to the route's own function, and nothing in between.

FastAPI's routing and its solving of dependencies cost more than all else that is done for such a request outside the search
itself. Whatever is not plainly right goes the long way, with its body given again, so that refusals are the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmsearch.server.asking import SearchIn
from mmsearch.server.routes import search

PATH = "/v1/search"


class ShortWay:
    """A middleware behind the gate, which has let the request in. ``scope`` gets ``route``, as the router sets it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._route = next(one for one in search.router.routes if getattr(one, "endpoint", None) is search.search)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST" or not _is_json(scope["headers"]):
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        asked = _read(messages)
        if asked is None:
            await self._app(scope, _again(messages, receive), send)
            return
        scope["route"] = self._route
        response = await search.search(asked, Request(scope, receive))
        await response(scope, receive, send)


def _is_json(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower() == b"application/json"
    return False


def _read(messages: Sequence[Message]) -> SearchIn | None:
    """The body, read as FastAPI reads it; ``None`` where that would fail."""
    if messages[-1]["type"] != "http.request":
        return None
    try:
        return SearchIn.model_validate(json.loads(b"".join(one.get("body", b"") for one in messages)))
    except (ValueError, ValidationError, RecursionError):
        return None


def _again(messages: Sequence[Message], receive: Receive) -> Receive:
    """A ``receive`` that begins with these."""
    left = list(reversed(messages))

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again
