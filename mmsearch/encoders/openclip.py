"""Any model of open_clip: a published one, a local checkpoint, a local folder. The adapter for torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import _checkpoint
from mmsearch.encoders._batches import Batches
from mmsearch.encoders._facts import file_sha256
from mmsearch.encoders._identity import dimension, fingerprint
from mmsearch.encoders._patience import import_torch
from mmsearch.encoders._tokenize import Tokenizer, tokenizer_for
from mmsearch.errors import ModelCorrupt, UsageError
from mmsearch.protocols import EncoderSpec, ImagePreparer
from mmsearch.types import Vectors

if TYPE_CHECKING:
    from mmsearch.encoders._towers import Towers

__all__ = ["OpenClipEncoder"]

_PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_BATCH = {"cpu": 32, "mps": 64, "cuda": 256}


class OpenClipEncoder:
    """Satisfies :class:`mmsearch.protocols.Encoder` for every model that open_clip can build.

    ``name`` is one of the forms of :mod:`mmsearch.encoders._checkpoint`: ``ViT-B-32/laion2b_s34b_b79k``,
    ``ViT-B-32:/path/weights.safetensors``, ``local-dir:/path``, ``hf-hub:org/name``. Nothing is ever downloaded here:
    :func:`mmsearch.models.pull` does that.

    ``device`` is ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; ``precision`` is ``auto``, ``fp32``, ``bf16`` or
    ``fp16`` (``auto``: bf16 where the hardware has it and a probe batch stays within a cosine of 0.999 of fp32).
    ``batch_size`` ``None`` begins at what suits the device; in any case it is halved when memory runs out.

    Making one is free. :attr:`spec` reads the configuration and hashes the weights (0.5 s per GB, remembered); the
    first ``encode_*`` imports torch and open_clip (5 s) and loads the weights, once, under a lock.

    Raises :class:`ModelNotFound`, :class:`ModelCorrupt`, :class:`UsageError`, :class:`MissingExtra` — on first use.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        model_dir: Path | None = None,
        allow_pickle: bool = False,
        licence: str = "unknown",
    ) -> None:
        if precision not in _PRECISIONS:
            raise UsageError(f"no precision is called {precision!r}", hint=f"precisions: {', '.join(_PRECISIONS)}")
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"a batch of {batch_size} is not possible", hint="leave it out, or give 1 or more")
        self._name, self._device, self._precision = name, device, precision
        self._batch_size, self._model_dir = batch_size, model_dir
        self._allow_pickle, self._licence = allow_pickle, licence
        self._lock = threading.RLock()
        self._checkpoint: _checkpoint.Checkpoint | None = None
        self._tokenizer: Tokenizer | None = None
        self._spec: EncoderSpec | None = None
        self._loaded: tuple[Towers, Batches] | None = None

    @property
    def spec(self) -> EncoderSpec:
        """Without loading the weights. ``precision`` is ``auto`` until they are loaded, then what was chosen."""
        with self._lock:
            if self._spec is None:
                self._spec = self._describe()
            return self._spec

    @property
    def preparer(self) -> ImagePreparer:
        """open_clip's own inference transform of this model, up to the floats."""
        return self.checkpoint.preprocessing.preparer()

    @property
    def batch_size(self) -> int:
        """Rows in one pass of the model; shrinks when memory runs out. Loads the model."""
        return self._load()[1].size

    @property
    def towers(self) -> Towers:
        """The torch model and what is known of it; loads it. For export, training and captions."""
        return self._load()[0]

    def encode_images(self, batch: Sequence[NDArray[np.uint8]]) -> Vectors:
        """``(n, dim)`` unit rows of ``n`` arrays ``(height, width, 3)`` that the preparer made, in order."""
        dim = self.spec.dim
        if not len(batch):
            return np.zeros((0, dim), dtype=np.float32)
        pre = self.checkpoint.preprocessing
        for pixels in batch:
            if pixels.shape != (pre.height, pre.width, 3) or pixels.dtype != np.uint8:
                raise UsageError(
                    f"{self.spec.name} takes uint8 arrays ({pre.height}, {pre.width}, 3), and got {pixels.dtype} "
                    f"{pixels.shape}",
                    hint="make them with encoder.preparer",
                )
        towers, batches = self._load()
        return batches.run(batch, dim, towers.images)

    def encode_texts(self, batch: Sequence[str]) -> Vectors:
        """``(n, dim)`` unit rows of ``n`` texts, in order; too long ones are cut at the context length.

        Texts are sorted by length inside, so that short ones do not pay for long ones (5–6 times the texts per second).
        """
        dim = self.spec.dim
        if not len(batch):
            return np.zeros((0, dim), dtype=np.float32)
        towers, batches = self._load()
        rows = towers.tokenizer.rows(batch)
        order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
        out = np.empty((len(rows), dim), dtype=np.float32)
        out[order] = batches.run([rows[at] for at in order], dim, towers.texts)
        return out

    @property
    def checkpoint(self) -> _checkpoint.Checkpoint:
        """Which files the model is made of."""
        with self._lock:
            if self._checkpoint is None:
                self._checkpoint = _checkpoint.find(
                    self._name, model_dir=self._model_dir, allow_pickle=self._allow_pickle
                )
            return self._checkpoint

    @property
    def tokenizer(self) -> Tokenizer:
        """Texts to token ids; part of the fingerprint."""
        with self._lock:
            if self._tokenizer is None:
                found = self.checkpoint
                folder = Path(found.source.removeprefix("local-dir:")) if found.pretrained is None else None
                self._tokenizer = tokenizer_for(
                    found.source, found.model_cfg, folder=folder, model_dir=self._model_dir
                )
            return self._tokenizer

    def _describe(self) -> EncoderSpec:
        found = self.checkpoint
        return EncoderSpec(
            name=found.name,
            dim=dimension(found.model_cfg.get("embed_dim")),
            fingerprint=fingerprint(
                weights=_checked_sha256(found.weights),
                model_cfg=found.model_cfg,
                preprocessing=found.preprocessing,
                tokenizer=self.tokenizer.identity,
            ),
            licence=self._licence,
            image_size=(found.preprocessing.width, found.preprocessing.height),
            context_length=found.context_length,
            precision=self._precision,
        )

    def _load(self) -> tuple[Towers, Batches]:
        if self._loaded is not None:
            return self._loaded
        with self._lock:
            if self._loaded is None:
                spec, found = self.spec, self.checkpoint
                import_torch()
                from mmsearch.encoders import _towers

                device = _towers.pick_device(self._device)
                towers = _towers.load(
                    found,
                    self.tokenizer,
                    identity=spec.fingerprint,
                    device=device,
                    precision=self._precision,
                )
                size = self._batch_size or _BATCH.get(device.type, 32)
                batches = Batches(size, is_full=_towers.is_out_of_memory, free=_towers.free_memory)
                self._spec = replace(spec, precision=towers.precision)
                self._loaded = towers, batches
            return self._loaded


def _checked_sha256(weights: Path) -> str:
    """The file's SHA-256. In the Hugging Face cache a file is stored under its own, so a broken one is seen here."""
    digest = file_sha256(weights)
    stored = weights.resolve()
    if stored.parent.name == "blobs" and len(stored.name) == 64 and stored.name != digest:
        raise ModelCorrupt(
            f"{weights.name} in the model cache is broken: its SHA-256 is not the published one",
            hint=f"delete {stored} and fetch the model again",
        )
    return digest
