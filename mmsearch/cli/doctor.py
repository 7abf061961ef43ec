"""``mmsearch doctor``: is everything here as it should be, and what to do where it is not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from mmsearch.cli import _findings
from mmsearch.cli._app import COLLECTION, OK, App, Command, pass_app
from mmsearch.cli._health import Note, check
from mmsearch.cli._text import count, printable, size
from mmsearch.errors import MMSearchError

if TYPE_CHECKING:
    from mmsearch.store import Finding

_PACKAGES = ("mmsearch", "torch", "onnxruntime", "open_clip_torch", "faiss-cpu", "numpy", "pillow", "sqlalchemy")
_LITTLE = 1 << 30  # free bytes below which a disk is called nearly full
_SLOW_SYNC = 0.1  # seconds


@click.command(cls=Command, short_help="Check the installation, the disk and the collection.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, *, as_json: bool) -> int:
    """Check the environment, the device, the disk, and the collection with every byte of it; one advice for each finding.

    Changes nothing but a file of a few bytes that it writes and removes again. Exits with 6 if something is broken.
    """
    with _patience(app, as_json):
        machine = [*_environment(), _device(app), *_disk(app.place.path)]
        notes = [*machine, *_collection(app)]
    if as_json or not sys.stdout.isatty():
        _findings.show(app, cast("list[Finding]", notes), as_json=as_json)  # the same fields
    else:
        width = max(len(note.what) for note in notes)
        _show("This machine", machine, width)
        _show(f"The collection at {app.place.path}", notes[len(machine) :], width)
    if not as_json:
        worse = sum(note.level != "ok" for note in notes)
        app.say(f"{count(worse, 'finding')} to look at" if worse else "all is well")
    return COLLECTION if any(note.level == "error" for note in notes) else OK


_MARKS = {"ok": ("✓", "green"), "warning": ("!", "bold yellow"), "error": ("✗", "bold red")}


def _show(title: str, notes: Sequence[Note], width: int) -> None:
    """A group of findings on a terminal: a mark, what was looked at, what was found, and below it the advice."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from mmsearch.cli._table import console

    out = console()
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(min_width=width, no_wrap=True)
    table.add_column(overflow="fold")
    for note in notes:
        mark, style = _MARKS[note.level]
        detail = Text(printable(note.detail), style="" if note.level != "ok" else "dim")
        if note.advice:
            detail.append(f"\n→ {printable(note.advice)}", style="cyan")
        table.add_row(Text(mark, style=style), Text(note.what, style="bold" if note.level != "ok" else ""), detail)
    out.print(Text(printable(title), style="bold"))
    out.print(Padding(table, (0, 0, 1, 2)))


@contextmanager
def _patience(app: App, as_json: bool) -> Iterator[None]:
    """On a terminal: says that something is going on. Large collections are read for a while."""
    if as_json or app.quiet or not sys.stderr.isatty():
        yield
        return
    with app.err.status("looking at every byte"):
        yield


def _environment() -> Iterator[Note]:
    yield Note("ok", "system", f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
                               f"{count(len(_cores()), 'core')}, SQLite {sqlite3.sqlite_version}")
    versions, missing = [], []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    yield Note("ok", "versions", ", ".join(versions))
    if missing:
        yield Note("error", "versions", f"not installed: {', '.join(missing)}", "pip install mmsearch, in a fresh environment")


def _cores() -> set[int] | range:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _device(app: App) -> Note:
    import torch

    wanted = app.settings.device
    there = ["cpu"]
    if torch.cuda.is_available():
        there = [f"cuda ({torch.cuda.get_device_name()})", *there]
    elif torch.backends.mps.is_available():
        there = ["mps", *there]
    detail = f"{wanted}; this machine has {', '.join(there)}"
    if wanted != "auto" and not any(name.startswith(wanted.split(":")[0]) for name in there):
        return Note("error", "device", detail, "mmsearch config set device auto")
    if wanted == "cpu" and len(there) > 1:
        return Note("warning", "device", detail, "indexing is many times faster with: mmsearch config set device auto")
    return Note("ok", "device", detail)


def _disk(path: Path) -> Iterator[Note]:
    """Of the collection's folder, or of the one above where it would be made."""
    folder = next(one for one in (path.absolute(), *path.absolute().parents) if one.is_dir())
    free = shutil.disk_usage(folder).free
    if free < _LITTLE:
        yield Note("warning", "disk", f"{size(free)} free at {folder}", "free some space: compacting needs room for a copy")
    else:
        yield Note("ok", "disk", f"{size(free)} free at {folder}")
    started = time.perf_counter()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"mmsearch")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Note("warning", "write", f"{folder}: {error.strerror}", "searching works; to index, name a writable one: -c FOLDER")
        return
    seconds = time.perf_counter() - started
    if seconds > _SLOW_SYNC:
        yield Note("warning", "write", f"a synced write took {seconds * 1000:.0f} ms", "keep the collection on a local disk")
    else:
        yield Note("ok", "write", f"a synced write took {seconds * 1000:.1f} ms")


def _collection(app: App) -> Iterator[Note]:
    if not (app.place.path / "catalog.db").exists():
        yield Note("warning", "collection", f"there is none at {app.place.path}", "mmsearch index FOLDER makes one")
        return
    try:
        with app.open() as collection:
            yield from check(collection)
    except MMSearchError as error:
        yield Note("error", "collection", str(error), error.hint or "mmsearch verify")
