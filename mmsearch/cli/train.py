"""``mmsearch train``: make a collection's answers better with what its users chose."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _output
from mmsearch.cli._app import FAILED, OK, App, Command, Commands, pass_app
from mmsearch.cli._text import count
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.adapter import Adapter
    from mmsearch.collection import Collection
    from mmsearch.training.adapter import Learned
    from mmsearch.training.adapter_pairs import Pair

_OTHERS = 4096


@click.group(cls=Commands, short_help="Learn from what users chose.")
def command() -> None:
    """Make a collection's answers better with what its users chose."""


@command.command(cls=Command, short_help="Learn a light change of the queries from clicks.")
@click.option("--pairs", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help='JSON lines: {"query": "red dress", "id": "sku-1"} or {"image": "a.jpg", "ids": ["sku-2"]}.')
@click.option("--apply", "apply_", is_flag=True, help="Switch it on without asking, if it is better.")
@click.option("--off", is_flag=True, help="Switch off the adapter that is on; it stays kept.")
@click.option("--on", is_flag=True, help="Switch the one that is kept on again.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="How the pairs are parted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def adapter(app: App, *, pairs: Path | None, apply_: bool, off: bool, on: bool, seed: int, as_json: bool) -> int:
    """Learn a light change of the queries from pairs of a query and the items that were right.

    The model and the stored vectors stay as they are. A fifth of the queries is held out: recall before and after is measured
    on them, and the adapter is offered only where it is better by more than luck.

    \b
      mmsearch train adapter --pairs clicks.jsonl
      mmsearch train adapter --pairs clicks.jsonl --apply
      mmsearch train adapter --off
    """
    if sum([pairs is not None, off, on]) != 1:
        raise click.UsageError("give one of --pairs FILE, --off and --on")
    with app.open() as collection:
        if pairs is None:
            _switch(app, collection, on)
            return OK
        found, learned = _learned(app, collection, pairs, seed)
        better = [one for one in learned if one.verdict.better]
        switched = bool(better) and (apply_ or (not as_json and _agreed(found, learned)))
        if switched:
            collection.set_adapter(found)
    if as_json:
        _output.dump({"v": _output.VERSION, "adapter": found.fingerprint, "applied": switched,
                      "kinds": [{"kind": one.kind, "steps": one.fit.steps, "apart": one.apart, "better": one.verdict.better,
                                 **asdict(one.verdict)} for one in learned]})
    else:
        if not switched and (apply_ or not better):
            _show(learned)
        app.say(_outcome(switched, bool(better)))
    return FAILED if apply_ and not switched else OK


def _switch(app: App, collection: Collection, on: bool) -> None:
    if on:
        kept = collection.last_adapter()
        if kept is None:
            raise UsageError("no adapter is kept here", hint="learn one: mmsearch train adapter --pairs FILE")
        collection.set_adapter(kept)
        app.say(f"adapter {kept.fingerprint[:12]} is on")
    elif collection.adapter() is None:
        app.say("no adapter is on")
    else:
        collection.set_adapter(None)
        app.say("the adapter is off; mmsearch train adapter --on brings it back")


def _learned(app: App, collection: Collection, file: Path, seed: int) -> tuple[Adapter, list[Learned]]:
    from mmsearch.adapter import Adapter
    from mmsearch.training.adapter import LEAST
    from mmsearch.training.adapter_pairs import read_pairs

    pairs = read_pairs(file)
    kind, rows = _rows(collection, pairs)
    usable = _usable(app, pairs, rows)
    counts = Counter(pair.kind for pair in usable)
    if max(counts.values(), default=0) < LEAST:
        found = count(len(usable), "query", "queries")
        raise UsageError(f"{found} with items of this collection teach nothing: {LEAST} of a kind are needed",
                         hint="collect more pairs, or check that the ids are those of this collection")
    learned = [_one(collection, name, [pair for pair in usable if pair.kind == name], kind, rows, seed)
               for name, number in sorted(counts.items()) if number >= LEAST]
    maps = {one.kind: one.fit.map for one in learned if one.verdict.better}
    about = {one.kind: {"queries": counts[one.kind], **asdict(one.verdict)} for one in learned}
    return Adapter(collection.info.fingerprint, maps, about), learned


def _rows(collection: Collection, pairs: Sequence[Pair]) -> tuple[str, dict[str, Any]]:
    """The kind of items that most pairs name, and their rows."""
    ids = sorted({id for pair in pairs for id in pair.ids})
    found = {kind: collection.rows_of(ids, kind) for kind in ("image", "text")}
    kind = max(found, key=lambda name: len(found[name]))
    return kind, found[kind]


def _usable(app: App, pairs: Sequence[Pair], rows: dict[str, Any]) -> list[Pair]:
    """The pairs, with those of their items that are there; pictures that are gone are left out."""
    from dataclasses import replace

    out = [replace(pair, ids=tuple(id for id in pair.ids if id in rows)) for pair in pairs]
    lost = sum(not pair.ids for pair in out)
    gone = sum(bool(pair.ids) and pair.kind == "image" and not Path(pair.value).is_file() for pair in out)
    if lost:
        app.say(f"{count(lost, 'query', 'queries')} left out: the items are not in the collection")
    if gone:
        app.say(f"{count(gone, 'query', 'queries')} left out: the pictures are gone")
    return [pair for pair in out if pair.ids and (pair.kind == "text" or Path(pair.value).is_file())]


def _one(collection: Collection, name: str, pairs: list[Pair], kind: str, rows: dict[str, Any], seed: int) -> Learned:
    import mmsearch as mm
    from mmsearch.training.adapter import learn

    make = mm.text if name == "text" else mm.image
    queries = collection.vectors_of([make(pair.value) for pair in pairs])

    def find(vectors: Any) -> list[list[str]]:
        answers = collection.search_many([mm.vector(vector) for vector in vectors], kind=kind, k=10)
        return [[hit.id for hit in hits] for hits in answers]

    return learn(name, pairs, queries, rows, collection.some_rows(_OTHERS, kind, seed=seed), find, seed=seed)


def _show(learned: Sequence[Learned]) -> None:
    from mmsearch.cli._table import plain

    head = ["queries", "held out", "recall@1", "recall@10", "p", "verdict"]
    lines = []
    for one in learned:
        v = one.verdict
        recalls = [f"{before:.3f} -> {after:.3f}" for before, after in ((v.before_r1, v.after_r1), (v.before_r10, v.after_r10))]
        lines.append([one.kind, f"{v.queries:,}", *recalls, f"{min(v.p1, v.p10):.3f}", "better" if v.better else "not better"])
    plain(head, lines)


def _agreed(found: Adapter, learned: Sequence[Learned]) -> bool:
    _show(learned)
    if not sys.stdin.isatty():
        return False
    return click.confirm(f"Switch on adapter {found.fingerprint[:12]}?", err=True)


def _outcome(switched: bool, better: bool) -> str:
    if switched:
        return "the adapter is on; mmsearch train adapter --off switches it off"
    if better:
        return "nothing was changed; --apply switches it on"
    return "nothing was changed: the answers to held-out queries do not get better by more than luck"
