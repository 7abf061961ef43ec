"""Tables for people, on stdout. On a terminal they fit its width; in a pipe nothing is shortened."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mmsearch.cli._text import printable, share, shorten, width_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mmsearch.store import Finding

_ENDLESS = 100_000
GAP = 2
"""Blanks between columns."""


def console() -> Console:
    """stdout as rich sees it; as wide as anything where it is not a terminal."""
    from rich.console import Console

    made = Console(highlight=False, soft_wrap=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made = Console(highlight=False, width=_ENDLESS)
    return made


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), path: str = "") -> None:
    """A table of texts. ``right`` names the columns of numbers.

    On a narrow terminal the column named by ``path`` is cut in the middle and the last one goes over several lines; the
    others stay whole.
    """
    from rich.text import Text

    out = console()
    cells = [[printable(cell) for cell in row] for row in rows]
    wants = {name: max(width_of(name), *(width_of(row[at]) for row in cells)) for at, name in enumerate(columns)}
    elastic = {name: wants.pop(name) for name in (path, columns[-1]) if name in wants}
    widths = wants | share(_room(out, wants.values(), len(columns)), elastic)
    table = _table(out)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", min_width=min(widths[name], out.width),
                         overflow="fold", no_wrap=name != columns[-1])
    for row in cells:
        named = zip(columns, row, strict=True)
        table.add_row(*(Text(shorten(cell, widths[name]) if name == path else cell) for name, cell in named))
    _print(out, table)


def details(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values below each other; values may go over several lines on a terminal."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(printable(value)))
    _print(out, table)


def findings(found: Sequence[Finding]) -> None:
    """What a check found: level, what, and below it the advice."""
    from rich.text import Text

    out = console()
    table = _table(out)
    for name in ("level", "what", "detail"):
        table.add_column(name, overflow="fold")
    styles = {"ok": "green", "warning": "yellow", "error": "bold red"}
    for one in found:
        detail = printable(one.detail) + (f"\n→ {printable(one.advice)}" if one.advice else "")
        table.add_row(Text(one.level, style=styles.get(one.level, "")), Text(printable(one.what)), Text(detail))
    _print(out, table)


def _table(out: Console) -> Table:
    from rich import box
    from rich.table import Table

    head = box.SIMPLE_HEAD if out.is_terminal else None
    gap = GAP - 1 if head else GAP  # a box has a blank of its own between columns
    return Table(box=head, pad_edge=False, show_edge=False, header_style="bold", padding=(0, gap, 0, 0))


def _room(out: Console, fixed: Iterable[int], columns: int) -> int:
    """What is left of the width for the columns that can shrink."""
    return out.width - sum(fixed) - GAP * (columns - 1)


def _print(out: Console, table: Table) -> None:
    """rich fills the last column with spaces: fine on a terminal, noise in a pipe."""
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))
    sys.stdout.flush()
