"""Load → encode → commit, each in its own thread, so that the encoder never waits for a disk.

::

    feeder (a thread)          encoder (a thread)          the calling thread
    loader workers → batches → one encode per batch → … →  one commit per batch, progress

Between them stand short queues: a slow stage holds the others back, and memory stays at a few batches. The calling
thread commits, so an interrupt from the keyboard arrives between two commits.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mmsearch.decoding.loader import Job, Loaded
from mmsearch.errors import InputError, StorageError
from mmsearch.ingest.parcel import Parcel, Read, Recent, Sorter
from mmsearch.ingest.plan import Action, Pending
from mmsearch.protocols import Encoder, Source
from mmsearch.store import Store, Writer
from mmsearch.texts import decode_text
from mmsearch.types import Asset, Failure, Kind, Progress, ProgressFn

QUEUE = 3
"""Batches that may wait before each stage: enough to ride out one slow commit, little enough for memory."""


class ImageLoader(Protocol):
    def load(self, jobs: Iterable[Job]) -> Iterator[Loaded]: ...


@dataclass(slots=True)
class Tally:
    """What has been done so far, and where the time went (seconds)."""

    added: int = 0
    updated: int = 0
    moved: int = 0
    touched: int = 0  # another size or mtime, the same bytes
    reused: int = 0
    skipped: list[Failure] = field(default_factory=list)
    decode: float = 0.0
    encode: float = 0.0
    commit: float = 0.0
    starved: float = 0.0  # the encoder waited for images
    blocked: float = 0.0  # the loader waited for the encoder

    @property
    def done(self) -> int:
        return self.added + self.updated + self.moved + self.touched + len(self.skipped)

    def count(self, parcel: Parcel) -> None:
        rows = len(parcel.drafts) + len(parcel.known_drafts)
        self.added += rows - parcel.replaced
        self.updated += parcel.replaced + parcel.remade
        self.reused += parcel.reused
        self.moved += len(parcel.moves)
        self.touched += len(parcel.touches) - parcel.remade
        self.skipped += parcel.failures


@dataclass(frozen=True, slots=True)
class Stages:
    """What a pipeline is made of."""

    source: Source
    loader: ImageLoader
    encoder: Encoder
    store: Store
    writer: Writer
    sorter: Sorter
    batch_size: int


class _Stop(Exception):
    """The run has been called off."""


class Pipeline:
    """One run over pending assets. ``run`` may be called once."""

    def __init__(
        self,
        stages: Stages,
        *,
        raise_errors: bool = False,
        progress: ProgressFn | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._s = stages
        self._raise_errors = raise_errors
        self._progress = progress
        self._stop = threading.Event()
        self._loaded: queue.Queue[Any] = queue.Queue(QUEUE)
        self._encoded: queue.Queue[Any] = queue.Queue(QUEUE)
        self.tally = tally or Tally()

    def run(self, pending: Iterable[Pending], total: int | None) -> Tally:
        """Index all of ``pending``; returns when all is committed.

        Raises what a stage raised, after everything encoded before it has been committed; :class:`KeyboardInterrupt`
        likewise.
        """
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._guard, args=(self._feed, self._loaded, pending), name="mmsearch-feeder"),
            threading.Thread(target=self._guard, args=(self._encode, self._encoded), name="mmsearch-encoder"),
        ]
        for thread in threads:
            thread.start()
        try:
            while (parcel := self._take(self._encoded)) is not None:
                self._commit(parcel)
                self._report(began, total)
        except BaseException as error:
            self._stop.set()
            if not isinstance(error, StorageError):  # a disk that refused once is left alone
                self._commit_rest()
            raise
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        return self.tally

    # --- the calling thread ---

    def _commit(self, parcel: Parcel) -> None:
        began = time.monotonic()
        root = self._s.sorter.root
        fine = [] if root is None else [(root, draft.path) for draft in parcel.drafts if draft.path is not None]
        self._s.writer.commit(parcel.change(fine))
        self.tally.count(parcel)
        self.tally.commit += time.monotonic() - began

    def _commit_rest(self) -> None:
        while True:
            try:
                parcel = self._encoded.get_nowait()
            except queue.Empty:
                return
            if isinstance(parcel, Parcel):
                self._commit(parcel)

    def _report(self, began: float, total: int | None) -> None:
        if self._progress is None:
            return
        seconds = max(time.monotonic() - began, 1e-9)
        waits = {"encode": min(1.0, self.tally.starved / seconds), "decode": min(1.0, self.tally.blocked / seconds)}
        done = self.tally.done
        self._progress(Progress(done, total, len(self.tally.skipped), "index", done / seconds, waits))

    # --- the feeder ---

    def _feed(self, pending: Iterable[Pending]) -> None:
        images: list[Read] = []
        texts: list[Read] = []
        waiting: dict[int, Pending] = {}
        loose = Parcel(Kind.IMAGE)

        def jobs() -> Iterator[Job]:
            for token, one in enumerate(pending):
                if one.action is Action.REMETA:
                    loose.touches.append(self._s.sorter.remeta(one))
                    loose.remade += 1
                elif one.asset.kind is Kind.TEXT:
                    self._read_text(one, texts, loose)
                else:
                    try:
                        job = self._job(token, one)
                    except InputError as error:
                        loose.failures.append(self._failure(one.asset, error))
                        continue
                    waiting[token] = one
                    yield job
                if len(texts) >= self._s.batch_size:
                    self._send(Kind.TEXT, texts)
                if len(loose) >= 1024:
                    self._send_loose(loose)
                if self._stop.is_set():
                    return

        for loaded in self._s.loader.load(jobs()):
            self.tally.decode += loaded.seconds
            one = waiting.pop(loaded.token)
            if loaded.error is not None:
                loose.failures.append(self._failure(one.asset, loaded.error))
            else:
                size = one.asset.size if loaded.size is None else loaded.size
                mtime_ns = one.asset.mtime_ns if loaded.mtime_ns is None else loaded.mtime_ns
                images.append(Read(one, loaded.digest, loaded.pixels, loaded.info, size, mtime_ns))
            if len(images) >= self._s.batch_size:
                self._send(Kind.IMAGE, images)
        self._send(Kind.IMAGE, images)
        self._send(Kind.TEXT, texts)
        self._send_loose(loose)

    def _job(self, token: int, one: Pending) -> Job:
        expect = frozenset([one.digest]) if one.digest is not None else frozenset()
        locate = getattr(self._s.source, "locate", None)
        path = locate(one.asset) if locate is not None else None
        data = self._s.source.read(one.asset) if path is None else None
        return Job(token=token, path=path, data=data, expect=expect)

    def _read_text(self, one: Pending, texts: list[Read], loose: Parcel) -> None:
        asset = one.asset
        try:
            text = asset.text
            if text is None:
                text = decode_text(self._s.source.read(asset))
            elif not text.strip():
                raise InputError("empty", "the text is empty")
        except InputError as error:
            loose.failures.append(self._failure(asset, error))
            return
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        texts.append(Read(one, digest, text, None, asset.size, asset.mtime_ns))

    def _failure(self, asset: Asset, error: InputError) -> Failure:
        if self._raise_errors:
            raise InputError(error.reason, f"{asset.id}: {error.message}", hint=error.hint)
        detail = f"{error.message} ({error.hint})" if error.hint else error.message
        root = self._s.sorter.root or ""
        return Failure(root, asset.path or asset.id, error.reason, detail, asset.size, asset.mtime_ns)

    def _send(self, kind: Kind, batch: list[Read]) -> None:
        if batch:
            with self._s.store.snapshot() as snapshot:
                parcel = self._s.sorter.sort(kind, batch, snapshot)
            batch.clear()
            began = time.monotonic()
            self._put(self._loaded, parcel)
            self.tally.blocked += time.monotonic() - began

    def _send_loose(self, loose: Parcel) -> None:
        if len(loose):
            touches, failures, remade = loose.touches[:], loose.failures[:], loose.remade
            self._put(self._loaded, Parcel(Kind.IMAGE, touches=touches, failures=failures, remade=remade))
            loose.touches.clear()
            loose.failures.clear()
            loose.remade = 0

    # --- the encoder ---

    def _encode(self) -> None:
        recent = Recent()
        while True:
            began = time.monotonic()
            parcel = self._take(self._loaded)
            if parcel is None:
                return
            if self.tally.encode:  # the first wait is start-up, not a bottleneck
                self.tally.starved += time.monotonic() - began
            if parcel.drafts:
                began = time.monotonic()
                self._encode_parcel(parcel, recent)
                self.tally.encode += time.monotonic() - began
            self._put(self._encoded, parcel)

    def _encode_parcel(self, parcel: Parcel, recent: Recent) -> None:
        digests = [draft.digest for draft in parcel.drafts]
        rows: list[Any] = [recent.get(digest) for digest in digests]
        first: dict[bytes, int] = {}
        fresh = [
            i
            for i, digest in enumerate(digests)
            if rows[i] is None and (digest is None or first.setdefault(digest, i) == i)
        ]
        encode = self._s.encoder.encode_texts if parcel.kind is Kind.TEXT else self._s.encoder.encode_images
        if fresh:
            for i, row in zip(fresh, encode([parcel.inputs[i] for i in fresh]), strict=True):
                rows[i] = row
                recent.put(digests[i], row)
        for i, digest in enumerate(digests):
            if rows[i] is None and digest is not None:
                rows[i] = rows[first[digest]]
        parcel.reused += len(digests) - len(fresh)
        parcel.rows = np.stack(rows)
        parcel.inputs.clear()

    # --- between the threads ---

    def _guard(self, stage: Any, out: queue.Queue[Any], *args: Any) -> None:
        """Run a stage; pass on its end, or the error that ended it."""
        try:
            stage(*args)
            self._put(out, None)
        except _Stop:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            with suppress(_Stop):
                self._put(out, error)

    def _put(self, to: queue.Queue[Any], what: Any) -> None:
        while not self._stop.is_set():
            try:
                return to.put(what, timeout=0.2)
            except queue.Full:
                continue
        raise _Stop

    def _take(self, out: queue.Queue[Any]) -> Parcel | None:
        """The next parcel, ``None`` at the end; raises what the stage before raised."""
        while not self._stop.is_set():
            try:
                what = out.get(timeout=0.2)
            except queue.Empty:
                continue
            if isinstance(what, BaseException):
                raise what
            return what  # type: ignore[no-any-return]
        raise _Stop
