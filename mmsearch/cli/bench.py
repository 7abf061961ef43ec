"""``mmsearch bench``: how good and how fast searches of this collection are, and what else it could run on."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mmsearch.cli import _output
from mmsearch.cli._app import App, Command, pass_app
from mmsearch.cli._text import count

if TYPE_CHECKING:
    from mmsearch.indexes.audit import Audit


@click.command(cls=Command, short_help="Measure recall and speed of searches.")
@click.option("-k", "k", type=click.IntRange(1, 100), default=10, show_default=True, metavar="N", help="Recall among so many.")
@click.option("--kind", type=click.Choice(["image", "text"]), help="Only searches for images, or for texts.")
@click.option("--all", "every", is_flag=True, help="Build every kind of index too, and measure it. Takes minutes.")
@click.option("--recipe", "recipes", multiple=True, metavar="NAME", help="Build this index too (repeatable).")
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line.")
@pass_app
def command(app: App, *, k: int, kind: str | None, every: bool, recipes: tuple[str, ...], jsonl: bool) -> None:
    """Ask stored items and generic texts as queries; tell which share of the true nearest is found, and how soon.

    The truth is found by comparing every row. Times are of the index alone: no encoding, no files. A ● marks what nothing
    else beats in recall and speed at once; what searches run on now is marked "in use".
    """
    with app.open() as collection:
        found = collection.bench(k=k, kind=kind, recipes=recipes, every=every)
    if not found:
        app.say("too few items to ask questions with: at least 100 of a kind are needed")
    for name, lines in found.items():
        if jsonl:
            _output.dump_lines({"v": _output.VERSION, "kind": name, "best": one in best(lines), **asdict(one)} for one in lines)
        else:
            _show(app, name, lines, k)


def best(lines: list[Audit]) -> list[Audit]:
    """Those that no other beats both in the lower of its recalls and in queries a second."""

    def least(one: Audit) -> float:
        return min((each.value for each in one.recall.values()), default=0.0)

    return [
        one
        for one in lines
        if not any(
            other is not one
            and least(other) >= least(one)
            and other.speed.single >= one.speed.single
            and (least(other), other.speed.single) != (least(one), one.speed.single)
            for other in lines
        )
    ]


def _show(app: App, name: str, lines: list[Audit], k: int) -> None:
    from mmsearch.cli._table import plain

    kinds = list(lines[0].recall)
    asked = ", ".join(f"{count(lines[0].recall[kind].queries, kind)}" for kind in kinds)
    app.say(f"searches for {name}s, asked by {asked}; recall among {k} with its 95% interval")
    pareto = best(lines)
    columns = ["", "index", *(f"{kind} queries" for kind in kinds), "p50 ms", "p99 ms", "queries/s", "batches of 64", "bytes"]
    columns.append("setting")
    cells = []
    for one in lines:
        recalls = [f"{one.recall[kind].value:.3f} ± {one.recall[kind].margin:.3f}" for kind in kinds]
        speed = one.speed
        cells.append([
            "●" if one in pareto else "", one.name + (" (in use)" if one.current else ""), *recalls,
            f"{speed.p50:.2f}", f"{speed.p99:.2f}", f"{speed.single:,.0f}", f"{speed.batched:,.0f}",
            f"{one.bytes:,.0f}" if one.bytes else "0", one.setting or "every row",
        ])  # fmt: skip
    plain(columns, cells, right=columns[2:-1])
