"""The request's body as it comes in: counted while it streams, and not waited for without end; and whether its sender stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from starlette.types import Message, Receive, Scope

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


class Caller:
    """Whoever holds a connection: the server says when they go, and those who want to know are told once."""

    __slots__ = ("_told", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._told: set[Callable[[], None]] = set()

    def leave(self) -> None:
        """They have gone."""
        self.gone = True
        for tell in tuple(self._told):
            tell()

    def watch(self, left: Callable[[], None]) -> Callable[[], None]:
        """``left`` is called when they go, or now if they have; what is returned ends that."""
        if self.gone:
            left()
        self._told.add(left)
        return partial(self._told.discard, left)


def watch(scope: Scope, left: Callable[[], None]) -> Callable[[], None]:
    """``left`` is called when the caller of a request goes away, until what is returned is called.

    To be used once the body has been read. Our own protocol tells; under another server a task waits for its message, which
    costs 30 µs a request.
    """
    caller: Caller | None = scope.get("mmsearch.caller")
    if caller is not None:
        return caller.watch(left)
    body: Body | None = scope.get("mmsearch.body")
    if body is None:  # an application without the gate, in a test
        return lambda: None

    async def wait() -> None:
        await body.gone()
        left()

    task = asyncio.ensure_future(wait())

    def stop() -> None:
        task.cancel()

    return stop
