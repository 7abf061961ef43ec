"""How bytes become requests: uvicorn's reader, with an end to how long and how large the head of a request may be."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mmsearch.server.bodies import Caller

HEAD_SECONDS: Final = 10.0
"""From the first byte (or the connection) to the end of the headers: who sends a byte now and then holds no connection."""
HEAD_BYTES: Final = 32 << 10


class Protocol(HttpToolsProtocol):
    """One connection. A head that is too slow ends it; one that is too large, or makes no sense, is a problem 400."""

    head_seconds = HEAD_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._caller = Caller()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has come."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone."""
        self._rest()
        super().connection_lost(exc)
        self._caller.leave()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins. Its ``scope`` gets ``mmsearch.caller``."""
        self._head_bytes = 0
        super().on_message_begin()
        self.scope["mmsearch.caller"] = self._caller  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        """A part of its address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._rest()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Says so, as every other error is said."""
        body = json.dumps({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": msg}).encode()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            raise ValueError("the head is too large")  # the parser hands it on as its own error

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _rest(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
