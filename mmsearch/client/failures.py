"""What a service refuses, as exceptions."""

from __future__ import annotations

import json
from typing import Any

from mmsearch.errors import ImageError, ItemNotFound, LockedError, MMSearchError, QueryError


class ServiceError(MMSearchError):
    """The service answered with an error. ``status`` is HTTP's, ``request_id`` finds the request in the service's log."""

    def __init__(self, message: str, *, status: int = 0, request_id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status, self.request_id = status, request_id


class Unauthorized(ServiceError):
    """The token is missing or wrong."""


class Forbidden(ServiceError):
    """The token may not do that, or the service does not allow it."""


class Busy(ServiceError, LockedError):
    """The service is busy, and was still when all tries were used; ``pid`` is never known."""

    pid = None


class Unreachable(ServiceError):
    """No answer: no such host, nobody listening, a connection that broke, or no time left."""


def failure(status: int, body: bytes, request_id: str | None) -> MMSearchError:
    """The exception for an answer that is an error."""
    try:
        members: dict[str, Any] = json.loads(body)
        detail, hint = str(members["detail"]), members.get("hint")
    except (ValueError, KeyError, TypeError):
        members, detail, hint = {}, f"the service answered {status}", None
    if wrong := members.get("errors"):
        detail += ": " + "; ".join(f"{one.get('where')}: {one.get('what')}" for one in wrong[:3])
    if status == 404:
        return ItemNotFound(detail, hint=hint)
    if status == 422:
        return ImageError(members["reason"], detail, hint=hint) if "reason" in members else QueryError(detail, hint=hint)
    kinds: dict[int, type[ServiceError]] = {401: Unauthorized, 403: Forbidden, 503: Busy}
    return kinds.get(status, ServiceError)(detail, status=status, request_id=request_id, hint=hint)
