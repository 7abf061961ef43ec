"""What stands before every request: its id, its host, its token, the size of its body; and behind it: headers, count, log.

A plain ASGI middleware: it adds no task and no queue to a request, and a streamed body stays streamed.
"""

from __future__ import annotations

import logging
import random
import re
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmsearch.server import auth, hosts
from mmsearch.server.bodies import Body
from mmsearch.server.cors import Cors
from mmsearch.server.errors import Problem, problem_of, render
from mmsearch.server.logs import LOGGER, event
from mmsearch.server.metrics import Metrics
from mmsearch.server.options import Options

PUBLIC = frozenset({"/healthz", "/readyz"})
"""Asked by load balancers, under any host and without a token; they tell nothing but yes or no."""

_ENCODED_IDS = ("/v1/items/", "/v1/similar/", "/v1/heatmap/")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""Set on every answer that does not say otherwise itself."""

_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class Gate:
    """The middleware. ``scope`` gets ``mmsearch.request_id``, ``mmsearch.scope`` (what the caller may do), ``mmsearch.body``."""

    def __init__(self, app: ASGIApp, options: Options, door: auth.Doorkeeper, metrics: Metrics) -> None:
        self._app, self._options, self._door, self._metrics = app, options, door, metrics
        self._cors = Cors(options.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets here: the connection is closed
        await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        scope["mmsearch.request_id"] = request_id
        note: dict[str, object] = {}
        scope["mmsearch.note"] = note
        _keep_ids_whole(scope)
        status, size = 0, 0

        async def answer(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                self._dress(message, request_id, headers)
            size += len(message.get("body", b""))
            await send(message)

        self._metrics.running.inc()
        try:
            early = self._cors.preflight(scope["method"], headers)
            if early is None:
                self._admit(scope, headers)
                scope["mmsearch.body"] = body = self._body(scope["path"], scope["method"], receive, headers)
                await self._app(scope, body, answer)
            else:
                await early(scope, receive, answer)
        except Exception as error:
            problem = problem_of(error)
            if problem.status_code == 500:
                event("failed", level=logging.ERROR, id=request_id, error=type(error).__name__, trace=_trace(error))
            if status:  # the head is out: all that is left is to break off
                raise
            await render(problem, request_id)(scope, receive, answer)
        finally:
            self._metrics.running.dec()
            scope.pop("mmsearch.body", None)  # it knows the request, which knows the scope: no work for the garbage collector
            self._count(scope, status, size, time.perf_counter() - began, note)

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Raises :class:`Problem` unless host and token are right."""
        scope["mmsearch.scope"] = auth.Scope.NONE
        if scope["path"] in PUBLIC:
            return
        local = scope["server"][0] if scope.get("server") else None
        if not hosts.may_name(headers.get("host", ""), self._options.hosts, local):
            raise Problem(421, "this service does not answer to that host", hint="name it with --allow-host")
        header = headers.get("authorization")
        if header is not None:
            scope["mmsearch.scope"] = self._door.by_header(header.encode("latin-1"))
        elif cookie := headers.get("cookie"):
            scope["mmsearch.scope"] = self._door.by_cookie(cookie)
            if scope["method"] not in _SAFE_METHODS and not _is_own_page(headers):
                raise Problem(403, "a page of another origin may not use the session of this one")
        if not scope["mmsearch.scope"] and scope["path"] != "/":  # the page itself shows how to log in
            raise Problem(
                401,
                "a token is needed" if header is None else "the token is not right",
                hint="send it in a header: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": 'Bearer realm="mmsearch"'},
            )

    def _body(self, path: str, method: str, receive: Receive, headers: Headers) -> Body:
        limits = self._options.limits
        raw = path == "/v1/search/image" or method == "PUT"
        declared = headers.get("content-length", "")
        return Body(
            receive,
            limit=limits.image_bytes if raw else limits.body_bytes,
            seconds=limits.body_seconds,
            declared=int(declared) if declared.isascii() and declared.isdigit() else None,
        )

    def _dress(self, message: Message, request_id: str, headers: Headers) -> None:
        raw = list(message.get("headers", ()))
        said = {name for name, _ in raw}
        raw.append((b"x-request-id", request_id.encode()))
        raw.extend(pair for pair in _RAW_HEADERS if pair[0] not in said)
        message["headers"] = raw
        self._cors.mark(MutableHeaders(raw=raw), headers)

    def _count(self, scope: Scope, status: int, size: int, seconds: float, note: dict[str, object]) -> None:
        route = getattr(scope.get("route"), "path", "other")  # the template: ids would make endless series
        method = scope["method"] if scope["method"] in _KNOWN_METHODS else "other"
        self._metrics.answered(route, method, status, seconds)
        if route in PUBLIC and status == 200:
            return  # every few seconds, for ever
        if not LOGGER.isEnabledFor(logging.INFO):
            return
        event(
            "request",
            id=scope["mmsearch.request_id"],
            method=method,
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 2),
            bytes=size,
            client=scope["client"][0] if scope.get("client") else None,
            note=note,
        )


_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _keep_ids_whole(scope: Scope) -> None:
    """Ids may have slashes, sent as %2F: routes see the path still encoded, or one id would be many segments."""
    raw = scope.get("raw_path")
    if raw and scope["path"].startswith(_ENCODED_IDS):
        scope["path"] = raw.partition(b"?")[0].decode("latin-1")


def _is_own_page(headers: Headers) -> bool:
    """Whether a browser says that its request comes from a page of this very service: SameSite takes all ports for one."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _trace(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))[-4000:]
