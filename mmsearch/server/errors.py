"""Every error as ``application/problem+json`` (RFC 9457): what happened, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mmsearch import errors

RETRY_SECONDS = 1
"""What ``Retry-After`` says where the service is busy: batches take milliseconds, writes seconds."""


class Problem(HTTPException):
    """An error with a status, a sentence, and what to do next. ``more`` are further members of the answer."""

    def __init__(
        self, status: int, detail: str, *, hint: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.hint, self.more = hint, more


def busy(detail: str) -> Problem:
    """503, and when to come back."""
    return Problem(503, detail, hint="try again after the time in Retry-After", headers={"Retry-After": str(RETRY_SECONDS)})


_TITLES = {status.value: status.phrase for status in HTTPStatus} | {413: "Content Too Large", 422: "Unprocessable Content"}

_STATUS: tuple[tuple[type[errors.MMSearchError], int], ...] = (
    (errors.ItemNotFound, 404),
    (errors.QueryError, 422),
    (errors.UsageError, 422),
    (errors.InputError, 422),
    (errors.LockedError, 503),
    (errors.StorageError, 507),
    (errors.MissingExtra, 501),
    (errors.ModelNotFound, 501),
)


def problem_of(error: Exception) -> Problem:
    """An error of the library as a problem; anything unknown is a 500 that tells nothing of the inside."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, errors.LockedError):
        return busy("another process is writing to the collection")
    for kind, status in _STATUS:
        if isinstance(error, kind):
            problem = Problem(status, error.message, hint=error.hint)
            if isinstance(error, errors.InputError):
                problem.more["reason"] = str(error.reason)
            return problem
    return Problem(500, "the service failed; its log has the reason under this request's id")


def render(problem: HTTPException, request_id: str | None = None) -> Response:
    """The response of a problem."""
    members: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(problem.status_code, "Error"),
        "status": problem.status_code,
        "detail": str(problem.detail),
    }
    if isinstance(problem, Problem):
        members |= {"hint": problem.hint} if problem.hint else {}
        members |= problem.more
    if request_id:
        members["request_id"] = request_id
    body = json.dumps(members, ensure_ascii=True).encode()
    return Response(body, problem.status_code, problem.headers, "application/problem+json")


def install(app: FastAPI) -> None:
    """Every error that a route raises becomes a problem."""

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return render(error, request.scope.get("mmsearch.request_id"))

    @app.exception_handler(errors.MMSearchError)
    async def library(request: Request, error: errors.MMSearchError) -> Response:
        problem = problem_of(error)
        if problem.status_code == 500:
            raise error  # the gate logs it
        return render(problem, request.scope.get("mmsearch.request_id"))

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        # what was sent is not echoed: it may be a picture
        found = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()[:20]]
        problem = Problem(422, "the request does not have the form that is documented", errors=found)
        return render(problem, request.scope.get("mmsearch.request_id"))
