"""What users asked for and what they then chose: ``clicks.jsonl``, one object a line.

::

    {"query": "red evening dress", "id": "sku-17"}
    {"image": "uploads/street.jpg", "ids": ["sku-4", "sku-9"]}

``query`` is a text, ``image`` a path (relative ones lie beside the file), ``id`` or ``ids`` the items that were right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import SourceError, UsageError
from mmsearch.types import Json

__all__ = ["Pair", "read_pairs"]

MAX_LINE = 1 << 20
_FORM = 'each line is {"query": "…", "id": "…"} or {"image": "path", "ids": ["…"]}'


@dataclass(frozen=True, slots=True)
class Pair:
    """One query (``kind`` is ``"text"`` or ``"image"``, ``value`` the words or the path) and the ids that answer it."""

    kind: str
    value: str
    ids: tuple[str, ...]


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file, those of one query put together, in the order of their first lines.

    Empty lines are passed over, keys that are not known too. Raises :class:`SourceError` for a file that cannot be read and
    :class:`UsageError` that names the first line which is no pair.
    """
    try:
        with path.open("rb") as file:
            found: dict[tuple[str, str], dict[str, None]] = {}
            for number, line in _lines(file.__iter__(), path):
                kind, value, ids = _pair(line, f"line {number} of {path.name}", path.parent)
                found.setdefault((kind, value), {}).update(dict.fromkeys(ids))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    if not found:
        raise UsageError(f"there are no pairs in {path}", hint=_FORM)
    return [Pair(kind, value, tuple(ids)) for (kind, value), ids in found.items()]


def _lines(lines: Iterator[bytes], path: Path) -> Iterator[tuple[int, Json]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if len(line) > MAX_LINE:
                raise ValueError("it is longer than 1 MiB")
            yield number, json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"line {number} of {path.name} is not JSON: {str(error)[:80]}", hint=_FORM) from error


def _pair(line: Json, where: str, folder: Path) -> tuple[str, str, list[str]]:
    if not isinstance(line, dict):
        raise UsageError(f"{where} is no object", hint=_FORM)
    asked = [key for key in ("query", "image") if line.get(key) is not None]
    if len(asked) != 1:
        raise UsageError(f"{where} has {'both a query and an image' if asked else 'neither a query nor an image'}", hint=_FORM)
    value = line[asked[0]]
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: its {asked[0]} is no text, or empty", hint=_FORM)
    given = [line[key] for key in ("id", "ids") if line.get(key) is not None]
    ids = given[0] if len(given) == 1 else None
    ids = [ids] if isinstance(ids, str) else ids
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) and one for one in ids):
        raise UsageError(f"{where} does not name its items: one of id (a text) and ids (a list of texts)", hint=_FORM)
    if asked[0] == "query":
        return "text", " ".join(value.split()), ids
    return "image", str(folder / Path(value).expanduser()), ids
