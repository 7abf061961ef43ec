"""``mmsearch facets``: which values the items' fields have, with counts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _output, _query
from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.cli._text import count

if TYPE_CHECKING:
    from mmsearch.types import Facet, FacetValue

_BAR = 24
_UNCOUNTED = ("id", "path", "text", "mtime", "taken", "size", "exif")


@click.command(cls=Command, short_help="Count the values of fields.")
@click.argument("fields", nargs=-1, metavar="[FIELD]…")
@click.option("--where", metavar="CONDITION", help="Only items for which this holds: \"price < 50 and brand = 'Acme'\".")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A value for :NAME in --where.")
@click.option("--query", metavar="TEXT", help="Only the 1,000 items nearest to this text.")
@click.option("--kind", type=click.Choice(["image", "text", "any"]), help="What is counted (default: images where there are any).")
@click.option("--group-by", metavar="FIELD", help="Count groups (products) instead of items: --group-by group.")
@click.option("--top", "limit", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Values of each field.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, /, *, fields: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Count which values fields have; without a name, of all fields of meta.

    \b
      mmsearch facets
      mmsearch facets brand colour --where "price < 50" --group-by group
      mmsearch facets brand --query "red dress"
    """
    options["params"] = _query.parameters(options["params"])
    with app.open() as collection:
        names = fields or tuple(name for name in collection.fields() if _is_counted(name))
        found = collection.facets(names, **options)
    if as_json:
        _output.dump({"v": _output.VERSION, "facets": [asdict(facet) for facet in found]})
    elif not found:
        app.say("no item has a field of its own")
    else:
        _show(found)
    return OK


def _is_counted(name: str) -> bool:
    return name.split(".")[0] not in (*_UNCOUNTED, "kind", "group", "root", "width", "height")


def _show(found: list[Facet]) -> None:
    from rich.text import Text

    from mmsearch.cli._table import console
    from mmsearch.cli._text import printable, shorten, width_of

    out = console()
    for at, facet in enumerate(found):
        if at:
            out.print()
        head = Text(printable(facet.field), style="bold")
        if facet.missing:
            head.append(f"  {count(facet.missing, 'item')} without", style="dim")
        out.print(head)
        labels = [shorten(printable(label(value)), 32) for value in facet.values]
        wide = max(map(width_of, labels), default=0)
        most = max((value.count for value in facet.values), default=1)
        figures = max((len(f"{value.count:,}") for value in facet.values), default=0)
        for name, value in zip(labels, facet.values, strict=True):
            line = Text("  " + name + " " * (wide - width_of(name) + 2))
            line.append(f"{value.count:,}".rjust(figures), style="cyan")
            if out.is_terminal:
                line.append("  " + "▇" * max(1, round(_BAR * value.count / most)), style="blue")
            out.print(line)
        if facet.more:
            out.print(Text(f"  and {count(facet.more, 'more value')}", style="dim"))


def label(value: FacetValue) -> str:
    """What stands for a value: itself, ``yes`` or ``no``, or ``20 – 50`` for a range."""
    if value.low is not None and value.high is not None:
        return f"{value.low:,g} – {value.high:,g}"
    if isinstance(value.value, bool):
        return "yes" if value.value else "no"
    return f"{value.value:,g}" if isinstance(value.value, float) else str(value.value)
