"""When two pictures count as nearly the same. The numbers come from ``benchmarks/dupes.py``; docs/relevance.md has the table."""

from __future__ import annotations

__all__ = ["CANDIDATE", "STRICT", "is_near"]

CANDIDATE = 0.8
"""Pairs with a smaller cosine are not looked at."""
STRICT = 0.97
"""The cosine from which on a pair needs less of the hash; ``dupes --threshold``."""
CLOSE_BITS = 10
FAR_BITS = 20


def is_near(cosine: float, bits: int, strict: float = STRICT) -> bool:
    """Whether two pictures with this cosine, and so many differing bits of their hashes, are nearly the same.

    Vectors say what is in a picture, the hash how it is laid out: photos of two lawns have one vector, two cats on one sofa
    one hash, and only copies have both. A crop moves the layout and hardly the vector: the nearer the vectors, the more bits
    may differ.
    """
    return (cosine >= CANDIDATE and bits <= CLOSE_BITS) or (cosine >= strict and bits <= FAR_BITS)
