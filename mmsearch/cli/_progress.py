"""The progress of a run of indexing, drawn on stderr where that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from mmsearch.cli._text import count, duration, printable

if TYPE_CHECKING:
    from mmsearch.cli._app import App
    from mmsearch.types import Progress, ProgressFn

Told: TypeAlias = Callable[[int, int], None]


@contextmanager
def shown(app: App, title: str) -> Iterator[ProgressFn | None]:
    """A function for ``progress=``, or ``None`` where there is no terminal to draw on."""
    if app.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars

    bar_width = min(24, app.err.width // 5)
    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.fields[stage]}", style="bold"),
        bars.BarColumn(bar_width),
        bars.TextColumn("{task.fields[numbers]}", style="cyan"),
        bars.TextColumn("{task.fields[tail]}", style="dim"),
    )
    with bars.Progress(*columns, console=app.err, transient=True) as bar:
        task = bar.add_task(title, total=None, stage="scan", numbers="", tail="")

        def update(at: Progress) -> None:
            stage, number = printable(at.stage), numbers(at)
            room = app.err.width - bar_width - len(stage) - len(number) - 6  # the spinner, and a blank between columns
            bar.update(task, completed=at.done, total=at.total, stage=stage, numbers=number, tail=tail(at, room))

        yield update


@contextmanager
def counted(app: App, stage: str) -> Iterator[Told | None]:
    """A function for ``told=``, which is called with how many items are done, of how many (0: not known)."""
    began = time.perf_counter()
    with shown(app, stage) as update:
        if update is None:
            yield None
            return
        from mmsearch.types import Progress

        def told(done: int, total: int) -> None:
            update(Progress(done, total or None, 0, stage, done / max(time.perf_counter() - began, 1e-6), {}))

        yield told


def numbers(at: Progress) -> str:
    """``1,200/5,000``; ``1,200 files`` while the total is not known."""
    return count(at.done, "file") if at.total is None else f"{at.done:,}/{at.total:,}"


def tail(at: Progress, room: int = 200) -> str:
    """Rate, time left, what was skipped, which stage the others wait for: as much of it as there is room for."""
    parts = []
    if at.rate > 0:
        parts.append(f"{at.rate:,.0f}/s" if at.rate >= 10 else f"{at.rate:.1f}/s")
        if at.total is not None and at.total > at.done:
            parts.append(f"{duration((at.total - at.done) / at.rate)} left")
    if at.skipped:
        parts.append(f"{at.skipped:,} skipped")
    parts += bottleneck(at)
    while parts and len(" · ".join(parts)) > room:
        parts.pop()
    return " · ".join(parts)


def bottleneck(at: Progress) -> list[str]:
    """Who is waited for: the waits say what share of its time each side stood idle."""
    if not at.waits:
        return []
    waiting, share = max(at.waits.items(), key=lambda pair: pair[1])
    if share < 0.05:
        return ["decode and encode are in balance"]
    slow = "decode" if waiting == "encode" else "encode"
    return [f"{slow} is the bottleneck", f"{waiting} waits {share:.0%}"]
