"""``mmsearch eval``: how well the collection answers queries whose answers are known."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _output
from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.errors import StorageError

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.evaluation import Case, Row, Run

_TASKS = ("text-image", "image-text", "image-image")


@click.command(cls=Command, short_help="Measure how well known answers are found.")
@click.argument("qrels", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--task", type=click.Choice(_TASKS), default="text-image", show_default=True,
              help="What is asked with, and what is to be found.")
@click.option("--queries", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="What the queries of TREC judgements ask: lines of ID<TAB>TEXT, or JSON lines.")
@click.option("--by", metavar="FIELD", help="No file: items of one group (or with one value of FIELD) must find each other.")
@click.option("--measure", "measures", multiple=True, metavar="NAME",
              help="recall@10, success@1, precision@5, f1@10, mrr, map, ndcg@10 (repeatable).")
@click.option("--depth", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Hits for each query.")
@click.option("--with", "settings", multiple=True, metavar="NAME:KEY=VALUE,…",
              help="Also measure these settings of a search, compared with the first (repeatable).")
@click.option("--against", multiple=True, metavar="FOLDER|RUN",
              help="Also measure another collection (another model), or a TREC run from a file (repeatable).")
@click.option("--labels", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="Zero-shot: classify pictures into these labels, one a line.")
@click.option("--truth", default="folder", show_default=True, metavar="FIELD",
              help="With --labels: the field that holds the right label, or folder for the file's folder.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--plot", metavar="FILE", help="Draw the table as bars: PNG, SVG or PDF.")
@click.option("--save-run", metavar="FILE", help="Write what was found as a TREC run.")
@pass_app
def command(app: App, /, *, qrels: str | None, form: str | None, **options: Any) -> int:
    """Measure how well the collection finds what is known to be right, with 95% intervals.

    QRELS is a TREC file of judgements, a CSV with the head query,id[,grade], or captions of pictures (Flickr, COCO, CSV with
    the head image,caption, JSON lines). Each further setting or collection is tested against the first, pair by pair.

    \b
      mmsearch eval captions.txt
      mmsearch eval captions.txt --task image-text --measure success@1 --measure success@10
      mmsearch eval queries.csv --with "groups:group_by=group" --json
      mmsearch eval captions.txt --against ../collection-of-a-larger-model
      mmsearch eval --by group --task image-image
      mmsearch eval --labels labels.txt --truth folder
    """
    if options["labels"]:
        if qrels or options["by"]:
            raise click.UsageError("--labels classifies pictures: it takes neither QRELS nor --by")
        return _classify(app, options["labels"], options["truth"], form)
    if (qrels is None) == (options["by"] is None):
        raise click.UsageError("give a file of judgements or captions, or --by FIELD, or --labels FILE")
    from mmsearch import evaluation

    measures = options["measures"] or evaluation.DEFAULT_MEASURES
    evaluation.measure({}, [], measures)  # a misspelt one is found before minutes of searching
    settings = [("default", {}), *map(_setting, options["settings"])]
    given = evaluation.read(qrels, queries=options["queries"]) if qrels else None
    with app.open() as collection:
        def make(of: Collection) -> list[Case]:
            if given is None:
                return evaluation.cases_by_group(of, options["by"], kind=evaluation.TASKS[options["task"]][1])
            return evaluation.cases(given, of, task=options["task"])

        cases = make(collection)
        runs = [_run(app, collection, cases, name, options["depth"], chosen) for name, chosen in settings]
    runs += [_other(app, where, make, options["depth"]) for where in options["against"]]
    rows = evaluation.compare(runs, cases, measures)
    if options["save_run"]:
        _written(options["save_run"], lambda: evaluation.write_run(runs[0], options["save_run"]))
    if options["plot"]:
        _written(options["plot"], lambda: evaluation.plot(rows, options["plot"]))
    _show(rows, form)
    return OK


def _setting(spec: str) -> tuple[str, dict[str, Any]]:
    """``cheap:where=price < 5,k=3`` → name and keyword arguments; values are JSON where they read as it."""
    name, found, rest = spec.partition(":")
    values: dict[str, Any] = {}
    for pair in rest.split(","):
        key, equals, value = pair.partition("=")
        if not found or not equals or not key.strip().isidentifier():
            raise click.UsageError(f"--with takes NAME:KEY=VALUE,…, not {spec!r}")
        try:
            values[key.strip()] = json.loads(value)
        except ValueError:
            values[key.strip()] = value
    return name, values


def _run(app: App, collection: Collection, cases: Sequence[Case], name: str, depth: int, settings: dict[str, Any]) -> Run:
    from mmsearch import evaluation

    if app.quiet or not sys.stderr.isatty():
        return evaluation.run(collection, cases, name=name, depth=depth, **settings)
    from rich.progress import Progress

    with Progress(console=app.err, transient=True) as bar:
        task = bar.add_task(name, total=len(cases))
        return evaluation.run(collection, cases, name=name, depth=depth,
                              tick=lambda done: bar.update(task, completed=done), **settings)


def _other(app: App, where: str, make: Callable[[Collection], list[Case]], depth: int) -> Run:
    """A run from a file, or of another collection, whose items have the same ids."""
    from mmsearch import evaluation
    from mmsearch.collection import Collection

    if os.path.isfile(where):
        return evaluation.read_run(where)
    with Collection.open(where, device=app.settings.device) as other:
        name = f"{os.path.basename(os.path.abspath(where))} ({other.info.model})"
        return _run(app, other, make(other), name, depth, {})


def _show(rows: Sequence[Row], form: str | None) -> None:
    from mmsearch import evaluation

    if form == "json":
        _output.write(evaluation.to_json(rows) + "\n")
    elif form == "csv":
        _output.write(evaluation.to_csv(rows))
    else:
        from mmsearch.cli._table import plain

        table = []
        for row in rows:
            for at, (name, score) in enumerate(row.scores.items()):
                gap = "" if score.difference is None else f"{score.difference:+.3f}  (p {score.p:.3f})"
                cells = [row.run, str(row.queries), f"{row.ms:.1f}"] if at == 0 else ["", "", ""]
                table.append([*cells, name, f"{score.value:.3f}", f"{score.low:.3f}–{score.high:.3f}", gap])
        names = ["run", "queries", "ms", "measure", "mean", "95% interval", "against the first"]
        if len(rows) == 1:
            names, table = names[:-1], [line[:-1] for line in table]
        plain(names, table, right=("queries", "ms", "mean"))


def _classify(app: App, labels: str, truth: str, form: str | None) -> int:
    from mmsearch import evaluation

    with open(labels, encoding="utf-8") as lines:
        names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    with app.open() as collection:
        found = evaluation.zero_shot(collection, names, evaluation.labels_of(collection, truth))
    rows = [("top-1", len(found.guesses), *found.top1), ("top-5", len(found.guesses), *found.top5)]
    if form == "json":
        _output.dump({"v": _output.VERSION, "pictures": len(found.guesses), "top1": found.top1, "top5": found.top5,
                      "by_label": found.by_label})
    elif form == "csv":
        _output.write("".join(f"{line}\n" for line in ("measure,pictures,value,low,high",
                                                      *(",".join(map(str, row)) for row in rows))))
    else:
        from mmsearch.cli._table import plain

        cells = [[name, str(n), f"{value:.3f}", f"{low:.3f}–{high:.3f}"] for name, n, value, low, high in rows]
        plain(["accuracy", "pictures", "mean", "95% interval"], cells, right=("pictures", "mean"))
    return OK


def _written(path: str, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
