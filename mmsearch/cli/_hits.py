"""The table of a query's hits: written without rich, whose import takes longer than the search it would show."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from mmsearch.cli._text import excerpt, local, printable, share, shorten, width_of

if TYPE_CHECKING:
    from mmsearch.types import Hit

GAP = 2
"""Blanks between columns."""
_LEAST_ID = 16


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its cells as plain text, and how they look on a terminal. ``dims`` counts the dim letters in front."""

    name: str
    cells: Sequence[str]
    right: bool = False
    colour: str | None = None
    dim: bool = False
    dims: Sequence[int] = ()

    @property
    def width(self) -> int:
        return max(width_of(self.name), *map(width_of, self.cells))

    def cell(self, at: int, width: int) -> str:
        """One cell, padded and styled."""
        text = self.cells[at]
        pad = " " * (width - width_of(text))
        head = self.dims[at] if self.dims else 0
        shown = click.style(text[:head], dim=True) + text[head:] if head else text
        if self.colour or self.dim:
            shown = click.style(text, fg=self.colour, dim=self.dim)
        return pad + shown if self.right else shown + pad


def show(found: Sequence[Hit]) -> None:
    """The results of a query: rank, score, the path or the text, and the id where that cannot be read off the path.

    On a terminal the table fits its width; in a pipe nothing is shortened and nothing is coloured.
    """
    is_terminal = sys.stdout.isatty()
    columns = _columns(found, get_terminal_size().columns if is_terminal or "COLUMNS" in os.environ else None)
    widths = [column.width for column in columns]
    sized = list(zip(columns, widths, strict=True))
    lines = [_line([_padded(*pair) for pair in sized], bold=True)]
    if is_terminal:
        lines.append("─" * (sum(widths) + GAP * (len(widths) - 1)))
    lines += [_line([column.cell(at, width) for column, width in sized]) for at in range(len(found))]
    coloured = is_terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    sys.stdout.write("".join((line if coloured else click.unstyle(line)).rstrip() + "\n" for line in lines))
    sys.stdout.flush()


def _columns(found: Sequence[Hit], width: int | None) -> list[Column]:
    """The columns that these hits need, shortened to ``width`` cells in all."""
    kinds = {hit.kind for hit in found}
    fixed = [
        Column("#", [str(hit.rank) for hit in found], right=True, dim=True),
        Column("score", [f"{hit.score:.3f}" for hit in found], right=True, colour="cyan"),
    ]
    if any(hit.relevance is not None for hit in found):
        fixed.append(Column("relevance", ["" if hit.relevance is None else f"{hit.relevance:.2f}" for hit in found]))
    if len(kinds) > 1:
        fixed.append(Column("kind", [str(hit.kind) for hit in found], dim=True))
    items = [excerpt(hit.text or "") if hit.kind == "text" else local(hit.path or hit.id) for hit in found]
    ids = ["" if _is_told(hit) else printable(hit.id) for hit in found]
    if width is not None:
        wants = {"item": max(map(width_of, items))}
        if any(ids):
            wants["id"] = min(max(map(width_of, ids)), max(_LEAST_ID, width // 4))
        room = width - sum(column.width for column in fixed) - GAP * (len(fixed) + len(wants) - 1)
        wide = share(room, wants)
        items = [
            excerpt(item, wide["item"]) if hit.kind == "text" else shorten(item, wide["item"])
            for hit, item in zip(found, items, strict=True)
        ]
        ids = [shorten(id, wide["id"]) for id in ids] if "id" in wide else ids
    folders = [0 if hit.kind == "text" else item.rfind("/") + 1 for hit, item in zip(found, items, strict=True)]
    name = "item" if len(kinds) > 1 else "text" if "text" in kinds else "path"
    return [*fixed, Column(name, items, dims=folders), *([Column("id", ids, dim=True)] if any(ids) else [])]


def _padded(column: Column, width: int) -> str:
    return column.name.rjust(width) if column.right else column.name.ljust(width)


def _line(parts: Sequence[str], *, bold: bool = False) -> str:
    return (" " * GAP).join(click.style(part, bold=True) if bold else part for part in parts)


def _is_told(hit: Hit) -> bool:
    """Whether the id can be read off what is shown: it is the path below a root, unless the user chose another."""
    if hit.kind == "text" or hit.path is None:
        return hit.path is None and hit.kind != "text"
    return hit.path == hit.id or hit.path.endswith(f"/{hit.id}")
