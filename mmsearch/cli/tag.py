"""``mmsearch tag``: which of some labels fit which pictures."""

from __future__ import annotations

from typing import Literal

import click

from mmsearch.cli import _output
from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.cli._text import count


@click.command(cls=Command, short_help="Say which labels fit which pictures.")
@click.option("--labels", "file", required=True, type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="The labels, one a line.")
@click.option("--min-relevance", type=click.FloatRange(0, 1), metavar="F",
              help="How sure a label must be, from 0 to 1 (default: where the model's calibration puts it).")
@click.option("-k", "--top", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Labels for a picture.")
@click.option("--where", metavar="CONDITION", help="Only pictures for which this holds.")
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line.")
@pass_app
def command(app: App, /, *, file: str, min_relevance: float | None, top: int, where: str | None, jsonl: bool) -> int:
    """Say which of some labels fit which pictures, without any training: each label is asked as a query in several wordings.

    \b
      printf 'cat\\ndog\\nbeach\\n' > labels.txt
      mmsearch tag --labels labels.txt
    """
    from mmsearch.evaluation import prompt

    with open(file, encoding="utf-8") as lines:
        labels = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    cut: float | Literal["auto"] = "auto" if min_relevance is None else min_relevance
    found: dict[str, list[tuple[float, str]]] = {}
    paths: dict[str, str] = {}
    with app.open() as collection:
        for label in labels:
            hits = collection.search(prompt(label), kind="image", k=max(1, len(collection)), where=where, cutoff=cut)
            for hit in hits:
                paths[hit.id] = hit.path or hit.id
                found.setdefault(hit.id, []).append((-(hit.relevance or 0.0), label))
    best = {id: sorted(labels)[:top] for id, labels in sorted(found.items())}
    if jsonl:
        _output.dump_lines({"v": _output.VERSION, "id": id, "path": paths[id],
                            "labels": [{"label": label, "relevance": -minus} for minus, label in labels]}
                           for id, labels in best.items())
        return OK
    from mmsearch.cli._table import plain
    from mmsearch.cli._text import local

    if best:
        plain(["path", "labels"], [[local(paths[id]), ", ".join(f"{label} {-minus:.2f}" for minus, label in labels)]
                                   for id, labels in best.items()], path="path")
    app.say(f"{count(len(best), 'picture')} with labels")
    return OK
