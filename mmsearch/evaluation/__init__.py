"""Judging a collection's answers: readers of judgements, runs, measures with intervals, tests between two runs.

::

    from mmsearch import Collection, evaluation

    with Collection.open("./shop") as shop:
        cases = evaluation.cases(evaluation.read("qrels.csv"), shop, task="text-image")
        runs = [evaluation.run(shop, cases, name="plain"), evaluation.run(shop, cases, name="cheap", where="price < 50")]
        for row in evaluation.compare(runs, cases):
            row.run, row.scores["recall@1"].value, row.scores["recall@1"].p

A collection is asked through its public methods alone, as any program would ask it.
"""

from mmsearch.evaluation.calibration import calibration_error, roc_auc
from mmsearch.evaluation.cases import TASKS, Case, cases, cases_by_group
from mmsearch.evaluation.fields import FieldWeights, learn_fields
from mmsearch.evaluation.measures import DEFAULT_MEASURES, measure
from mmsearch.evaluation.readers import Captions, Judgements, read
from mmsearch.evaluation.report import Row, Score, compare, plot, to_csv, to_json
from mmsearch.evaluation.runs import Run, read_run, run, write_run
from mmsearch.evaluation.statistics import Interval, bootstrap, paired_difference, randomisation_test
from mmsearch.evaluation.zero_shot import TEMPLATES, labels_of, prompt, zero_shot

__all__ = [
    "DEFAULT_MEASURES",
    "TASKS",
    "TEMPLATES",
    "Captions",
    "Case",
    "FieldWeights",
    "Interval",
    "Judgements",
    "Row",
    "Run",
    "Score",
    "bootstrap",
    "calibration_error",
    "cases",
    "cases_by_group",
    "compare",
    "labels_of",
    "learn_fields",
    "measure",
    "paired_difference",
    "plot",
    "prompt",
    "randomisation_test",
    "read",
    "read_run",
    "roc_auc",
    "run",
    "to_csv",
    "to_json",
    "write_run",
    "zero_shot",
]
