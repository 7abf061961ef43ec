"""``mmsearch cluster``: the pictures sorted into heaps of similar ones, with names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _output
from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.cli._text import count, local

if TYPE_CHECKING:
    from mmsearch.clusters import Clustering
    from mmsearch.collection import Collection


@click.command(cls=Command, short_help="Sort the pictures into clusters with names.")
@click.option("-k", "k", type=click.IntRange(1), metavar="N", help="How many clusters (default: as many as separate best).")
@click.option("--labels", "file", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="The labels to name them by, one a line (default: everyday words).")
@click.option("--where", metavar="CONDITION", help="Only pictures for which this holds.")
@click.option("--samples", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Pictures shown of each.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other clusters.")
@click.option("--html", metavar="FILE", help="Write the clusters as a web page with pictures (- for stdout).")
@_output.formats("json", "jsonl")
@pass_app
def command(app: App, /, *, k: int | None, file: str | None, where: str | None, samples: int, seed: int, html: str | None,
            form: str | None) -> int:
    """Sort the pictures into clusters of similar ones, each named by the words that fit it better than the rest.

    \b
      mmsearch cluster -k 12
      mmsearch cluster --html clusters.html --samples 8
    """
    labels = None
    if file is not None:
        with open(file, encoding="utf-8") as lines:
            labels = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    with app.open() as collection:
        found = collection.cluster(k, labels=labels, where=where, seed=seed)
        if html:
            _page(app, collection, found, html, samples)
        elif form:
            _programs(found, form)
        else:
            _people(app, collection, found, samples)
    return OK


def _programs(found: Clustering, form: str) -> None:
    rows = [{"name": one.name, "size": len(one), "labels": [{"label": label, "lift": lift} for label, lift in one.labels],
             "ids": list(one.ids)} for one in found.clusters]
    if form == "json":
        _output.dump({"v": _output.VERSION, "separation": round(found.separation, 4), "clusters": rows})
    else:
        _output.dump_lines({"v": _output.VERSION, **row} for row in rows)


def _people(app: App, collection: Collection, found: Clustering, samples: int) -> None:
    from mmsearch.cli._table import plain

    rows = [[one.name or "?", str(len(one)), ", ".join(label for label, _ in one.labels),
             ", ".join(_shown(collection, id) for id in one.ids[:samples])] for one in found.clusters]
    plain(["cluster", "pictures", "labels", "for instance"], rows, right=("pictures",))
    app.say(f"{count(len(found.clusters), 'cluster')} of {count(sum(map(len, found.clusters)), 'picture')}, "
            f"separation {found.separation:.2f}")


def _shown(collection: Collection, id: str) -> str:
    path = collection.locate(collection.get(id))
    return local(path) if path else id


def _page(app: App, collection: Collection, found: Clustering, target: str, samples: int) -> None:
    from mmsearch.cli import _html
    from mmsearch.types import Hit

    sections: list[tuple[str, str, list[Any]]] = []
    for one in found.clusters:
        hits = []
        for rank, id in enumerate(one.ids[:samples], 1):
            record = collection.get(id)
            hits.append(Hit(rank, id, record.kind, 0.0, record.vid, path=collection.locate(record), meta=record.meta))
        words = ", ".join(f"{label} {lift:.1f}" for label, lift in one.labels)
        sections.append((one.name or "?", f"{count(len(one), 'picture')} · {words}", hits))
    facts = f"{count(len(found.clusters), 'cluster')} of {count(sum(map(len, found.clusters)), 'picture')}"
    page = _html.sections(collection, "clusters", facts, sections)
    if _output.write_page(page, target):
        app.say(f"{facts} on the page {target}")
