"""A thin client of the HTTP service, with the names of :class:`mmsearch.Collection`; ``pip install 'mmsearch[client]'``.

::

    from mmsearch.client import Client

    with Client("http://127.0.0.1:8765", token="…") as shop:
        for hit in shop.search("red dress", k=5, where="price < :p", params={"p": 50}):
            print(hit.id, hit.score)

:class:`AsyncClient` has the same methods, to be awaited. Errors are those of the collection where there is one of the kind
(:class:`mmsearch.ItemNotFound`, :class:`mmsearch.QueryError`, …), else :class:`ServiceError`.
"""

from __future__ import annotations

from mmsearch.client.asynchronous import AsyncClient
from mmsearch.client.failures import Busy, Forbidden, ServiceError, Unauthorized, Unreachable
from mmsearch.client.synchronous import Client
from mmsearch.client.values import Facets, Page, ServiceStatus, StoredRecord

__all__ = [
    "AsyncClient",
    "Busy",
    "Client",
    "Facets",
    "Forbidden",
    "Page",
    "ServiceError",
    "ServiceStatus",
    "StoredRecord",
    "Unauthorized",
    "Unreachable",
]
