"""A collection for programs with an event loop: the same verbs, each run in a thread.

Encoders and the index leave Python's lock while they work, so that threads help; for many queries at a time
:meth:`AsyncCollection.search_many` does more than many tasks would.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from mmsearch.collection import Collection
from mmsearch.protocols import Encoder

__all__ = ["AsyncCollection"]

P = ParamSpec("P")
T = TypeVar("T")


def _threaded(
    verb: Callable[Concatenate[Collection, P], T],
) -> Callable[Concatenate[AsyncCollection, P], Coroutine[Any, Any, T]]:
    async def run(self: AsyncCollection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(verb, self.collection, *args, **kwargs)

    run.__doc__, run.__name__ = f"As :meth:`Collection.{verb.__name__}`, awaited.", verb.__name__
    return run


class AsyncCollection:
    """Wraps a :class:`Collection`, which :attr:`collection` is and which may be used beside it. Cancelling a task leaves the call
    to its end in its thread.

    >>> async with AsyncCollection.open("./shop") as shop:                                # doctest: +SKIP
    ...     hits = await shop.search("a cat sleeping")
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool = False, model: str | Encoder | None = None) -> Self:
        """As :meth:`Collection.open`: some milliseconds, so it need not be awaited."""
        return cls(Collection.open(path, create=create, model=model))

    search = _threaded(Collection.search)
    search_many = _threaded(Collection.search_many)
    similar = _threaded(Collection.similar)
    facets = _threaded(Collection.facets)
    get = _threaded(Collection.get)
    add = _threaded(Collection.add)
    sync = _threaded(Collection.sync)
    upsert = _threaded(Collection.upsert)
    update_meta = _threaded(Collection.update_meta)
    delete = _threaded(Collection.delete)
    discard = _threaded(Collection.discard)
    close = _threaded(Collection.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
