"""The progress of a run of indexing, drawn on stderr where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmsearch.cli._text import count, duration, printable

if TYPE_CHECKING:
    from mmsearch.cli._app import App
    from mmsearch.types import Progress, ProgressFn


@contextmanager
def shown(app: App, title: str) -> Iterator[ProgressFn | None]:
    """A function for ``progress=``, or ``None`` where there is no terminal to draw on."""
    if app.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.fields[stage]}", style="bold"),
        bars.BarColumn(bar_width=24),
        bars.TextColumn("{task.fields[numbers]}", style="cyan"),
        bars.TextColumn("{task.fields[tail]}", style="dim"),
    )
    with bars.Progress(*columns, console=app.err, transient=True) as bar:
        task = bar.add_task(title, total=None, stage="scan", numbers="", tail="")

        def update(at: Progress) -> None:
            bar.update(task, completed=at.done, total=at.total, stage=printable(at.stage), numbers=numbers(at),
                       tail=tail(at))

        yield update


def numbers(at: Progress) -> str:
    """``1,200/5,000``; ``1,200 files`` while the total is not known."""
    return count(at.done, "file") if at.total is None else f"{at.done:,}/{at.total:,}"


def tail(at: Progress) -> str:
    """Rate, time left, what was skipped, and which stage the others wait for."""
    parts = []
    if at.rate > 0:
        parts.append(f"{at.rate:,.0f}/s" if at.rate >= 10 else f"{at.rate:.1f}/s")
        if at.total is not None and at.total > at.done:
            parts.append(f"{duration((at.total - at.done) / at.rate)} left")
    if at.skipped:
        parts.append(f"{at.skipped:,} skipped")
    slow = bottleneck(at)
    if slow:
        parts.append(slow)
    return " · ".join(parts)


def bottleneck(at: Progress) -> str:
    """Who is waited for: the waits say what share of its time each side stood idle."""
    if not at.waits:
        return ""
    waiting, share = max(at.waits.items(), key=lambda pair: pair[1])
    if share < 0.05:
        return "balanced"
    other = "decode" if waiting.startswith("encod") else "encode"
    return f"limited by {other} ({share:.0%} waiting)"
