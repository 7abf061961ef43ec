"""What a collection answered to all queries of an evaluation, and the TREC file that keeps it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.errors import SourceError, UsageError
from mmsearch.evaluation.cases import Case

if TYPE_CHECKING:
    from mmsearch.collection import Collection

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class Run:
    """The ids found for each case's id, best first. ``seconds`` is the time of all queries together."""

    name: str
    ranked: Mapping[str, tuple[str, ...]]
    seconds: float = 0.0


def run(
    collection: Collection,
    cases: Sequence[Case],
    *,
    name: str = "default",
    depth: int = 100,
    tick: Callable[[int], None] | None = None,
    **settings: Any,
) -> Run:
    """Ask every case of the collection, ``depth`` hits deep; ``settings`` go to :meth:`Collection.search` as they are.

    A query that is one stored item is asked by :meth:`Collection.similar`, so that the item does not find itself.
    ``tick`` is called with the number of queries done. Raises what a search raises; a setting that searches do not know
    is a :class:`UsageError`.
    """
    ranked: dict[str, tuple[str, ...]] = {}
    began = time.perf_counter()
    for done, case in enumerate(cases, 1):
        first = case.query.terms[0]
        try:
            if len(case.query.terms) == 1 and first.what == "item":
                hits = collection.similar(first.value, kind=case.kind, k=depth, **settings)
            else:
                hits = collection.search(case.query, kind=case.kind, k=depth, **settings)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            raise UsageError(f"a search has no such setting: {error}", hint="as in  group_by=group") from error
        ranked[case.id] = tuple(hits.ids)
        if tick is not None:
            tick(done)
    return Run(name, ranked, time.perf_counter() - began)


def write_run(found: Run, path: str | os.PathLike[str]) -> None:
    """A TREC run: ``query Q0 id rank score name`` a line, with tabs between, so that ids may hold blanks.

    Tabs and line ends inside an id are written as ``\\t``, ``\\n``, ``\\r``, and a backslash as two.
    """
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as out:
        for query, ids in found.ranked.items():
            for rank, id in enumerate(ids, 1):
                out.write(f"{_escaped(query)}\tQ0\t{_escaped(id)}\t{rank}\t{1 / rank:.6f}\t{found.name}\n")


def read_run(path: str | os.PathLike[str]) -> Run:
    """A TREC run, fields parted by tabs or blanks, ordered by rank. Raises :class:`SourceError` naming the line."""
    rows: dict[str, list[tuple[int, str]]] = {}
    name = Path(path).stem
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise SourceError(f"the run {path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip():
            continue
        if len(fields) != 6 or not fields[3].isdigit():
            raise SourceError(f"{path}, line {number}: a run has six fields: query Q0 id rank score name")
        rows.setdefault(_plain(fields[0]), []).append((int(fields[3]), _plain(fields[2])))
        name = fields[5].rstrip("\r")
    return Run(name, {query: tuple(id for _, id in sorted(found)) for query, found in rows.items()})


def _escaped(id: str) -> str:
    return re.sub(r"[\\\t\n\r]", lambda found: _ESCAPES[found[0]], id)


def _plain(field: str) -> str:
    back = {written: meant for meant, written in _ESCAPES.items()}
    return re.sub(r"\\[\\tnr]", lambda found: back[found[0]], field)
