"""What queries share is kept within bounds: so many entries, and so many bytes of arrays."""

from __future__ import annotations

import numpy as np

from mmsearch.cache import Cache
from mmsearch.types import VidSet


def filled(cache, *sizes):
    """Puts sets of so many vids under 0, 1, 2 …, and says which are still there."""
    for key, size in enumerate(sizes):
        cache.get(key, lambda size=size: VidSet(np.arange(size), is_sorted=True))
    return [key for key in range(len(sizes)) if cache.find(key) is not None]


def test_the_oldest_go_where_there_are_too_many():
    assert filled(Cache(size=3), 1, 1, 1, 1, 1) == [2, 3, 4]


def test_the_oldest_go_where_they_have_too_many_bytes():
    assert filled(Cache(most_bytes=8 * 100), 40, 40, 20) == [0, 1, 2]
    assert filled(Cache(most_bytes=8 * 100), 40, 40, 30) == [1, 2]
    assert filled(Cache(most_bytes=8 * 100), 40, 40, 500) == [2]
    assert filled(Cache(most_bytes=8 * 100), 500, 40, 40) == [1, 2]


def test_what_was_used_last_stays_and_what_is_made_twice_counts_once():
    cache = Cache(most_bytes=8 * 100)
    filled(cache, 40, 40)
    cache.get(0, lambda: None)
    cache.get(2, lambda: cache.get(2, lambda: np.zeros(20)))  # as if two threads had made it
    assert [cache.find(key) is not None for key in range(3)] == [True, True, True]
    assert cache.get(3, lambda: np.zeros(20)) is cache.find(3)
    assert [cache.find(key) is not None for key in range(4)] == [True, False, True, True]
