"""Copies: a file to keep or to send, a collection beside this one, one that is for reading only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.collection.core import one_of
from mmsearch.collection.indexing import Indexing
from mmsearch.protocols import Encoder, EncoderSpec
from mmsearch.status import PLAN
from mmsearch.types import Kind

if TYPE_CHECKING:
    from mmsearch.backup import ExportReport, ImportReport
    from mmsearch.backup.exporting import Told
    from mmsearch.store import CompactReport
    from mmsearch.store.copying import CopyReport

_Path = str | os.PathLike[str]


class Backup(Indexing):
    """The verbs that make and take copies."""

    def export(self, file: _Path, *, replace: bool = False, told: Told | None = None) -> ExportReport:
        """Write everything to one file: items, vectors, meta, roots, failures, the model's name and fingerprint.

        Searches and writing go on meanwhile. The pictures are not in it. See :func:`mmsearch.backup.exporting.export` and
        ``docs/archive.md``; needs pyarrow.
        """
        from mmsearch.backup import export

        with self._store.snapshot() as snapshot:
            return export(snapshot, self.info, _absolute(file), replace=replace, without=PLAN, told=told)

    @classmethod
    def import_archive(
        cls, file: _Path, path: _Path, *, model: str | Encoder | None = None, told: Told | None = None
    ) -> ImportReport:
        """Make the collection of an archive at ``path``: new, an empty folder or an empty collection.

        With ``model`` the archive must be of that model (:class:`ModelMismatch`). See :func:`mmsearch.backup.restoring.restore`.
        """
        from mmsearch.backup import restore

        fingerprint = None if model is None else _spec(model).fingerprint
        return restore(_absolute(file), _absolute(path), fingerprint=fingerprint, told=told)

    @classmethod
    def import_vectors(
        cls,
        source: _Path,
        path: _Path,
        *,
        model: str | Encoder,
        fingerprint: str | None = None,
        kind: Kind | str = Kind.IMAGE,
        root: _Path | None = None,
        told: Told | None = None,
    ) -> ImportReport:
        """Make a collection at ``path`` of vectors that another program has made with ``model``.

        That is taken on your word: vectors of another model are found at random. ``fingerprint`` is for a model that is
        not on this machine; left out, it is that of ``model`` here. ``root`` is the folder that ids are paths below; a later
        :meth:`sync` of it reads only what has changed since. See :mod:`mmsearch.backup.elsewhere`.
        """
        from mmsearch.backup import Claim, import_vectors
        from mmsearch.roots import RULES, RootRules

        dim = None
        name = model if isinstance(model, str) else model.spec.name
        if fingerprint is None:
            spec = _spec(model)
            name, fingerprint, dim = spec.name, spec.fingerprint, spec.dim
        place = values = None
        if root is not None:
            folder = str(_absolute(root))
            place = os.path.basename(folder) or "root", folder
            values = {RULES: RootRules(bare=place[0]).dump()}
        claim = Claim(name, fingerprint, Kind(one_of("kind", str(kind), "image", "text")), place, values)
        return import_vectors(_absolute(source), _absolute(path), claim, dim=dim, told=told)

    def copy_to(self, folder: _Path, *, link: bool = False) -> CopyReport:
        """Copy the collection as it is now to a new or empty folder, while searches and writing go on.

        The copy is a collection at once; it is whole or not there. ``link`` shares the files of full segments, which are
        never changed, with the copy on the same file system. See :func:`mmsearch.store.copying.copy`.
        """
        with self._store.snapshot() as snapshot:
            return snapshot.copy_to(_absolute(folder), link=link)

    @property
    def sealed(self) -> bool:
        """Whether the collection is for reading only; see :meth:`seal`."""
        return self._store.sealed

    def seal(self, *, wait: float = 0.0) -> CompactReport:
        """Make the collection ready for media that nobody can write: compacted, one catalogue file, writers refused.

        A derived index that is stale is built anew first. Nobody else may have the collection open: raises
        :class:`StorageError` then. :meth:`unseal` undoes it.
        """
        with self._store.writer(wait=wait) as writer:
            report = writer.compact()
        if any(one.recipe != "exact" and one.due() for one in self.index_states()):
            self.build_index(wait=wait)
        self._store.seal()
        return report

    @staticmethod
    def unseal(path: _Path) -> bool:
        """Let writers in again; says whether the collection was sealed."""
        from mmsearch.store.sealing import unseal

        return unseal(_absolute(path))


def _spec(model: str | Encoder) -> EncoderSpec:
    if not isinstance(model, str):
        return model.spec
    from mmsearch import models

    return models.resolve(model).spec


def _absolute(path: _Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))
