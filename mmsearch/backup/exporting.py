"""A collection into one file, as one commit left it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from mmsearch.backup import tables, tar
from mmsearch.backup.manifest import CHECKSUM, MANIFEST, MAX_TABLE, PART_ROWS, Manifest, Member, part_name
from mmsearch.errors import CollectionCorrupt, StorageError, UsageError
from mmsearch.store import Snapshot, StoreInfo

T = TypeVar("T")
Told = Callable[[int, int], None]
"""Told how many items are done, of how many."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an archive holds; ``bytes`` is the size of the file."""

    items: int
    failures: int
    bytes: int


def export(
    snapshot: Snapshot, info: StoreInfo, file: Path, *, replace: bool = False, without: str = "\0", told: Told | None = None
) -> ExportReport:
    """Writes all of a snapshot to ``file``: items, vectors, failures, roots, small values, model and fingerprint.

    The file is complete, and on the medium, when it gets its name; of a run that was killed ``FILE.partial`` stays. Equal
    content in the same order gives equal bytes. Memory holds one part of 32,768 items; a writer beside it goes on, but
    its log is emptied only afterwards. Values whose names begin with ``without`` are left out. Raises :class:`UsageError`
    if ``file`` is there and not ``replace``, :class:`CollectionCorrupt` for damaged rows, :class:`StorageError`,
    :class:`MissingExtra` without pyarrow.
    """
    tables.pyarrow()
    if file.exists() and not replace:
        raise UsageError(f"{file} is there already", hint="name another file, or give --force")
    if broken := snapshot.damaged_rows():
        raise CollectionCorrupt(f"rows of segment {broken[0].id} are damaged, and are not exported", hint="mmsearch repair")
    partial = file.with_name(file.name + ".partial")
    try:
        with partial.open("wb") as out:
            report = _write(snapshot, info, _Writer(out), without, told)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, file)
        _sync_folder(file.absolute().parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise _storage_error(file, error) from error
        raise
    return report


class _Writer:
    """Members into a tar file, with their checksums."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.members: dict[str, Member] = {}

    def add(self, name: str, data: bytes, rows: int) -> None:
        for piece in (tar.header(name, len(data)), data, tar.padding(len(data))):
            self._out.write(piece)
        if name not in (MANIFEST, CHECKSUM):
            self.members[name] = Member(hashlib.sha256(data).hexdigest(), len(data), rows)

    def end(self) -> int:
        self._out.write(tar.END)
        return self._out.tell()


def _write(snapshot: Snapshot, info: StoreInfo, out: _Writer, without: str, told: Told | None) -> ExportReport:
    from safetensors.numpy import save

    vids = snapshot.live().vids
    size = min(PART_ROWS, MAX_TABLE // (4 * info.dim))
    for at, start in enumerate(range(0, len(vids), size)):
        part = vids[start : start + size]
        out.add(part_name("items", at, "parquet"), tables.dump_items(snapshot.records(part)), len(part))
        rows = snapshot.fetch_stored(part).astype("<f2", copy=False)
        out.add(part_name("vectors", at, "safetensors"), save({"vectors": np.ascontiguousarray(rows)}), len(part))
        if told:
            told(start + len(part), len(vids))
    failures = 0
    for at, some in enumerate(batched(snapshot.failures(), PART_ROWS)):
        out.add(part_name("failures", at, "parquet"), tables.dump_failures(some), len(some))
        failures += len(some)
    manifest = Manifest(
        model=info.model,
        fingerprint=info.fingerprint,
        dim=info.dim,
        items=len(vids),
        failures=failures,
        roots=snapshot.roots(),
        values={name: value for name, value in snapshot.kept().items() if not name.startswith(without)},
        members=out.members,
    )
    described = manifest.dump()
    out.add(MANIFEST, described, 0)
    out.add(CHECKSUM, manifest.checksum(described), 0)
    return ExportReport(len(vids), failures, out.end())


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size``, the last one shorter."""
    source = iter(values)
    while part := list(islice(source, size)):
        yield part


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _storage_error(file: Path, error: OSError) -> StorageError:
    raised = StorageError(f"cannot write {file}: {error.strerror or error}", hint="name a place with room that you may write")
    raised.errno = error.errno
    return raised
