"""FAISS, imported when it is first needed: 0.16 s and 30 MB that many a process can do without."""

from __future__ import annotations

from typing import Any


def library() -> Any:
    """The module. Its type stubs know half of what it has, so it goes without."""
    import faiss

    return faiss
