"""The request's body as it comes in: counted while it streams, and not waited for without end."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.types import Message, Receive

from mmsearch.server.errors import Problem


class Body:
    """Wraps an ASGI ``receive``: raises :class:`Problem` 413 past ``limit`` bytes, 408 after ``seconds``.

    When the body is whole, :meth:`gone` tells when the caller goes away.
    """

    def __init__(self, receive: Receive, *, limit: int, seconds: float, declared: int | None) -> None:
        self._receive, self._limit, self._seconds = receive, limit, seconds
        self._declared, self._deadline = declared, 0.0
        self._whole, self._left = False, False
        self.seen = 0

    async def __call__(self) -> Message:
        """The next message."""
        if self._whole or self._left:
            return await self._later()
        if self._declared is not None and self._declared > self._limit:
            raise self._too_large()
        now = time.monotonic()
        self._deadline = self._deadline or now + self._seconds
        try:
            async with asyncio.timeout(self._deadline - now):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "the request's body took too long to come", headers={"Connection": "close"}) from None
        if message["type"] == "http.disconnect":
            self._left = True
            return message
        self.seen += len(message.get("body", b""))
        if self.seen > self._limit:
            raise self._too_large()
        self._whole = not message.get("more_body", False)
        return message

    async def gone(self) -> None:
        """Returns when the caller has gone away. To be awaited once the body has been read."""
        while not self._left:
            message = await self()
            self._left = message["type"] == "http.disconnect"

    async def _later(self) -> Message:
        if self._left:
            return {"type": "http.disconnect"}
        return await self._receive()

    def _too_large(self) -> Problem:
        return Problem(
            413,
            f"the request's body has more than {self._limit} bytes",
            hint="send a smaller picture, or fewer items at a time",
            headers={"Connection": "close"},
        )


async def gone(request: Request) -> None:
    """Returns when the caller of ``request`` has gone away."""
    body: Body | None = request.scope.get("mmsearch.body")
    if body is None:  # an application without the gate, in a test
        await asyncio.Event().wait()
    else:
        await body.gone()
