"""Which paths a scan leaves out: ``.mmsearchignore`` files and exclude patterns, in the syntax of ``.gitignore``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from mmsearch.errors import UsageError

IGNORE_FILE = ".mmsearchignore"


class _Layer(NamedTuple):
    base: int  # how many characters of a path lie before this layer's folder
    spec: GitIgnoreSpec
    above: _Layer | None


Layer = _Layer | None
"""The patterns in force in a folder: a linked list, the strongest first. ``None``: nothing is ignored."""


def compile_patterns(patterns: Iterable[str], what: str) -> GitIgnoreSpec:
    """Patterns of the caller. Raises :class:`UsageError` that quotes a broken one."""
    try:
        return _compiled(patterns)
    except ValueError as error:
        raise UsageError(f"{what}: {error}", hint="patterns are written as in a .gitignore file") from error


def _compiled(patterns: Iterable[str]) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(patterns)
    except re.error as error:  # pathspec lets it through for a range such as [z-a]
        raise ValueError(f"not a pattern: {error}") from error


def layer_of(text: str, folder: str, above: Layer) -> Layer:
    """``above`` with the lines of an ignore file in ``folder`` (below the root, ``""`` for it) on top.

    Raises :class:`ValueError` for a line that is no pattern.
    """
    return _Layer(len(folder) + 1 if folder else 0, _compiled(text.splitlines()), above)


def is_ignored(path: str, layers: Layer) -> bool:
    """Whether the nearest ignore file that says anything of ``path`` leaves it out (``!`` brings back).

    ``path`` is below the root and ends in ``/`` for a folder. As in git, what lies in a folder that is left out
    cannot be brought back: the scan does not enter it. About 2 µs for each layer.
    """
    while layers is not None:
        verdict = layers.spec.check_file(path[layers.base :]).include
        if verdict is not None:
            return verdict
        layers = layers.above
    return False
