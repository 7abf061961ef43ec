"""Pictures that are there more than once, or nearly: told by bytes, by vectors and by a hash of the pixels together."""

from __future__ import annotations

from mmsearch.duplicates.heaps import Entry, heaps
from mmsearch.duplicates.looks import Look, distance, look
from mmsearch.duplicates.rule import CANDIDATE, STRICT, is_near

__all__ = ["CANDIDATE", "STRICT", "Entry", "Look", "distance", "heaps", "is_near", "look"]
