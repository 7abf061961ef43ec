"""A small thread-safe cache of what queries share: vectors of texts, sets of live items, results of filters."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

MOST_BYTES = 128 << 20
"""A filter that half of a million items satisfy is 4 MB: 256 of them were a gigabyte."""


class Cache:
    """Keeps the ``size`` entries that were used last, and fewer where their arrays (``nbytes``) have more than ``most_bytes``.

    The last one is kept whatever it has.

    >>> cache = Cache(size=2)
    >>> [cache.get(key, lambda: 0) for key in "abc"], cache.find("a"), cache.find("c")
    ([0, 0, 0], None, 0)
    """

    def __init__(self, size: int = 256, most_bytes: int = MOST_BYTES) -> None:
        self._size, self._most, self._lock = size, most_bytes, threading.Lock()
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0

    def find(self, key: Hashable) -> Any:
        """The value under ``key``, or ``None``."""
        with self._lock:
            return self._entries.get(key)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value under ``key``, made now if it is not there; ``make`` may run twice when threads race."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]  # type: ignore[no-any-return]
        value = make()
        with self._lock:
            self._bytes += _bytes(value) - _bytes(self._entries.get(key))
            self._entries[key] = value
            while len(self._entries) > self._size or (self._bytes > self._most and len(self._entries) > 1):
                self._bytes -= _bytes(self._entries.popitem(last=False)[1])
        return value


def _bytes(value: object) -> int:
    return int(getattr(value, "nbytes", 0))
