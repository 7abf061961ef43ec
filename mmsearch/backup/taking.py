"""The place of a collection that is taken in: new, or one that is still empty."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsearch.errors import CollectionExists, ModelMismatch
from mmsearch.store import Disk, Store
from mmsearch.store.staging import staged


@contextmanager
def taking(folder: Path, fingerprint: str) -> Iterator[Path]:
    """A folder to make a collection in, which becomes ``folder`` at the end; see :func:`mmsearch.store.staging.staged`.

    Raises :class:`CollectionExists` if a collection with items is there, :class:`ModelMismatch` for an empty one of another
    model.
    """
    if not Store.exists(folder):
        with staged(folder, Disk()) as made:
            yield made
        return
    _refuse_unless_empty(folder, fingerprint)
    beside = folder.absolute().with_name(f".{folder.name}.taken")
    shutil.rmtree(beside, ignore_errors=True)  # of a run that was killed
    with staged(beside, Disk()) as made:
        yield made
    with Store.open(folder) as old, old.writer():  # nobody writes into it from here on
        _refuse_unless_empty(folder, fingerprint, clear=beside)
        away = folder.absolute().with_name(f".{folder.name}.empty")
        disk = Disk()
        disk.rename(folder, away)
        disk.rename(beside, folder)
        disk.sync_folder(folder.absolute().parent)
    shutil.rmtree(away, ignore_errors=True)


def _refuse_unless_empty(folder: Path, fingerprint: str, clear: Path | None = None) -> None:
    with Store.open(folder) as store, store.snapshot() as snapshot:
        items, theirs = snapshot.count(), store.info.fingerprint
    if items and clear is not None:
        shutil.rmtree(clear, ignore_errors=True)
    if items:
        raise CollectionExists(f"the collection in {folder} has {items:,} items", hint="import into a new one: -c NEW_FOLDER")
    if theirs != fingerprint:
        raise ModelMismatch(
            f"the empty collection in {folder} is for another model ({theirs[:12]}, not {fingerprint[:12]})",
            hint="import into a new folder: -c NEW_FOLDER",
        )
