"""How requests are sent by either client: the token, the tries, what an answer means."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mmsearch.client.failures import failure
from mmsearch.client.requests import Request
from mmsearch.errors import InputError, MissingExtra
from mmsearch.types import IngestReport, ItemStatus

try:
    import httpx
except ImportError as error:  # pragma: no cover
    raise MissingExtra("the client needs httpx", hint="pip install 'mmsearch[client]'") from error

TRIES: Final = 4
LONGEST: Final = 30.0
"""Seconds; a service that asks for more patience is taken at its word, but not longer than this."""


def headers(token: str | None) -> dict[str, str]:
    """What every request carries."""
    return {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}


def arguments(request: Request) -> dict[str, Any]:
    """A request as httpx takes it."""
    found: dict[str, Any] = {"method": request.method, "url": request.path}
    if request.params:
        found["params"] = {name: value for name, value in request.params.items() if value is not None}
    if request.json is not None:
        found["json"] = request.json
    return found


def pause(attempt: int, answered: Mapping[str, str]) -> float:
    """Seconds until the next try: what the service asked for, else twice as long each time; never all at the same moment."""
    try:
        asked = float(answered.get("retry-after", ""))
    except ValueError:
        asked = 0.25 * 2**attempt
    return min(LONGEST, max(0.0, asked)) * random.uniform(1.0, 1.25)


def checked(response: httpx.Response) -> httpx.Response:
    """The response, if it is no error. Raises what it stands for."""
    if response.is_success:
        return response
    raise failure(response.status_code, response.content, response.headers.get("x-request-id"))


def told(error: httpx.HTTPError, url: httpx.URL) -> str:
    """What went wrong on the way, in one line."""
    return f"{url} does not answer: {str(error) or type(error).__name__}"


def report(statuses: Sequence[ItemStatus]) -> IngestReport:
    """The report of an upsert. Raises :class:`InputError` for the first item that failed."""
    for one in statuses:
        if one.status == "failed":
            reason, _, detail = (one.detail or "").partition(": ")
            raise InputError(reason, f"{one.id}: {detail or reason}")
    return IngestReport(
        added=sum(one.status == "added" for one in statuses), updated=sum(one.status == "updated" for one in statuses)
    )
