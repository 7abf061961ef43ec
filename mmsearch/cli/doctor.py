"""``mmsearch doctor``: is everything here as it should be, and what to do where it is not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from mmsearch.cli import _findings
from mmsearch.cli._app import App, Command, pass_app
from mmsearch.cli._text import count, size
from mmsearch.errors import MMSearchError

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.store import Finding

_PACKAGES = ("mmsearch", "torch", "onnxruntime", "open_clip_torch", "faiss-cpu", "numpy", "pillow", "sqlalchemy")
_LITTLE = 1 << 30  # free bytes below which a disk is called nearly full
_SLOW_SYNC = 0.1  # seconds
_OLD = 90 * 86400  # seconds


@dataclass(frozen=True, slots=True)
class Note:
    """One finding, with the fields of :class:`mmsearch.store.Finding`."""

    level: str
    what: str
    detail: str
    advice: str = ""


@click.command(cls=Command, short_help="Check the installation, the disk and the collection.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, *, as_json: bool) -> int:
    """Check the environment, the device, the disk, and the collection with every byte of it; one advice for each finding.

    Changes nothing but a file of a few bytes that it writes and removes again. Exits with 6 if something is broken.
    """
    notes = [*_environment(), _device(app), *_disk(app.place.path), *_collection(app)]
    code = _findings.show(app, cast("list[Finding]", notes), as_json=as_json)  # the same fields
    if not as_json:
        worse = sum(note.level != "ok" for note in notes)
        app.say(f"{count(worse, 'finding')} to look at" if worse else "all is well")
    return code


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
            for check in _CHECKS:
                yield from check(collection)
    except MMSearchError as error:
        yield Note("error", "collection", str(error), error.hint or "mmsearch verify")


def _model(collection: Collection) -> Iterator[Note]:
    from mmsearch import models

    name = collection.info.model
    try:
        found = models.info(name)
    except MMSearchError as error:
        yield Note("error", "model", str(error), error.hint or "mmsearch models list")
        return
    if found.on_disk or not found.download:
        yield Note("ok", "model", f"{name}, {collection.info.dim} dimensions")
    else:
        yield Note("error", "model", f"{name} is not on this machine", f"mmsearch models pull {found.name}")


def _sound(collection: Collection) -> Iterator[Note]:
    findings = collection.verify()
    bad = [Note(one.level, one.what, one.detail, one.advice or "") for one in findings if one.level != "ok"]
    yield from bad or [Note("ok", "integrity", f"{count(len(findings), 'check')} of every byte found nothing")]


def _fresh(collection: Collection) -> Iterator[Note]:
    status = collection.status()
    yield Note("ok", "items", f"{count(status.images, 'image')}, {count(status.texts, 'text')}, {size(status.bytes)}")
    if status.failures:
        yield Note("warning", "failures", f"{count(status.failures, 'file')} could not be indexed", "mmsearch failures says why")
    for name, folder in sorted(status.roots.items()):
        if not os.path.isdir(folder):
            yield Note("warning", "root", f"{name}: {folder} is not there", f"mount it, or: mmsearch root move {name} FOLDER")
    if status.updated is not None and time.time() - status.updated > _OLD:
        days = (time.time() - status.updated) / 86400
        yield Note("warning", "age", f"last brought up to date {days:.0f} days ago", "mmsearch index, with the same folders")
    elif status.updated is not None:
        yield Note("ok", "age", "brought up to date within the last 90 days")


_CHECKS: tuple[Callable[[Collection], Iterator[Note]], ...] = (_model, _sound, _fresh)
