"""Files that say what should be found: TREC qrels, CSV of (query, relevant id), and captions of pictures.

=========================== =========================================================================================
file                        a line, or the shape
=========================== =========================================================================================
TREC qrels                  ``query 0 id grade``; what a query asks stands in a second file, or ``query`` is a stored item
CSV, TSV (by its head)      ``query,id[,grade]``; the first column is called ``query`` (text), ``image`` (a file) or ``item``
captions: Flickr            ``photo.jpg#0<TAB>a caption``
captions: CSV, TSV          columns ``image,caption``
captions: JSON lines        ``{"image": "photo.jpg", "captions": ["…"]}``
captions: COCO JSON         ``{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}``
=========================== =========================================================================================
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from mmsearch.errors import SourceError
from mmsearch.types import Query, image, item, text

_FLICKR = re.compile(r"([^\t]+?)#\d+\t(.*)")


@dataclass(frozen=True, slots=True)
class Captions:
    """Pictures by name, each with its captions."""

    of: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Judgements:
    """What each query asks (by the query's id), and the grade of each item that answers it (0: it does not)."""

    queries: Mapping[str, Query]
    relevant: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def read(path: str | os.PathLike[str], *, queries: str | os.PathLike[str] | None = None) -> Captions | Judgements:
    """Read a file of judgements or captions; its kind is told by its suffix and its first line.

    ``queries`` says what the queries of a TREC file ask: lines of ``id<TAB>text``, or JSON lines with ``id`` and one of
    ``text``, ``image``, ``item``. Raises :class:`SourceError` that names the line. Reads the whole file.
    """
    where = Path(path)
    content = _content(where)
    suffix = where.suffix.lower()
    if suffix == ".json":
        return _coco(content, where)
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(content, where)
    if suffix in (".csv", ".tsv"):
        return _table(content, where, "\t" if suffix == ".tsv" else ",")
    first = next((line for line in content.splitlines() if line.strip()), "")
    if _FLICKR.fullmatch(first):
        return _flickr(content, where)
    return _trec(content, where, None if queries is None else _asked(Path(queries)))


# --- judgements -------------------------------------------------------------------------------------------------


def _trec(content: str, where: Path, asked: Mapping[str, Query] | None) -> Judgements:
    relevant: dict[str, dict[str, int]] = {}
    for number, line in _lines(content):
        fields = line.split("\t") if line.count("\t") == 3 else line.split()
        if len(fields) != 4:
            _bad(where, number, "qrels have four fields: query 0 id grade")
        relevant.setdefault(fields[0], {})[fields[2]] = _grade(fields[3], where, number)
    if asked is None:
        return Judgements({name: item(name) for name in relevant}, relevant)
    missing = [name for name in relevant if name not in asked]
    if missing:
        raise SourceError(f"no query {missing[0]!r} stands in the file of queries, but {where} judges it")
    return Judgements({name: asked[name] for name in relevant}, relevant)


def _asked(where: Path) -> dict[str, Query]:
    """Query ids and what they ask."""
    asked: dict[str, Query] = {}
    for number, line in _lines(_content(where)):
        if where.suffix.lower() in (".jsonl", ".ndjson"):
            entry = _object(line, where, number)
            what = next((key for key in ("text", "image", "item") if isinstance(entry.get(key), str)), None)
            if what is None or "id" not in entry:
                _bad(where, number, "a query needs an id, and one of text, image, item")
            asked[str(entry["id"])] = _query(what, entry[what], where, number)
            continue
        name, found, words = line.partition("\t")
        if not found:
            _bad(where, number, "a query is its id, a tab, and its text")
        asked[name] = _query("text", words, where, number)
    return asked


def _query(what: str, value: str, where: Path, number: int) -> Query:
    if not value.strip():
        _bad(where, number, "the query is empty")
    if what == "image":
        return image(os.path.join(where.parent, os.path.expanduser(value)))
    return item(value) if what == "item" else text(value)


def _table(content: str, where: Path, delimiter: str) -> Captions | Judgements:
    rows = list(csv.reader(content.splitlines(), delimiter=delimiter))
    head = [name.strip().lower() for name in rows[0]] if rows else []
    if head[:2] == ["image", "caption"]:
        return _captions([(n, row[0], row[1]) for n, row in enumerate(rows[1:], 2) if len(row) > 1], where)
    if len(head) < 2 or head[0] not in ("query", "text", "image", "item"):
        _bad(where, 1, "the head must be query,id[,grade] (or image,… or item,…), or image,caption")
    what = "text" if head[0] == "query" else head[0]
    queries: dict[str, Query] = {}
    relevant: dict[str, dict[str, int]] = {}
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) < 2:
            _bad(where, number, "a query and the id of an item are needed")
        queries.setdefault(row[0], _query(what, row[0], where, number))
        relevant.setdefault(row[0], {})[row[1]] = _grade(row[2], where, number) if len(row) > 2 else 1
    if not queries:
        _bad(where, 2, "there are no queries below the head")
    return Judgements(queries, relevant)


# --- captions ---------------------------------------------------------------------------------------------------


def _flickr(content: str, where: Path) -> Captions:
    found = []
    for number, line in _lines(content):
        match = _FLICKR.fullmatch(line)
        if match is None:
            _bad(where, number, "a caption is photo.jpg#number, a tab, and its text")
        found.append((number, match[1], match[2]))
    return _captions(found, where)


def _json_lines(content: str, where: Path) -> Captions:
    found = []
    for number, line in _lines(content):
        entry = _object(line, where, number)
        texts = entry.get("captions", entry.get("caption"))
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(entry.get("image"), str) or not isinstance(texts, list):
            _bad(where, number, 'a line is {"image": "photo.jpg", "captions": ["…"]}')
        found += [(number, entry["image"], str(caption)) for caption in texts]
    return _captions(found, where)


def _coco(content: str, where: Path) -> Captions:
    try:
        whole = json.loads(content)
        names = {entry["id"]: entry["file_name"] for entry in whole["images"]}
        found = [(1, names[entry["image_id"]], entry["caption"]) for entry in whole["annotations"]]
    except (ValueError, TypeError, KeyError) as error:
        raise SourceError(f"{where} is no COCO caption file: {error!r}") from error
    return _captions(found, where)


def _captions(found: list[tuple[int, str, str]], where: Path) -> Captions:
    of: dict[str, list[str]] = {}
    for _, name, caption in found:
        if caption.strip() and caption.strip() not in of.setdefault(name, []):
            of[name].append(caption.strip())
    if not any(of.values()):
        raise SourceError(f"{where} holds no captions")
    return Captions({name: tuple(captions) for name, captions in of.items() if captions})


# --- lines ------------------------------------------------------------------------------------------------------


def _content(where: Path) -> str:
    try:
        return where.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise SourceError(f"{where} cannot be read: {error.strerror}") from error


def _lines(content: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers; a caption may hold any line end of Unicode but ``\\n``."""
    return ((number, line.rstrip("\r")) for number, line in enumerate(content.split("\n"), 1) if line.strip())


def _object(line: str, where: Path, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        _bad(where, number, f"it is not JSON: {error}")
    if not isinstance(entry, dict):
        _bad(where, number, "it is no JSON object")
    return entry


def _grade(value: str, where: Path, number: int) -> int:
    try:
        return int(value)
    except ValueError:
        _bad(where, number, f"the grade {value!r} is no whole number")


def _bad(where: Path, number: int, why: str) -> NoReturn:
    raise SourceError(f"{where}, line {number}: {why}")
