"""Which pages of other sites may read answers: none, but those named. They come with a token, never with the cookie."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

_METHODS = "GET, POST, PUT, PATCH, DELETE"
_HEADERS = "Authorization, Content-Type, If-None-Match, X-Request-ID"


class Cors:
    """Answers preflights, and marks answers, for the origins it was given."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def preflight(self, method: str, headers: Headers) -> Response | None:
        """The answer to a preflight of an origin that is allowed, else ``None``."""
        if method != "OPTIONS" or headers.get("origin") not in self._origins or "access-control-request-method" not in headers:
            return None
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _HEADERS,
                "Access-Control-Max-Age": "600",
            },
        )

    def mark(self, headers: MutableHeaders, asked: Headers) -> None:
        """Says on an answer that the origin of the request, with the headers ``asked``, may read it."""
        if not self._origins:
            return
        origin = asked.get("origin")
        headers.add_vary_header("Origin")
        if origin in self._origins:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = "ETag, Retry-After, X-Request-ID"
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"
