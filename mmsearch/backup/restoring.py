"""A collection out of one file. Everything is checked, and nothing is seen of it before all of it is there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.backup import tables, tar
from mmsearch.backup.exporting import Told
from mmsearch.backup.manifest import CHECKSUM, DAMAGED, MANIFEST, MAX_HEADER, MAX_MANIFEST, UNIT, Manifest
from mmsearch.backup.taking import taking
from mmsearch.errors import CollectionCorrupt, ModelMismatch, SourceError
from mmsearch.store import Change, Store
from mmsearch.types import Draft

if TYPE_CHECKING:
    from mmsearch.store import Writer

_BATCH = 4096


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was taken in. ``roots`` are the folders that items say they came from: name → path."""

    items: int
    failures: int
    model: str
    roots: dict[str, str]


def restore(file: Path, folder: Path, *, fingerprint: str | None = None, told: Told | None = None) -> ImportReport:
    """Makes the collection of an archive in ``folder``, which must be new, an empty folder or an empty collection.

    Ids, kinds, groups, texts, meta, roots, failures and small values come back as they were, rows bit for bit, in the same
    order; vids are new. With ``fingerprint`` the archive must be of that model. Reads the file once. Memory holds one
    part. Raises :class:`CollectionCorrupt`, :class:`FormatTooNew`, :class:`ModelMismatch`, :class:`CollectionExists`,
    :class:`SourceError`, :class:`StorageError`, :class:`MissingExtra`.
    """
    tables.pyarrow()
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(file.open("rb"))
        except OSError as error:
            raise SourceError(f"{file}: {error.strerror}") from error
        archive = _Archive(stream)
        manifest = archive.manifest
        if fingerprint is not None and fingerprint != manifest.fingerprint:
            raise ModelMismatch(
                f"the archive was made with {manifest.model} (fingerprint {manifest.fingerprint[:12]}), not with one of "
                f"{fingerprint[:12]}",
                hint="leave the model out: vectors of another model cannot be searched with this one",
            )
        made = stack.enter_context(taking(folder, manifest.fingerprint))
        model, dim = manifest.model, manifest.dim
        with closing(Store.create(made, dim=dim, model=model, fingerprint=manifest.fingerprint)) as store:
            with store.writer() as writer:
                _fill(writer, archive, told)
            _check_count(store, manifest)
    return ImportReport(manifest.items, manifest.failures, manifest.model, dict(manifest.roots))


class _Archive:
    """An open archive whose members and manifest agree."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._places = tar.places(stream, os.fstat(stream.fileno()).st_size)
        data, checksum = self._take(MANIFEST, MAX_MANIFEST), self._take(CHECKSUM, 1000)
        if Manifest.checksum(data) != checksum:
            raise CollectionCorrupt(f"{MANIFEST} of the archive is damaged: its checksum is another", hint=DAMAGED)
        self.manifest = Manifest.load(data)
        if self._places.keys() != self.manifest.members.keys():
            stray = sorted(self._places.keys() ^ self.manifest.members.keys())[0]
            raise CollectionCorrupt(f"manifest and archive do not agree on {stray[:80]!r}", hint=DAMAGED)

    def part(self, name: str) -> tuple[bytes, int]:
        """A member's bytes, which have their checksum, and how many rows it must hold."""
        place, member = self._places[name], self.manifest.members[name]
        if place.size != member.bytes:
            raise CollectionCorrupt(f"{name} of the archive has {place.size} bytes, not {member.bytes}", hint=DAMAGED)
        data = self._read(place)
        if hashlib.sha256(data).hexdigest() != member.sha256:
            raise CollectionCorrupt(f"{name} of the archive is damaged: its checksum is another", hint=DAMAGED)
        return data, member.rows

    def _take(self, name: str, limit: int) -> bytes:
        place = self._places.pop(name, None)
        if place is None or place.size > limit:
            raise CollectionCorrupt(f"there is no {name} in the archive", hint=DAMAGED)
        return self._read(place)

    def _read(self, place: tar.Place) -> bytes:
        self._stream.seek(place.offset)
        data = self._stream.read(place.size)
        if len(data) != place.size:
            raise CollectionCorrupt("the archive became shorter while it was read", hint=DAMAGED)
        return data

    def items(self) -> Iterator[tuple[list[Draft], NDArray[np.float16]]]:
        """Parts of items with their rows ``(n, dim)``."""
        names = zip(self.manifest.parts("items"), self.manifest.parts("vectors"), strict=False)
        for items, vectors in names:
            data, rows = self.part(items)
            drafts = tables.load_items(data, rows)
            data, count = self.part(vectors)
            if count != rows:
                raise CollectionCorrupt(f"{vectors} has {count} rows for {rows} items", hint=DAMAGED)
            yield drafts, load_rows(vectors, data, rows, self.manifest.dim)


def load_rows(name: str, data: bytes, rows: int, dim: int) -> NDArray[np.float16]:
    """The rows of a part of vectors, of length 1. Raises :class:`CollectionCorrupt`.

    The header is read here: it must say just what the manifest says, so there is nothing else that could be in it.
    """
    size = int.from_bytes(data[:8], "little")
    wanted = {"dtype": "F16", "shape": [rows, dim], "data_offsets": [0, rows * dim * 2]}
    try:
        if size > MAX_HEADER - 8 or len(data) != 8 + size + rows * dim * 2:
            raise ValueError("its size")
        header: dict[str, Any] = json.loads(data[8 : 8 + size])
        header.pop("__metadata__", None)
        if header != {"vectors": wanted}:
            raise ValueError("its header")
    except (ValueError, AttributeError, RecursionError) as error:
        raise CollectionCorrupt(f"{name} is not {rows} rows of {dim} numbers: {error}", hint=DAMAGED) from None
    found = np.frombuffer(data, dtype="<f2", offset=8 + size).reshape(rows, dim)
    for start in range(0, rows, _BATCH):
        some = found[start : start + _BATCH].astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", some, some))
        if not (np.abs(lengths - 1) <= UNIT).all():  # also where one is not a number
            worst = start + int(np.flatnonzero(~(np.abs(lengths - 1) <= UNIT))[0])
            raise CollectionCorrupt(f"row {worst} of {name} does not have the length 1", hint=DAMAGED)
    return found


def _fill(writer: Writer, archive: _Archive, told: Told | None) -> None:
    manifest = archive.manifest
    for name, path in manifest.roots.items():
        writer.add_root(name, path)
    done = 0
    for drafts, rows in archive.items():
        for draft in drafts:
            if draft.root is not None and draft.root not in manifest.roots:
                raise CollectionCorrupt(f"the root {draft.root[:80]!r} of item {draft.id[:80]!r} is not known", hint=DAMAGED)
        for start in range(0, len(drafts), _BATCH):
            part = slice(start, start + _BATCH)
            writer.commit(Change(upserts=drafts[part], vectors=rows[part].astype(np.float32)))
        done += len(drafts)
        if told:
            told(done, manifest.items)
    for name in manifest.parts("failures"):
        writer.commit(Change(failures=tables.load_failures(*archive.part(name))))
    for key, value in manifest.values.items():
        writer.set_meta(key, value)


def _check_count(store: Store, manifest: Manifest) -> None:
    with store.snapshot() as snapshot:
        found = snapshot.count(), sum(1 for _ in snapshot.failures())
    if found != (manifest.items, manifest.failures):
        raise CollectionCorrupt("an id is in the archive twice", hint=DAMAGED)
