"""The facade: a collection on disk, and all that can be done with it. The only place where the parts are wired."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from mmsearch.cache import Cache
from mmsearch.embed import Embedder
from mmsearch.errors import CollectionError, CollectionNotFound, ItemNotFound, ModelMismatch, UsageError
from mmsearch.protocols import Encoder, EncoderSpec, Source
from mmsearch.ranking import Finisher, Ranking, RankingOptions
from mmsearch.search import Request, absolute_path
from mmsearch.search import search as run_search
from mmsearch.status import UPDATED, Status, status_of
from mmsearch.store import Change, CompactReport, Finding, Store, StoreInfo, Writer
from mmsearch.types import Failure, Hits, IngestReport, Item, Json, Kind, ProgressFn, Query, Record, item, text

if TYPE_CHECKING:
    from mmsearch.ingest import IngestOptions


class Collection:
    """A folder on disk that holds everything searched together. Open one with :meth:`open`; close it, or use ``with``.

    Safe to use from many threads; one process at a time may write, any number may read beside it.

    >>> with Collection.open("./shop", create=True, model="mini") as shop:          # doctest: +SKIP
    ...     shop.sync(Folder("./photos"))
    ...     shop.search("a cat sleeping")[0].path
    """

    def __init__(self, store: Store, encoder: Encoder | None, *, device: str = "auto", precision: str = "auto") -> None:
        self._store = store
        self._encoder = encoder
        self._device, self._precision = device, precision
        self._twin: Encoder | None = None
        self._loading = threading.Lock()
        self._cache = Cache()

    # --- opening ---

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = False,
        model: str | Encoder | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> Collection:
        """Open the collection at ``path``, or make a new one there with ``create=True``.

        ``model`` is a name (``"mini"``, ``"base"``, ``"ViT-B-32/laion2b_s34b_b79k"``, a path) or an encoder. Left out, it
        is the recorded one, and for a new collection the best whose weights are on this machine. Raises
        :class:`CollectionNotFound`, :class:`ModelMismatch` when the vectors are of another model, and
        :class:`CollectionCorrupt`. Takes no lock and loads no weights.
        """
        path = Path(path).expanduser()
        if not Store.exists(path):
            return cls._create(path, create, model, device, precision)
        encoder = None if model is None else _resolve(model, device, precision)
        store = Store.open(path)
        if encoder is not None:
            _check_same(encoder.spec, store.info)
        return cls(store, encoder, device=device, precision=precision)

    @classmethod
    def _create(cls, path: Path, create: bool, model: str | Encoder | None, device: str, precision: str) -> Collection:
        if not create:
            raise CollectionNotFound(
                f"there is no collection at {path}", hint=f"make one: mmsearch -c {path} index FOLDER"
            )
        if path.is_dir() and any(path.iterdir()):
            raise CollectionError(
                f"{path} has files in it and is not a collection", hint="name an empty or a new folder for it"
            )
        if model is None:
            from mmsearch import models

            model = models.default_model()
        encoder = _resolve(model, device, precision)
        spec = encoder.spec
        store = Store.create(path, dim=spec.dim, model=spec.name, fingerprint=spec.fingerprint)
        return cls(store, encoder, device=device, precision=precision)

    @staticmethod
    def exists(path: str | os.PathLike[str]) -> bool:
        """Whether there is a collection at ``path``."""
        return Store.exists(Path(path).expanduser())

    def close(self) -> None:
        """Free the files. Snapshots that are in use end first."""
        self._store.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The folder."""
        return self._store.path

    @property
    def info(self) -> StoreInfo:
        """What was fixed when the collection was made: dimension, model, fingerprint, format."""
        return self._store.info

    @property
    def encoder(self) -> Encoder:
        """The encoder; found by its recorded name on first use. Weights load when it first encodes."""
        with self._loading:
            if self._encoder is None:
                encoder = _resolve(self.info.model, self._device, self._precision)
                _check_same(encoder.spec, self.info)
                self._encoder = encoder
            return self._encoder

    def _query_encoder(self) -> Encoder:
        """The encoder for a few inputs: the exported twin where there is one, which starts without torch."""
        if self._encoder is None and self._device in ("auto", "cpu") and self._precision == "auto":
            from mmsearch import models

            with self._loading:
                self._twin = self._twin or models.twin(self.info.fingerprint)
        return self._twin or self.encoder

    # --- writing ---

    def sync(
        self,
        source: Source,
        *,
        on_error: str = "record",
        progress: ProgressFn | None = None,
        prune: bool = True,
        checksum: bool = False,
        dry_run: bool = False,
        wait: float = 0.0,
        options: IngestOptions | None = None,
    ) -> IngestReport:
        """Bring the items of ``source`` up to date: new, changed, moved and gone files.

        A file that cannot be read is named in the report and the run goes on (``on_error="raise"`` stops at it).
        ``prune=False`` keeps items whose file is gone; ``checksum`` reads every file and trusts no mtime; ``dry_run``
        only says what would be done. Another writer is waited for ``wait`` seconds, then :class:`LockedError` is raised.
        After an interrupt or a kill the next call goes on where this one stopped; at most one batch is done twice.
        """
        from mmsearch.ingest import IngestOptions, Rules, Target, sync
        from mmsearch.roots import RULES, RootRules, find_root

        options = options or IngestOptions()
        rules = Rules(on_error=_one_of("on_error", on_error, "record", "raise"), prune=prune, checksum=checksum)
        with self._writing(wait, dry_run) as writer:
            roots = self.roots()
            place = find_root(roots, RootRules.load(self._stored(RULES)), source)

            def record_root(writer: Writer) -> None:
                if place.name not in roots:
                    writer.add_root(place.name, place.source.root)
                    writer.set_meta(RULES, place.rules.dump())

            target = Target(self._store, writer, lambda: self.encoder, progress, record_root)
            return sync(place.source, target, root=place.name, prefix=place.prefix, rules=rules, options=options)

    def add(
        self,
        items: Iterable[Item],
        *,
        on_error: str = "raise",
        progress: ProgressFn | None = None,
        wait: float = 0.0,
        options: IngestOptions | None = None,
    ) -> IngestReport:
        """Add items, or replace those with the same id. Searchable when the call returns.

        With ``on_error="raise"`` the first item that cannot be read raises :class:`InputError`; what came before it stays.
        """
        from mmsearch.ingest import IngestOptions, Rules, Target, add

        rules = Rules(on_error=_one_of("on_error", on_error, "record", "raise"))
        with self._writing(wait) as writer:
            target = Target(self._store, writer, lambda: self.encoder, progress)
            return add(items, target, rules=rules, options=options or IngestOptions())

    def delete(self, ids: Iterable[str], *, wait: float = 0.0) -> int:
        """Delete items by id; ids that do not exist are passed over. Returns how many were deleted."""
        wanted = list(ids)
        with self._writing(wait) as writer:
            assert writer is not None
            with self._store.snapshot() as snapshot:
                vids = [record.vid for record in snapshot.by_id(wanted).values()]
            writer.commit(Change(deletes=vids))
        return len(vids)

    @contextmanager
    def _writing(self, wait: float, dry_run: bool = False) -> Iterator[Writer | None]:
        if dry_run:
            yield None
            return
        with self._store.writer(wait=wait) as writer:
            yield writer
            writer.set_meta(UPDATED, repr(time.time()))

    # --- searching ---

    def search(
        self,
        query: Query | str,
        *,
        kind: Kind | str | None = None,
        k: int = 10,
        offset: int = 0,
        where: str | None = None,
        params: Mapping[str, Json] | None = None,
        group_by: str | None = None,
        **ranking: Unpack[RankingOptions],
    ) -> Hits:
        """The ``k`` items nearest to ``query``, best first, those before ``offset`` left out.

        ``kind`` is ``"image"``, ``"text"`` or ``"any"`` (both, fused by rank); left out, it is images when there are any.
        ``where`` is a condition over the items' fields, such as ``"price < :p and brand = 'Acme'"``, its ``:names`` bound from
        ``params``; k hits come back whenever k items satisfy it. ``group_by`` (``"group"`` or a field of meta) gives the best
        hit of each group. What else may be given orders and cuts the hits: ``rerank``, ``boost``, ``collapse``, ``diversity``,
        ``cutoff``, ``relevance``, ``lexical``, ``candidates`` (see :class:`mmsearch.ranking.Ranking`). Raises
        :class:`QueryError`, :class:`FilterError`, :class:`ItemNotFound`, :class:`ImageError`.
        """
        request = Request(
            text(query) if isinstance(query, str) else query,
            kinds=_kinds(kind),
            k=k,
            offset=offset,
            where=where,
            params=params or {},
            group_by=group_by,
        )
        return self._answer(request, ranking)

    def similar(
        self,
        id: str,
        *,
        kind: Kind | str | None = None,
        k: int = 10,
        offset: int = 0,
        where: str | None = None,
        params: Mapping[str, Json] | None = None,
        group_by: str | None = None,
        **ranking: Unpack[RankingOptions],
    ) -> Hits:
        """Items like the one stored under ``id``, that one left out; by default of its own kind. See :meth:`search`."""
        request = Request(
            item(id),
            kinds=_kinds(kind or self.get(id).kind),
            k=k,
            offset=offset,
            where=where,
            params=params or {},
            group_by=group_by,
            exclude=frozenset([id]),
        )
        return self._answer(request, ranking)

    def _answer(self, request: Request, options: RankingOptions) -> Hits:
        from mmsearch.indexes.exact import ExactIndex

        ranking = Ranking(**options)
        request = replace(request, lexical=ranking.lexical, candidates=ranking.depth)
        with self._store.snapshot() as snapshot:
            finish = Finisher.of(ranking, snapshot, self._query_encoder, self._cache)
            embed = Embedder(snapshot, self._query_encoder, self._cache, self.info.dim)
            index = ExactIndex(snapshot)
            return run_search(request, snapshot, embed=embed, index=index, cache=self._cache, finish=finish)

    # --- looking ---

    def get(self, id: str) -> Record:
        """The item stored under ``id``. Raises :class:`ItemNotFound`."""
        with self._store.snapshot() as snapshot:
            record = snapshot.by_id([id]).get(id)
        if record is None:
            raise ItemNotFound(
                f"no item has the id {id!r}", hint="`mmsearch query --jsonl` shows the ids of what it finds"
            )
        return record

    def locate(self, record: Record) -> str | None:
        """The absolute path of the item's file, ``None`` for an item that came from no file."""
        return absolute_path(record, self.roots())

    def __len__(self) -> int:
        with self._store.snapshot() as snapshot:
            return snapshot.count()

    def __contains__(self, id: object) -> bool:
        with self._store.snapshot() as snapshot:
            return isinstance(id, str) and id in snapshot.by_id([id])

    def status(self) -> Status:
        """Counts, places, sizes and what searches run on. Costs milliseconds, whatever the size."""
        with self._store.snapshot() as snapshot:
            return status_of(snapshot, self.info, self.path)

    def failures(self) -> list[Failure]:
        """The files that were skipped, and why."""
        with self._store.snapshot() as snapshot:
            return list(snapshot.failures())

    def fields(self) -> dict[str, str]:
        """The names that a ``where`` condition may use, each with its type."""
        with self._store.snapshot() as snapshot:
            return snapshot.fields()

    # --- care ---

    def verify(self) -> list[Finding]:
        """Check everything: checksums of all rows, the catalogue, the files. Reads the whole collection."""
        return self._store.verify()

    def repair(self) -> list[Finding]:
        """Rebuild all that is derived, and mark rows that are damaged so that the next sync encodes just those."""
        return self._store.repair()

    def compact(self, *, wait: float = 0.0) -> CompactReport:
        """Give back the space of deleted items. Searches go on meanwhile."""
        with self._store.writer(wait=wait) as writer:
            return writer.compact()

    def roots(self) -> dict[str, str]:
        """The folders and files that items came from: name → absolute path."""
        with self._store.snapshot() as snapshot:
            return snapshot.roots()

    def move_root(self, name: str, path: str | os.PathLike[str], *, wait: float = 0.0) -> None:
        """Say that what lay below a root lies elsewhere now; nothing is read or encoded."""
        self._known_root(name)
        with self._store.writer(wait=wait) as writer:
            writer.move_root(name, os.path.abspath(os.path.expanduser(path)))

    def remove_root(self, name: str, *, wait: float = 0.0) -> int:
        """Forget a root and delete its items; the files stay. Returns how many items were deleted."""
        self._known_root(name)
        with self._store.writer(wait=wait) as writer:
            return writer.remove_root(name)

    def _stored(self, name: str) -> str | None:
        with self._store.snapshot() as snapshot:
            return snapshot.meta(name)

    def _known_root(self, name: str) -> None:
        if name not in (roots := self.roots()):
            raise UsageError(f"no root is called {name!r}", hint=f"there are: {', '.join(sorted(roots)) or 'none'}")


def _resolve(model: str | Encoder, device: str, precision: str) -> Encoder:
    if not isinstance(model, str):
        return model
    from mmsearch import models

    return models.resolve(model, device=device, precision=precision)


def _check_same(spec: EncoderSpec, info: StoreInfo) -> None:
    if spec.fingerprint != info.fingerprint:
        raise ModelMismatch(
            f"the collection was made with {info.model} (fingerprint {info.fingerprint[:12]}), "
            f"not with {spec.name} ({spec.fingerprint[:12]})",
            hint="its weights are others now: index into a new collection"
            if spec.name == info.model
            else f"leave the model out, or make another collection for {spec.name}",
        )


def _kinds(kind: Kind | str | None) -> tuple[Kind, ...] | None:
    if kind is None:
        return None
    return tuple(Kind) if kind == "any" else (Kind(_one_of("kind", str(kind), "image", "text", "any")),)


def _one_of(name: str, value: str, *allowed: str) -> str:
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}, and must be one of: {', '.join(allowed)}")
    return value
