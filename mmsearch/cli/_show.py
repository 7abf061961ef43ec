"""What ``query`` and ``similar`` share: the options of a search, and the ways to show its hits."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli import _output
from mmsearch.cli._text import count

if TYPE_CHECKING:
    from mmsearch.cli._app import App
    from mmsearch.collection import Collection
    from mmsearch.types import Hits, Query, Term

F = TypeVar("F", bound=Callable[..., Any])

_EXPLAINED = 10
"""Of so many hits it is said what each rung gave them; ``--json`` has it of all."""

_OPTIONS = (
    click.option("-k", "-t", "--top", "k", type=click.IntRange(1), default=10, show_default=True, metavar="N",
                 help="How many results."),
    click.option("--offset", type=click.IntRange(0), default=0, metavar="N", help="Leave out the first N results."),
    click.option("--where", metavar="CONDITION", help="Only items for which this holds, as in SQL: "
                 "\"price < 50 and brand = 'Acme'\", \"taken >= '2023-01-01'\"."),
    click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A value for :NAME in --where."),
    click.option("--group-by", metavar="FIELD", help="Only the best of each group, or of each value of a field."),
    click.option("--html", metavar="FILE", help="Write the results as one web page with pictures (- for stdout)."),
    click.option("--open", "open_best", is_flag=True, help="Open the page of --html, else the best hit's file."),
    click.option("--explain", is_flag=True, help="Say how the results were found."),
    click.option("--exit-code", is_flag=True, help="Exit with 1 if nothing is found."),
)


def search_options(*, kind: str) -> Callable[[F], F]:
    """Adds what every command that searches takes; ``kind`` says what is found by default."""

    def decorate(function: F) -> F:
        function = _output.formats("paths", "print0", "json", "jsonl", "csv", "preview")(function)
        for option in reversed(_OPTIONS):
            function = option(function)
        kinds = click.Choice(["image", "text", "any"])
        text = f"What to find: images, texts, or both fused by rank (default: {kind})."
        return click.option("--kind", type=kinds, help=text)(function)

    return decorate


def show(app: App, collection: Collection, hits: Hits, query: Query, *, form: str | None, html: str | None,
         open_best: bool, explain: bool, heat: bool = False) -> None:
    """Print the hits in the chosen form."""
    if html:
        _page(app, collection, hits, query, html, heat)
    if form in ("paths", "print0"):
        paths = [hit.path for hit in hits if hit.path]
        _output.dump_paths(paths, null=form == "print0")
        if len(paths) < len(hits):
            app.say(f"{count(len(hits) - len(paths), 'hit')} left out, having no file")
    elif form == "json":
        _output.dump(_answer(hits, query))
    elif form == "jsonl":
        _output.dump_lines(map(_output.hit_json, hits))
    elif form == "csv":
        _output.dump_csv(hits)
    elif not hits:
        app.say("nothing found")
    elif form == "preview":
        from mmsearch.cli import _pictures

        _pictures.show(app, collection, hits)
    elif not html:
        from mmsearch.cli import _hits

        _hits.show(hits)
    if explain:
        _explain(app, hits)
    if open_best:
        _open(app, hits, html)


def _answer(hits: Hits, query: Query) -> dict[str, Any]:
    return {
        "v": _output.VERSION,
        "query": [_term_json(term) for term in query.terms],
        "exact": hits.exact,
        "candidates": hits.candidates,
        "timings": {stage: round(ms, 3) for stage, ms in hits.timings.items()},
        "hits": [_output.hit_json(hit) for hit in hits],
    }


def _term_json(term: Term) -> dict[str, Any]:
    """A picture that was handed in as bytes has no name to show."""
    return {"what": term.what, "value": term.value if isinstance(term.value, str) else None, "weight": term.weight}


def _explain(app: App, hits: Hits) -> None:
    times = " · ".join(f"{stage} {ms:.1f}" for stage, ms in hits.timings.items())
    how = "exact: every candidate was compared" if hits.exact else "approximate: an index chose among the candidates"
    app.say(f"{count(hits.candidates, 'candidate')} after kind and filter; {how}")
    app.say(f"milliseconds: {times}")
    for hit in [hit for hit in hits if hit.stages][:_EXPLAINED]:
        rungs = " · ".join(f"{stage} {value:.4f}" for stage, value in {"score": hit.score, **hit.stages}.items())
        app.say(f"{hit.rank:>4}. {rungs}")


def _page(app: App, collection: Collection, hits: Hits, query: Query, target: str, heat: bool) -> None:
    from mmsearch.cli import _html

    page = _html.page(collection, hits, query, heat=heat)
    if _output.write_page(page, target):
        app.say(f"{count(len(hits), 'hit')} on the page {target}")


def _open(app: App, hits: Hits, html: str | None) -> None:
    target = os.path.abspath(html) if html and html != "-" else next((hit.path for hit in hits if hit.path), None)
    if target is None:
        app.say("there is nothing to open")
    elif click.launch(target) != 0:
        app.say(f"no program could be started for {target}")
