"""A small thread-safe cache of what queries share: vectors of texts, sets of live items, results of filters."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Cache:
    """Keeps the ``size`` entries that were used last."""

    def __init__(self, size: int = 256) -> None:
        self._size, self._lock = size, threading.Lock()
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()

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
            self._entries[key] = value
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        return value
