"""``mmsearch status``: what the collection holds, where it came from, how old it is."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mmsearch.cli import _output
from mmsearch.cli._app import App, Command, pass_app
from mmsearch.cli._text import count, duration, size

if TYPE_CHECKING:
    from mmsearch.status import Status


@click.command(cls=Command, short_help="Say what the collection holds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, *, as_json: bool) -> None:
    """Say what the collection holds, which model made it, and how it is searched."""
    with app.open() as collection:
        status = collection.status()
    if as_json:
        fields = asdict(status)
        _output.dump({"v": _output.VERSION, **fields, "path": str(status.path)})
        return
    from mmsearch.cli._table import details
    from mmsearch.status import reasons

    info = status.info
    rows = [
        ("collection", f"{status.path.absolute()} ({app.place.how})"),
        ("holds", f"{count(status.images, 'image')}, {count(status.texts, 'text')}"),
        ("skipped", f"{count(status.failures, 'file')} (mmsearch failures)" if status.failures else "nothing"),
        ("changed", when(status.updated, time.time())),
        ("model", f"{info.model}, {info.dim} dimensions, fingerprint {info.fingerprint[:12]}"),
        *(("search" if not at else "", line) for at, line in enumerate(reasons(status.indexes))),
        ("on disk", f"{size(status.bytes)}, format {info.format_version}, made {info.created[:10]} "
                    f"by mmsearch {info.mmsearch_version}"),
    ]
    if status.adapter is not None:
        rows.append(("adapter", f"{status.adapter[:12]} changes the queries; mmsearch train adapter --off"))
    rows += [("roots" if not at else "", f"{name}  {path}")
             for at, (name, path) in enumerate(sorted(status.roots.items()))]
    details(rows)


def age(status: Status, now: float) -> str:
    """One line before results: how much was searched, and how old that is."""
    parts = [count(number, noun) for number, noun in ((status.images, "image"), (status.texts, "text")) if number]
    return f"{' and '.join(parts) or 'an empty collection'}, last changed {when(status.updated, now)}"


def when(moment: float | None, now: float) -> str:
    """``3 min ago``; the clock may have been set back."""
    if moment is None:
        return "never"
    seconds = now - moment
    return "just now" if seconds < 2 else f"{duration(seconds)} ago"
