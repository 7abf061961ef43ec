"""Names → implementations of the four seams, imported only when asked for.

Built-in adapters and those of other packages are found in the same way: by entry points in the groups
``mmsearch.encoders``, ``mmsearch.indexes``, ``mmsearch.sources`` and ``mmsearch.rerankers``.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mmsearch.errors import UsageError

SEAMS = ("encoders", "indexes", "sources", "rerankers")


@cache
def _found(seam: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"mmsearch.{seam}")}


def names(seam: str) -> list[str]:
    """The names registered for a seam, sorted. Imports nothing of them."""
    return sorted(_found(seam))


def load(seam: str, name: str) -> Any:
    """The class or factory registered under ``name``.

    Raises :class:`UsageError` naming the known ones. The first call imports the adapter's module, which may be slow.

    >>> load("encoders", "toy").__name__
    'ToyEncoder'
    """
    point = _found(seam).get(name)
    if point is None:
        known = ", ".join(names(seam)) or "none"
        raise UsageError(f"no {seam[:-1]} is called {name!r}", hint=f"known {seam}: {known}")
    return point.load()
