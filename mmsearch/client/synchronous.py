"""The client for programs that wait."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from mmsearch.client import requests, sending, values
from mmsearch.client.failures import Unreachable
from mmsearch.client.requests import Request
from mmsearch.types import IngestReport, Item, ItemStatus, Json, Query

__all__ = ["Client"]


class Client:
    """A service as if it were a collection. Safe for many threads; close it, or use ``with``.

    ``timeout`` is seconds for one try. A busy service (503) is asked up to ``tries`` times, with the pauses that it asks for; so
    is one that cannot be connected to. ``transport`` and ``verify`` are those of httpx.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        tries: int = sending.TRIES,
        transport: httpx.BaseTransport | None = None,
        verify: Any = True,
    ) -> None:
        self._tries = max(1, tries)
        self._http = httpx.Client(base_url=url, headers=sending.headers(token), timeout=timeout, transport=transport, verify=verify)

    def search(self, query: Query | str, **options: Any) -> values.Page:
        """The items nearest to a query. The options are those of :meth:`mmsearch.Collection.search`, and ``facets`` (names of
        fields) and ``explain``. Paths of pictures in the query are read here, and their bytes sent.

        >>> client.search("red dress", k=5, where="price < :p", params={"p": 50})[0].id      # doctest: +SKIP
        'sku-7#photo-1'
        """
        return values.page(self._send(requests.search(query, options)).json())

    def similar(self, ids: str | Sequence[str], *, unlike: Sequence[str] = (), **options: Any) -> values.Page:
        """Items like stored ones, and unlike others; all these are left out. Raises :class:`mmsearch.ItemNotFound`."""
        return values.page(self._send(requests.similar(ids, unlike, options)).json())

    def facets(self, fields: Sequence[str], **options: Any) -> values.Facets:
        """Which values the fields have, with counts; ``where params query kind group_by limit`` as of a collection."""
        return values.facets(self._send(requests.facets(fields, options)).json()["facets"])

    def add(self, items: Iterable[Item]) -> IngestReport:
        """Add or replace items. Raises :class:`mmsearch.InputError` for the first that failed; the others are stored."""
        return sending.report(self.upsert(items))

    def upsert(self, items: Iterable[Item]) -> list[ItemStatus]:
        """Add or replace items, in requests of 200; each has a status, in their order."""
        return [status for one in requests.upserts(items) for status in values.statuses(self._send(one).json())]

    def delete(self, ids: Iterable[str]) -> int:
        """Delete items; those that do not exist are passed over. Returns how many were deleted."""
        return sum(one.status == "deleted" for one in self.discard(ids))

    def discard(self, ids: Iterable[str]) -> list[ItemStatus]:
        """Delete items, and say of each whether it was there."""
        return values.statuses(self._send(requests.discard(ids)).json())

    def update_meta(self, patches: Mapping[str, Mapping[str, Json]], *, by: str = "id") -> list[ItemStatus]:
        """Change fields of items (or with ``by="group"`` of groups) and nothing else."""
        return values.statuses(self._send(requests.update_meta(patches, by)).json())

    def get(self, id: str) -> values.StoredRecord:
        """The item stored under ``id``. Raises :class:`mmsearch.ItemNotFound`."""
        found: values.StoredRecord = values.known(values.StoredRecord, self._send(requests.get(id)).json())
        return found

    def thumbnail(self, vid: int, *, size: int = 256) -> bytes:
        """A JPEG of an item's picture, by the ``vid`` of a hit."""
        return self._send(requests.thumbnail(vid, size)).content

    def file(self, id: str) -> bytes:
        """An item's file as it is."""
        return self._send(requests.file(id)).content

    def status(self) -> values.ServiceStatus:
        """What the collection holds, and what this client may do."""
        found: values.ServiceStatus = values.known(values.ServiceStatus, self._send(requests.status()).json())
        return found

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _send(self, request: Request) -> httpx.Response:
        arguments = sending.arguments(request)
        attempt = 0
        while True:
            attempt += 1
            last = attempt >= self._tries
            try:
                response = self._http.request(**arguments)
            except httpx.HTTPError as error:
                if last or not isinstance(error, httpx.ConnectError):
                    raise Unreachable(sending.told(error, self._http.base_url)) from error
                time.sleep(sending.pause(attempt, {}))
                continue
            if response.status_code != 503 or last:
                return sending.checked(response)
            time.sleep(sending.pause(attempt, response.headers))
