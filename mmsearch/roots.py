"""Which root a source belongs to, and what the ids of its items begin with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from mmsearch.errors import UsageError
from mmsearch.protocols import Source
from mmsearch.sources import FileList, Folder


class Place(NamedTuple):
    """Where a source's items go: ``source`` may be narrowed to a part of a root that is known already."""

    name: str
    prefix: str
    source: Source


def find_root(roots: Mapping[str, str], bare: str | None, source: Source) -> Place:
    """The root that ``source`` reads from, among those known (name → path), or a new one.

    The ids of the first root's items are bare paths (``bare`` is its name); those of later ones begin with the root's
    name, so that two folders may both hold ``1.jpg``. Sources that bring ids of their own (manifests) keep them. A folder below a known
    root is a part of that root; a folder above one is refused, since every item would be there twice.
    """
    by_path = {path: name for name, path in roots.items()}
    if source.root in by_path:
        return _place(by_path[source.root], bare, source)
    if isinstance(source, Folder | FileList):
        for path, name in by_path.items():
            if _below(source.root, path):
                return _place(name, bare, source.rooted(path))
            if isinstance(source, Folder) and _below(path, source.path):
                raise UsageError(
                    f"{source.path} holds {path}, which is indexed already as the root {name!r}",
                    hint=f"forget that root first: mmsearch root remove {name}",
                )
    name = _new_name(source.root, roots)
    return _place(name, bare if roots else name, source)


def _place(name: str, bare: str | None, source: Source) -> Place:
    own_ids = getattr(source, "own_ids", False)
    return Place(name, "" if own_ids or name == bare else f"{name}/", source)


def _below(path: str, root: str) -> bool:
    return path.startswith(root.rstrip(os.sep) + os.sep)


def _new_name(path: str, roots: Mapping[str, str]) -> str:
    base = os.path.basename(path.rstrip(os.sep)) or "root"
    name, n = base, 1
    while name in roots:
        n += 1
        name = f"{base}-{n}"
    return name
