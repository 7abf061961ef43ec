"""A collection that comes into being whole or not at all: it is made beside its place and takes its name last."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmsearch.errors import CollectionError, CollectionExists
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.lock import WriterLock

_INSIDE = "collection"
_NEW = "catalog.db.new"


@contextmanager
def staged(folder: Path, disk: Disk) -> Iterator[Path]:
    """An empty folder to fill, which becomes ``folder`` when the block ends; where the block raises, nothing is left.

    It lies in ``.NAME.partial`` beside it, so on the same file system. A run that was killed leaves that behind, and the
    next one for the same place clears it. What is filled in must be synced by the caller, the names in it too. A catalogue
    that is filled in as :attr:`Layout.new_catalog` gets its name after the folder: until then there is no collection. Raises
    :class:`CollectionExists` or :class:`CollectionError` where ``folder`` is taken, :class:`LockedError` where
    another process is making it, :class:`StorageError`.
    """
    folder = folder.absolute()
    if not Layout(folder).catalog.exists():
        _clear_unfinished(folder)
    refuse_taken(folder)
    partial = folder.parent / f".{folder.name}.partial"
    above = [folder.parent, *(one.parent for one in folder.parents if not one.exists())]  # they get a new name
    disk.make_folder(partial)
    lock = WriterLock(Layout(partial).lock, disk)
    lock.acquire()
    try:
        shutil.rmtree(partial / _INSIDE, ignore_errors=True)
        disk.make_folder(partial / _INSIDE)
        yield partial / _INSIDE
        refuse_taken(folder)
        disk.sync_folder(partial / _INSIDE)
        disk.rename(partial / _INSIDE, folder)
        for one in above:
            disk.sync_folder(one)
        final = Layout(folder)
        if final.new_catalog.exists():
            disk.rename(final.new_catalog, final.catalog)
            disk.sync_folder(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.release()


def _clear_unfinished(folder: Path) -> None:
    """Removes what a run left that was killed between the folder's name and the catalogue's, and nothing else."""
    with suppress(OSError):
        if {one.name for one in folder.iterdir()} in ({_NEW, "vectors"}, {_NEW, "vectors", "indexes"}):
            shutil.rmtree(folder)


def refuse_taken(folder: Path) -> None:
    """Raises unless ``folder`` is new or an empty folder."""
    if Layout(folder).catalog.exists():
        raise CollectionExists(f"there is a collection in {folder} already", hint="name a new or an empty folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CollectionError(f"{folder} has files in it and is not a collection", hint="name a new or an empty folder")
