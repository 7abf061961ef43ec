"""The options of ``query`` and ``similar`` that say how hits are ordered and cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mmsearch.ranking import RankingOptions

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--rerank", metavar="none|fast|tiles|deep|model:NAME", default="none", show_default=True,
                 help="A better order for the first hits: fast takes back what comes near every query; deep looks at 50 pictures "
                      "again (deep:PATH with a model of your own); model: a second model."),
    click.option("--boost", metavar="FORMULA", help="Add a formula over fields: \"in_stock * 0.2 - age_days * 0.01\"."),
    click.option("--diversity", type=click.FloatRange(0, 1), metavar="L", help="Variety among the hits: 0 none, 1 most."),
    click.option("--collapse", is_flag=True, help="Only the best of near-duplicates."),
    click.option("--cutoff", type=click.Choice(["auto"]), help="Leave out what is not relevant; find nothing if nothing is."),
    click.option("--min-relevance", type=click.FloatRange(0, 1), metavar="F", help="Leave out hits with less relevance."),
    click.option("--lexical", metavar="off|auto|W", default="off", show_default=True,
                 help="Words in names, texts and fields count too: auto as much as the vectors, W times as much."),
    click.option("--fields", metavar="NAME=W,…", help="One hit per product, its parts weighted: photo=1,title=0.6."),
    click.option("--unjudged", is_flag=True, help="Pay no heed to what was said of this query's hits (mmsearch judge)."),
    click.option("--exact", is_flag=True, help="Compare every row, though there is an index (mmsearch optimize)."),
    click.option("--candidates", type=click.IntRange(1), metavar="N", help="How many hits are reordered (100)."),
)


def ranking_options(function: F) -> F:
    """Adds the options; :func:`wanted` reads them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def wanted(options: dict[str, Any]) -> RankingOptions:
    """Takes the ranking's options out of a command's; what was not asked for is left out."""
    cutoff, least, lexical = options.pop("cutoff"), options.pop("min_relevance"), options.pop("lexical")
    if cutoff is not None and least is not None:
        raise click.UsageError("--cutoff and --min-relevance exclude each other")
    found: dict[str, Any] = {name: options.pop(name) for name in ("rerank", "boost", "diversity", "collapse", "candidates")}
    unjudged = options.pop("unjudged")
    found["exact"] = options.pop("exact") or None
    found["rerank"] = None if found["rerank"] == "none" else found["rerank"]
    found["cutoff"] = cutoff or least
    if least == 0:  # nothing is cut, but relevance is shown
        found["relevance"] = True
    found["lexical"] = _weight(lexical)
    found["fields"] = _fields(options.pop("fields"))
    if unjudged:
        return {**{name: value for name, value in found.items() if value}, "judged": False}  # type: ignore[typeddict-item]
    return {name: value for name, value in found.items() if value}  # type: ignore[return-value]


def _fields(given: str | None) -> dict[str, float] | str | None:
    """Weights by name, or the name of saved ones."""
    if given is None or "=" not in given:
        return given
    found = {}
    for part in given.split(","):
        name, _, weight = part.partition("=")
        try:
            found[name.strip()] = float(weight)
        except ValueError:
            raise click.UsageError(f"--fields takes NAME=WEIGHT,…, not {part!r}") from None
    return found


def _weight(lexical: str) -> float:
    if lexical in ("off", "auto"):
        return float(lexical == "auto")
    try:
        return float(lexical)
    except ValueError:
        raise click.UsageError(f"--lexical takes off, auto or a number, not {lexical!r}") from None
