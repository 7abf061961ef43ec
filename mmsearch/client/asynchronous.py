"""The client for programs that do not wait: the same, to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from mmsearch.client import requests, sending, values
from mmsearch.client.failures import Unreachable
from mmsearch.client.requests import Request
from mmsearch.types import IngestReport, Item, ItemStatus, Json, Query

__all__ = ["AsyncClient"]


class AsyncClient:
    """:class:`mmsearch.client.Client` for ``async`` programs: the same verbs, awaited. One event loop; close it with
    :meth:`close`, or use ``async with``.

    >>> async with AsyncClient("http://127.0.0.1:8765", token="…") as shop:                 # doctest: +SKIP
    ...     hits = await shop.search("red dress", k=5)
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        tries: int = sending.TRIES,
        transport: httpx.AsyncBaseTransport | None = None,
        verify: Any = True,
    ) -> None:
        self._tries = max(1, tries)
        self._http = httpx.AsyncClient(
            base_url=url, headers=sending.headers(token), timeout=timeout, transport=transport, verify=verify
        )

    async def search(self, query: Query | str, **options: Any) -> values.Page:
        """The items nearest to a query. The options are those of :meth:`mmsearch.Collection.search`, and ``facets`` (names of
        fields) and ``explain``. Paths of pictures in the query are read here, and their bytes sent.

        >>> client.search("red dress", k=5, where="price < :p", params={"p": 50})[0].id      # doctest: +SKIP
        'sku-7#photo-1'
        """
        return values.page((await self._send(requests.search(query, options))).json())

    async def similar(self, ids: str | Sequence[str], *, unlike: Sequence[str] = (), **options: Any) -> values.Page:
        """Items like stored ones, and unlike others; all these are left out. Raises :class:`mmsearch.ItemNotFound`."""
        return values.page((await self._send(requests.similar(ids, unlike, options))).json())

    async def facets(self, fields: Sequence[str], **options: Any) -> values.Facets:
        """Which values the fields have, with counts; ``where params query kind group_by limit`` as of a collection."""
        return values.facets((await self._send(requests.facets(fields, options))).json()["facets"])

    async def add(self, items: Iterable[Item]) -> IngestReport:
        """Add or replace items. Raises :class:`mmsearch.InputError` for the first that failed; the others are stored."""
        return sending.report(await self.upsert(items))

    async def upsert(self, items: Iterable[Item]) -> list[ItemStatus]:
        """Add or replace items, in requests of 200; each has a status, in their order."""
        found = []
        for one in requests.upserts(items):
            found += values.statuses((await self._send(one)).json())
        return found

    async def delete(self, ids: Iterable[str]) -> int:
        """Delete items; those that do not exist are passed over. Returns how many were deleted."""
        return sum(one.status == "deleted" for one in await self.discard(ids))

    async def discard(self, ids: Iterable[str]) -> list[ItemStatus]:
        """Delete items, and say of each whether it was there."""
        return values.statuses((await self._send(requests.discard(ids))).json())

    async def update_meta(self, patches: Mapping[str, Mapping[str, Json]], *, by: str = "id") -> list[ItemStatus]:
        """Change fields of items (or with ``by="group"`` of groups) and nothing else."""
        return values.statuses((await self._send(requests.update_meta(patches, by))).json())

    async def get(self, id: str) -> values.StoredRecord:
        """The item stored under ``id``. Raises :class:`mmsearch.ItemNotFound`."""
        found: values.StoredRecord = values.known(values.StoredRecord, (await self._send(requests.get(id))).json())
        return found

    async def thumbnail(self, vid: int, *, size: int = 256) -> bytes:
        """A JPEG of an item's picture, by the ``vid`` of a hit."""
        return (await self._send(requests.thumbnail(vid, size))).content

    async def file(self, id: str) -> bytes:
        """An item's file as it is."""
        return (await self._send(requests.file(id))).content

    async def status(self) -> values.ServiceStatus:
        """What the collection holds, and what this client may do."""
        found: values.ServiceStatus = values.known(values.ServiceStatus, (await self._send(requests.status())).json())
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _send(self, request: Request) -> httpx.Response:
        arguments = sending.arguments(request)
        attempt = 0
        while True:
            attempt += 1
            last = attempt >= self._tries
            try:
                response = await self._http.request(**arguments)
            except httpx.HTTPError as error:
                if last or not isinstance(error, httpx.ConnectError):
                    raise Unreachable(sending.told(error, self._http.base_url)) from error
                await asyncio.sleep(sending.pause(attempt, {}))
                continue
            if response.status_code != 503 or last:
                return sending.checked(response)
            await asyncio.sleep(sending.pause(attempt, response.headers))
