"""What ``doctor`` asks a collection: is it whole, is it fresh, do its searches work as they should."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.cli._text import count, excerpt, size
from mmsearch.errors import MMSearchError

if TYPE_CHECKING:
    from mmsearch.collection import Collection

_OLD = 90 * 86400  # seconds


@dataclass(frozen=True, slots=True)
class Note:
    """One finding, with the fields of :class:`mmsearch.store.Finding`."""

    level: str
    what: str
    detail: str
    advice: str = ""


def check(collection: Collection) -> Iterator[Note]:
    """Every check, in order. Reads every byte of the collection; hubs cost a few seconds."""
    for one in _CHECKS:
        yield from one(collection)


def _model(collection: Collection) -> Iterator[Note]:
    from mmsearch import models

    name = collection.info.model
    claim = collection.kept().get("vectors_from")
    if claim is not None:
        yield Note("ok", "vectors", f"made elsewhere and taken in from {json.loads(claim)['source']}, as of {name} on your word")
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
    if collection.sealed:
        yield Note("ok", "sealed", "for reading only, until: mmsearch seal --undo")
    if status.failures:
        yield Note("warning", "failures", f"{count(status.failures, 'file')} could not be indexed", "mmsearch failures says why")
    for name, folder in sorted(status.roots.items()):
        if not os.path.exists(folder):
            yield Note("warning", "root", f"{name}: {folder} is not there", f"mount it, or: mmsearch root move {name} FOLDER")
    if status.updated is not None and time.time() - status.updated > _OLD:
        days = (time.time() - status.updated) / 86400
        yield Note("warning", "age", f"last brought up to date {days:.0f} days ago", "mmsearch index, with the same folders")
    elif status.updated is not None:
        yield Note("ok", "age", "brought up to date within the last 90 days")


def _index(collection: Collection) -> Iterator[Note]:
    """Rows behind a derived index; files that are missing or damaged are found by :func:`_sound`."""
    for one in collection.index_states():
        if due := one.due():
            detail = f"{one.kind}s: {due}"
            yield Note("warning", "index", detail, "build it anew; until then searches miss nothing, but take longer")
        elif one.recipe != "exact":
            yield Note("ok", "index", f"{one.kind}s: {one.recipe}, {count(one.tail, 'item')} behind it")


def _hubs(collection: Collection) -> Iterator[Note]:
    found = collection.hubs()
    if not found.items:
        return
    asked = "generic queries" if found.asked == "bank" else "stored items, asked as queries"
    if not found.hubs:
        worst = f"; the most frequent is in {found.worst[0].share:.0%}" if found.worst else ""
        yield Note("ok", "hubs", f"no item comes up in far too many of {found.queries:,} {asked}{worst}")
        return
    names = ", ".join(f"{excerpt(one.id, 40)} ({one.share:.0%})" for one in found.worst[: min(found.hubs, 3)])
    usual = f"{found.expected:.1%}" if found.expected < 0.1 else f"{found.expected:.0%}"
    detail = (f"{count(found.hubs, 'item')} of {found.items:,} {'comes' if found.hubs == 1 else 'come'} up among the first "
              f"{found.k} of far too many of {found.queries:,} {asked} (usual: {usual}): {names}")  # fmt: skip
    yield Note("warning", "hubs", detail, "leave empty or generic pictures out; --rerank fast takes hubs back")


_CHECKS: tuple[Callable[[Collection], Iterator[Note]], ...] = (_model, _sound, _fresh, _index, _hubs)
