"""Which root a source belongs to, and what the ids of its items begin with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from mmsearch.errors import UsageError
from mmsearch.protocols import Source
from mmsearch.sources import FileList, Folder

RULES = "roots"
"""Name of the stored value that holds :class:`RootRules`."""


@dataclass(frozen=True, slots=True)
class RootRules:
    """What is kept about roots beside their names and paths.

    ``bare`` is the root whose items have bare paths as ids; ``own`` are roots whose source brings ids of its own.
    """

    bare: str | None = None
    own: frozenset[str] = frozenset()

    @classmethod
    def load(cls, stored: str | None) -> RootRules:
        """From the stored value; there is none before the first root."""
        if stored is None:
            return cls()
        value = json.loads(stored)
        return cls(value["bare"], frozenset(value["own"]))

    def dump(self) -> str:
        """As it is stored."""
        return json.dumps({"bare": self.bare, "own": sorted(self.own)})


class Place(NamedTuple):
    """Where a source's items go: ``source`` may be narrowed to a part of a root that is known already.

    ``rules`` are those that hold once this root is recorded.
    """

    name: str
    prefix: str
    source: Source
    rules: RootRules


def find_root(roots: Mapping[str, str], rules: RootRules, source: Source) -> Place:
    """The root that ``source`` reads from, among those known (name → path), or a new one.

    The ids of the first folder's items are bare paths; those of later ones begin with the root's name, so that two
    folders may both hold ``1.jpg``. Sources that bring ids of their own (manifests) keep them, and have a root to
    themselves. A folder below a known one is a part of it; a folder above one is refused, since every item would be
    there twice.
    """
    if getattr(source, "own_ids", False):
        return _own_root(roots, rules, source)
    folders = {path: name for name, path in roots.items() if name not in rules.own}
    if source.root in folders:
        return _folder_root(folders[source.root], rules, source)
    if isinstance(source, Folder | FileList):
        for path, name in folders.items():
            if _below(source.root, path):
                return _folder_root(name, rules, source.rooted(path))
            if isinstance(source, Folder) and _below(path, source.path):
                raise UsageError(
                    f"{source.path} holds {path}, which is indexed already as the root {name!r}",
                    hint=f"forget that root first: mmsearch root remove {name}",
                )
    name = _free_name(os.path.basename(source.root.rstrip(os.sep)) or "root", roots)
    return _folder_root(name, rules if folders else replace(rules, bare=name), source)


def _own_root(roots: Mapping[str, str], rules: RootRules, source: Source) -> Place:
    wanted = str(getattr(source, "name", "")) or "items"
    mine = re.compile(re.escape(wanted) + r"(-\d+)?")
    for name in sorted(rules.own & roots.keys()):
        if roots[name] == source.root and mine.fullmatch(name):
            return Place(name, "", source, rules)
    name = _free_name(wanted, roots)
    return Place(name, "", source, replace(rules, own=rules.own | {name}))


def _folder_root(name: str, rules: RootRules, source: Source) -> Place:
    return Place(name, "" if name == rules.bare else f"{name}/", source, rules)


def _below(path: str, root: str) -> bool:
    return path.startswith(root.rstrip(os.sep) + os.sep)


def _free_name(wanted: str, roots: Mapping[str, str]) -> str:
    name, n = wanted, 1
    while name in roots:
        n += 1
        name = f"{wanted}-{n}"
    return name
