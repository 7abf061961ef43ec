"""Several runs in one table: means with intervals, and each run's difference from the first."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mmsearch.errors import MissingExtra, UsageError
from mmsearch.evaluation.cases import Case
from mmsearch.evaluation.measures import DEFAULT_MEASURES, measure
from mmsearch.evaluation.runs import Run
from mmsearch.evaluation.statistics import Interval, bootstrap, paired_difference, randomisation_test


@dataclass(frozen=True, slots=True)
class Score:
    """One measure of one run: its mean, the 95% interval, and against the first run the difference and its p-value.

    ``difference``, ``difference_low``, ``difference_high`` and ``p`` are ``None`` in the first run.
    """

    value: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One run: how many queries in how many clusters, milliseconds a query, and its scores by measure."""

    run: str
    queries: int
    clusters: int
    ms: float
    scores: Mapping[str, Score]


def compare(
    runs: Sequence[Run],
    cases: Sequence[Case],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    rounds: int = 1000,
    seed: int = 0,
) -> list[Row]:
    """A row for each run over the same cases; all but the first are tested against the first.

    Intervals and tests redraw the cases' clusters (:mod:`mmsearch.evaluation.statistics`). ``p`` is for one comparison:
    who makes twenty finds one below 0.05 by luck. Raises :class:`UsageError` where there is nothing to compare.
    """
    if not cases or not runs:
        raise UsageError("there is nothing to evaluate: no queries, or no run")
    clusters = [case.cluster for case in cases]
    values = [measure(found.ranked, cases, measures) for found in runs]
    rows = []
    for at, (found, own) in enumerate(zip(runs, values, strict=True)):
        scores = {}
        for name in measures:
            interval = bootstrap(own[name], clusters, rounds=rounds, seed=seed)
            if at == 0:
                scores[name] = Score(*interval)
                continue
            gap: Interval = paired_difference(values[0][name], own[name], clusters, rounds=rounds, seed=seed)
            p = randomisation_test(values[0][name], own[name], clusters, rounds=10 * rounds, seed=seed)
            scores[name] = Score(*interval, *gap, p)
        rows.append(Row(found.name, len(cases), len(set(clusters)), found.seconds * 1000 / len(cases), scores))
    return rows


def to_json(rows: Sequence[Row]) -> str:
    """One JSON array, versioned like hits."""
    return json.dumps([{"v": 1, **asdict(row)} for row in rows], ensure_ascii=False, indent=2)


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each run and measure."""
    out = io.StringIO()
    names = ("value", "low", "high", "difference", "difference_low", "difference_high", "p")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("run", "queries", "ms", "measure", *names))
    for row in rows:
        for name, score in row.scores.items():
            cells = (getattr(score, field) for field in names)
            writer.writerow((row.run, row.queries, f"{row.ms:.3f}", name, *("" if c is None else f"{c:.6f}" for c in cells)))
    return out.getvalue()


def plot(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Bars with their intervals, a group for each measure, as PNG, SVG or PDF by the path's suffix.

    Needs matplotlib: raises :class:`MissingExtra` without it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("a plot needs matplotlib", hint="pip install matplotlib") from None
    measures = list(rows[0].scores)
    figure = Figure(figsize=(1.5 + 1.2 * len(measures), 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.8 / len(rows)
    for at, row in enumerate(rows):
        values = np.array([row.scores[name].value for name in measures])
        ends = np.array([(row.scores[name].low, row.scores[name].high) for name in measures])
        errors = np.abs(ends - values[:, None]).T
        places = np.arange(len(measures)) + (at - (len(rows) - 1) / 2) * width
        axes.bar(places, values, width, yerr=errors, label=row.run, capsize=2)
    axes.set_xticks(range(len(measures)), measures, rotation=30, ha="right")
    axes.set_ylim(0, 1)
    axes.set_ylabel(f"mean of {rows[0].queries} queries, 95% interval")
    axes.legend()
    figure.savefig(path)
