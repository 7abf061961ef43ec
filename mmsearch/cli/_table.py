"""Tables for people, on stdout. On a terminal they fit its width; in a pipe nothing is shortened."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mmsearch.cli._text import excerpt, printable, shorten

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mmsearch.store import Finding
    from mmsearch.types import Hit

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
    wants = {name: max(_cells(name), *(_cells(row[at]) for row in cells)) for at, name in enumerate(columns)}
    elastic = {name: wants.pop(name) for name in (path, columns[-1]) if name in wants}
    widths = wants | _share(_room(out, wants.values(), len(columns)), elastic)
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


def hits(found: Sequence[Hit]) -> None:
    """The results of a query: rank, score, the path or the text, and the id where that cannot be read off the path."""
    from rich.text import Text

    out = console()
    items = [excerpt(hit.text or "") if hit.kind == "text" else local(hit.path or hit.id) for hit in found]
    ids = ["" if _is_told(hit) else printable(hit.id) for hit in found]
    kinds = {hit.kind for hit in found}
    name = "item" if len(kinds) > 1 else "text" if "text" in kinds else "path"
    shown = {
        "relevance": any(hit.relevance is not None for hit in found),
        "kind": len(kinds) > 1,
        "id": any(ids),
    }
    fixed = [len(str(found[-1].rank)), 6, *([9] if shown["relevance"] else []), *([5] if shown["kind"] else [])]
    wants = {"item": max(map(_cells, items))} | ({"id": min(max(map(_cells, ids)), max(16, out.width // 4))} if shown["id"] else {})
    wide = _share(_room(out, fixed, len(fixed) + len(wants)), wants)
    table = _table(out)
    table.add_column("#", justify="right", style="dim")
    table.add_column("score", justify="right", style="cyan")
    for column in ("relevance", "kind", name, "id"):
        if shown.get(column, True):
            table.add_column(column, no_wrap=True, style="dim" if column in ("id", "kind") else "")
    for hit, item, id in zip(found, items, ids, strict=True):
        is_text = hit.kind == "text"
        main = Text(excerpt(item, wide["item"]) if is_text else shorten(item, wide["item"]))
        if not is_text:
            main.stylize("dim", 0, main.plain.rfind("/") + 1)
        row = {"relevance": Text("" if hit.relevance is None else f"{hit.relevance:.2f}"), "kind": Text(str(hit.kind)),
               "item": main, "id": Text(shorten(id, wide.get("id", 0)))}
        table.add_row(str(hit.rank), f"{hit.score:.3f}", *(row[cell] for cell in row if shown.get(cell, True)))
    _print(out, table)


def local(path: str) -> str:
    """A path for people: from the working folder where it lies below it; safe to print; no leading dash."""
    here = os.getcwd().rstrip("/") + "/"
    near = path.removeprefix(here)
    return printable(f"./{near}" if near.startswith("-") else near)


def _is_told(hit: Hit) -> bool:
    """Whether the id can be read off what is shown: it is the path below a root, unless the user chose another."""
    if hit.kind == "text" or hit.path is None:
        return hit.path is None and hit.kind != "text"
    return hit.path == hit.id or hit.path.endswith(f"/{hit.id}")


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


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _share(room: int, wants: dict[str, int]) -> dict[str, int]:
    """Divide the width: who needs less than an equal share gets all it needs, the others share the rest."""
    widths: dict[str, int] = {}
    for name, want in sorted(wants.items(), key=lambda pair: pair[1]):
        equal = (room - sum(widths.values())) // (len(wants) - len(widths))
        widths[name] = min(want, max(equal, 8))
    return widths
