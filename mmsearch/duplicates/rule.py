"""When two pictures count as nearly the same. The numbers come from ``benchmarks/dupes.py``; docs/relevance.md has the table."""

from __future__ import annotations

__all__ = ["CANDIDATE", "STRICT", "is_near"]

CANDIDATE = 0.3
"""Pairs with a smaller cosine are not looked at."""
LIKELY = 0.7
STRICT = 0.95
"""The cosine from which on the layout may be another, as a crop's is; ``dupes --threshold``."""
SAME_BITS = 6
CLOSE_BITS = 8
FAR_BITS = 20


def is_near(cosine: float, bits: int, upright: int, strict: float = STRICT) -> bool:
    """Whether two pictures with this cosine are nearly the same, when so many ``bits`` of their hashes differ; ``upright`` is
    how many do without turning or mirroring one of them.

    Vectors say what is in a picture, the hash how it is laid out: photos of two lawns have one vector, and copies in grey
    two, but only copies have one hash. A crop moves the layout and hardly the vector: where the vectors are that near, more
    bits may differ.
    """
    if cosine < CANDIDATE:
        return False
    return bits <= SAME_BITS or (cosine >= LIKELY and bits <= CLOSE_BITS) or (cosine >= strict and upright <= FAR_BITS)
