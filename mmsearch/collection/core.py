"""What every part of the facade stands on: the open store, the encoder, the cache of answers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mmsearch.cache import Cache
from mmsearch.collection.routing import Opened
from mmsearch.errors import CollectionError, CollectionNotFound, ModelMismatch, UsageError
from mmsearch.protocols import Encoder, EncoderSpec
from mmsearch.status import UPDATED
from mmsearch.store import Store, StoreInfo
from mmsearch.textvectors import TextVectors

if TYPE_CHECKING:
    from mmsearch.store import Writer


class Core:
    """An open collection without its verbs; see :class:`mmsearch.Collection`."""

    _remembered: TextVectors | None = None

    def __init__(self, store: Store, encoder: Encoder | None, *, device: str = "auto", precision: str = "auto") -> None:
        self._store = store
        self._encoder = encoder
        self._device, self._precision = device, precision
        self._twin: Encoder | None = None
        self._loading = threading.Lock()
        self._cache = Cache()
        self._index_files = Opened()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = False,
        model: str | Encoder | None = None,
        device: str = "auto",
        precision: str = "auto",
        remember: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Open the collection at ``path``, or make a new one there with ``create=True``.

        ``model`` is a name (``"mini"``, ``"base"``, ``"ViT-B-32/laion2b_s34b_b79k"``, a path) or an encoder. Left out, it
        is the recorded one, and for a new collection the best whose weights are on this machine. Raises
        :class:`CollectionNotFound`, :class:`ModelMismatch` when the vectors are of another model, and
        :class:`CollectionCorrupt`. Takes no lock and loads no weights.

        ``remember`` is a folder where the vectors of searched texts are kept, so that a later process need not load the
        model for them (:mod:`mmsearch.textvectors`).
        """
        path = Path(os.path.expanduser(path))
        if Store.exists(path):
            encoder = None if model is None else _resolve(model, device, precision)
            store = Store.open(path)
            if encoder is not None:
                _check_same(encoder.spec, store.info)
            opened = cls(store, encoder, device=device, precision=precision)
        else:
            opened = cls._create(path, create, model, device, precision)
        if remember is not None:
            folder = Path(os.path.expanduser(remember), opened.info.fingerprint[:32])
            opened._remembered = TextVectors(folder, opened.info.dim)
        return opened

    @classmethod
    def _create(cls, path: Path, create: bool, model: str | Encoder | None, device: str, precision: str) -> Self:
        if not create:
            raise CollectionNotFound(f"there is no collection at {path}", hint=f"make one: mmsearch -c {path} index FOLDER")
        if path.is_dir() and any(path.iterdir()):
            raise CollectionError(f"{path} has files in it and is not a collection", hint="name an empty or a new folder for it")
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
        return Store.exists(Path(os.path.expanduser(path)))

    def close(self) -> None:
        """Free the files. Snapshots that are in use end first."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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

    @contextmanager
    def _writing(self, wait: float, dry_run: bool = False) -> Iterator[Writer | None]:
        if dry_run:
            yield None
            return
        with self._store.writer(wait=wait) as writer:
            yield writer
            writer.set_meta(UPDATED, repr(time.time()))

    def _stored(self, name: str) -> str | None:
        with self._store.snapshot() as snapshot:
            return snapshot.meta(name)


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


def one_of(name: str, value: str, *allowed: str) -> str:
    """``value`` if it is one of those allowed. Raises :class:`UsageError`."""
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}, and must be one of: {', '.join(allowed)}")
    return value
