"""``mmsearch optimize``: measure which index is fastest on this collection, build it, or go without."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from mmsearch.cli import _output
from mmsearch.cli._app import App, Command, pass_app
from mmsearch.cli._text import count, size

if TYPE_CHECKING:
    from mmsearch.status import IndexState

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_NICE = 10


def bytes_of(text: str) -> int:
    """``2G`` → 2,000,000,000. Raises :class:`click.UsageError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None or float(found[1]) <= 0:
        raise click.UsageError(f"--memory takes a size such as 500M or 2G, not {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


@click.command(cls=Command, short_help="Make searches of a large collection fast.")
@click.option("--recall", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95, show_default=True,
              metavar="F", help="How many of the ten nearest must be found, at least, on average.")
@click.option("--memory", metavar="SIZE", help="How large an index may be: 500M, 2G.")
@click.option("--kind", type=click.Choice(["image", "text"]), help="Only for images, or only for texts.")
@click.option("--recipe", "recipes", multiple=True, metavar="NAME",
              help="Try this index instead of the usual ones (repeatable).")
@click.option("--if-needed", is_flag=True, help="Only where much has changed since the last time, or an index is damaged.")
@click.option("--background", is_flag=True, help="Return at once and work at low priority; mmsearch status tells when it is done.")
@click.option("--drop", is_flag=True, help="Forget all indexes: every search compares every row.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, *, recall: float, memory: str | None, kind: str | None, recipes: tuple[str, ...], if_needed: bool,
            background: bool, drop: bool, as_json: bool) -> None:
    """Measure which index is fastest on this collection at the recall that is asked for, and build it.

    Images and texts are both asked as queries, and the target holds for either. Where comparing every row is as fast, nothing
    is built. Searches and indexing go on meanwhile; what is added later is searched too, and at once.

    \b
      mmsearch optimize
      mmsearch optimize --memory 500M --recall 0.98 --background
    """
    limit = None if memory is None else bytes_of(memory)
    with app.open() as collection:
        due = collection.index_due()
        if if_needed and not due:
            app.say("nothing to do: no index is behind, and none is missed")
            return
        if background:
            asked = ["--recall", str(recall), *(["--memory", str(limit)] if limit else []), *(["--kind", kind] if kind else [])]
            start_in_background(app, *asked, *(part for name in recipes for part in ("--recipe", name)))
            return
        if drop:
            collection.drop_index(kind)
        else:
            with _said(app) as say:
                collection.build_index(recall=recall, memory=limit, recipes=recipes, kind=kind, say=say)
        states = collection.status().indexes
    _show(app, states, as_json)


def start_in_background(app: App, *arguments: str) -> None:
    """This command, in a process of its own that nobody waits for. Says which."""
    command = [sys.executable, "-m", "mmsearch.cli", "--quiet", "-c", os.fspath(app.place.path.absolute()), "optimize", *arguments]
    silence = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    process = os.posix_spawn(sys.executable, command, os.environ | {_LOW: "1"}, file_actions=silence, setsid=True)
    app.say(f"looking for the fastest index in the background (process {process}); mmsearch status tells what came of it")


_LOW = "MMSEARCH_LOW_PRIORITY"


@contextmanager
def _said(app: App) -> Iterator[Callable[[str, float], None] | None]:
    """What is being done, on a terminal."""
    if os.environ.get(_LOW):
        os.nice(_NICE)
    if app.quiet or not sys.stderr.isatty():
        yield None
        return
    with app.err.status("looking at the collection") as status:
        yield lambda what, share: status.update(f"{what} {share:.0%}" if share else what)


def _show(app: App, states: tuple[IndexState, ...], as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        _output.dump({"v": _output.VERSION, "indexes": [asdict(one) for one in states]})
        return
    if not states:
        app.say("the collection is empty")
    for one in states:
        if one.recipe == "exact":
            click.echo(f"{one.kind}s: exact. {one.reason or 'Every row is compared'}")
            continue
        recall = ", ".join(f"{value:.3f} for {name}s" for name, value in sorted(one.recall.items()))
        click.echo(f"{one.kind}s: {one.recipe}, {size(one.bytes)} for {count(one.rows, 'item')}. {one.reason}")
        click.echo(f"        finds of the ten nearest, by kind of query: {recall}")
