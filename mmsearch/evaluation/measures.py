"""Measures of ranked lists, by name: ``recall@10``, ``success@1``, ``precision@5``, ``f1@10``, ``mrr``, ``map``, ``ndcg@10``.

========== =====================================================================================================
measure    of one query, with R relevant items of which r are among the first k
========== =====================================================================================================
recall     r / R
success    1 if r > 0, else 0: what papers on image-text retrieval call R@k where a picture has several captions
precision  r / k
f1         2 · precision · recall / (precision + recall)
mrr        1 / rank of the first relevant item
map        the mean, over the R relevant items, of the precision at each one's rank (0 where it was not found)
ndcg       Σ gain / log2(rank + 1), over the same sum of the best order; a gain is the judgement's grade
========== =====================================================================================================

``mrr`` and ``map`` look as deep as the run goes unless a ``@k`` is given. All but f1, which follows from two others, are
computed by the ir-measures library (MacAvaney, Macdonald, Ounis, ECIR 2022) with trec_eval's code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.evaluation.cases import Case

DEFAULT_MEASURES = ("recall@1", "recall@5", "recall@10", "precision@10", "f1@10", "mrr", "map", "ndcg@10")
_NAMES = {"recall": "R", "success": "Success", "precision": "P", "f1": "", "mrr": "RR", "map": "AP", "ndcg": "nDCG"}
_NEED_CUT = {"recall", "success", "precision", "f1"}


class _Measure(NamedTuple):
    what: str
    cut: int | None

    def named(self, what: str) -> str:
        return _NAMES[what] + ("" if self.cut is None else f"@{self.cut}")


def parse(name: str) -> _Measure:
    """``"recall@10"`` → what and how deep. Raises :class:`UsageError` naming the known ones."""
    found = re.fullmatch(r"([a-z0-9]+?)(?:@([1-9]\d*))?", name.strip().lower())
    if found is None or found[1] not in _NAMES:
        raise UsageError(f"there is no measure {name!r}", hint=f"known: {', '.join(sorted(_NAMES))}, as in recall@10")
    if found[1] in _NEED_CUT and found[2] is None:
        raise UsageError(f"{name} needs to know how deep to look", hint=f"as in {found[1]}@10")
    return _Measure(found[1], int(found[2]) if found[2] else None)


def measure(
    ranked: Mapping[str, Sequence[str]], cases: Sequence[Case], names: Sequence[str] = DEFAULT_MEASURES
) -> dict[str, NDArray[np.float64]]:
    """Each measure of each query: name → ``(len(cases),)`` in the order of ``cases``.

    ``ranked`` are the ids found by each case's id, best first; a case that is not in it found nothing. About 10 µs a
    query and measure.
    """
    import ir_measures

    wanted = {name: parse(name) for name in names}
    parts = {part for m in wanted.values() for part in ((m.named("precision"), m.named("recall")) if m.what == "f1"
                                                        else (m.named(m.what),))}
    objects: dict[str, Any] = {part: ir_measures.parse_measure(part) for part in sorted(parts)}
    # any string may be an id here, but trec_eval's code takes C strings: queries and items are handed over as numbers
    items: dict[str, str] = {}
    qrels, run = {}, {}
    for at, case in enumerate(cases):
        qrels[str(at)] = {items.setdefault(id, str(len(items))): int(grade) for id, grade in case.relevant.items()}
        found = ranked.get(case.id, ())
        run[str(at)] = {items.setdefault(id, str(len(items))): -float(rank) for rank, id in enumerate(found)}
    table = {part: np.zeros(len(cases)) for part in parts}
    places = {str(objects[part]): part for part in parts}
    for metric in ir_measures.iter_calc(list(objects.values()), qrels, run):
        table[places[str(metric.measure)]][int(metric.query_id)] = metric.value
    return {name: _value(m, table) for name, m in wanted.items()}


def _value(m: _Measure, table: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    if m.what != "f1":
        return table[m.named(m.what)]
    precision, recall = table[m.named("precision")], table[m.named("recall")]
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)

