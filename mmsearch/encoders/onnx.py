"""Models as ONNX graphs, run by onnxruntime: the built-in ``mini``, and exported twins of open_clip models. No torch.

A folder holds ``image.onnx``, ``text.onnx``, ``open_clip_config.json`` and a description, ``encoder.json``
(``mini.json`` for mini); ``mini/FORMAT.md`` has it in full. The description MUST name each file's SHA-256. An exported
twin's has beside that ``weights_sha256`` (of the weights that the graphs were made from, so that both have one
fingerprint) and ``text_cut`` (whether rows of tokens may be shorter than the context).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders._batches import Batches
from mmsearch.encoders._checkpoint import absolute, read_config
from mmsearch.encoders._facts import file_sha256
from mmsearch.encoders._identity import Preprocessing, dimension, fingerprint
from mmsearch.encoders._tokenize import Tokenizer, pad, tokenizer_for
from mmsearch.errors import ModelCorrupt, ModelNotFound, UsageError
from mmsearch.protocols import EncoderSpec, ImagePreparer
from mmsearch.types import Vectors

__all__ = ["CONFIG", "DESCRIPTIONS", "FORMAT", "MINI", "OnnxEncoder", "mini"]

FORMAT = 1
DESCRIPTIONS = ("encoder.json", "mini.json")
CONFIG = "open_clip_config.json"
MINI = Path(__file__).parent / "mini"
_QUICK_RUNS = 4
"""A text tower that answers a query or two is loaded without optimising its graph: 12 ms instead of 36, then 5 ms more a run."""


class OnnxEncoder:
    """Satisfies :class:`mmsearch.protocols.Encoder` for a folder of ONNX towers, on the CPU.

    Making one is free. :attr:`spec` reads two small files; the first ``encode_texts`` checks and loads the text tower
    alone, the first ``encode_images`` the image tower alone, each once, under a lock. ``threads`` is the number for one
    pass (``None``: the cores that this process may use).

    Raises, on first use, :class:`ModelNotFound` (no such folder), :class:`ModelCorrupt` (a file whose SHA-256 is not
    the recorded one, a graph that does not load).

    >>> OnnxEncoder("/nowhere").spec
    Traceback (most recent call last):
    mmsearch.errors.ModelNotFound: /nowhere is not a folder with an ONNX model
    """

    def __init__(
        self, folder: str | Path, *, name: str | None = None, threads: int | None = None, batch_size: int | None = None
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads are not possible", hint="leave it out, or give 1 or more")
        self._folder = absolute(folder)
        self._name = name or f"onnx:{self._folder}"
        self._threads = threads or cores()
        self._batches = Batches(batch_size or 32, is_full=_is_out_of_memory)
        self._lock = threading.RLock()
        self._about: _About | None = None
        self._sessions: dict[str, Any] = {}
        self._quick_runs = 0

    @property
    def spec(self) -> EncoderSpec:
        """From the description alone: no hash is computed and nothing is loaded, ~1 ms."""
        return self._described().spec

    @property
    def preparer(self) -> ImagePreparer:
        """open_clip's own inference transform of this model, up to the floats."""
        return self._described().preprocessing.preparer()

    def encode_images(self, batch: Sequence[NDArray[np.uint8]]) -> Vectors:
        """``(n, dim)`` unit rows of ``n`` arrays ``(height, width, 3)`` that the preparer made, in order."""
        about = self._described()
        pre = about.preprocessing
        for pixels in batch:
            if pixels.shape != (pre.height, pre.width, 3) or pixels.dtype != np.uint8:
                raise UsageError(
                    f"{about.spec.name} takes uint8 arrays ({pre.height}, {pre.width}, 3), and got {pixels.dtype} "
                    f"{pixels.shape}",
                    hint="make them with encoder.preparer",
                )

        def encode(part: Sequence[NDArray[np.uint8]]) -> Vectors:
            from mmsearch.preprocess import normalize

            return self._run("image", "pixels", normalize(part, pre.mean, pre.std))

        return self._batches.run(batch, about.spec.dim, encode)

    def encode_texts(self, batch: Sequence[str]) -> Vectors:
        """``(n, dim)`` unit rows of ``n`` texts, in order; too long ones are cut at the context length."""
        about = self._described()
        rows = about.tokenizer.rows(batch) if len(batch) else []
        order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
        full = about.tokenizer.context_length

        def encode(part: Sequence[list[int]]) -> Vectors:
            length = max(map(len, part)) if about.text_cut else full
            return self._run("text", "tokens", pad(part, length, about.tokenizer.padding))

        out = np.empty((len(rows), about.spec.dim), dtype=np.float32)
        out[order] = self._batches.run([rows[at] for at in order], about.spec.dim, encode)
        return out

    def verify(self) -> None:
        """Compare every file with its recorded SHA-256 (~0.5 ms per MB). Raises :class:`ModelCorrupt`."""
        about = self._described()
        for file in about.files:
            about.check(file, fresh=True)

    def _described(self) -> _About:
        with self._lock:
            if self._about is None:
                self._about = _About(self._folder, self._name)
            return self._about

    def _run(self, tower: str, name: str, values: NDArray[Any]) -> Vectors:
        quick = tower == "text" and len(values) == 1 and self._quick_runs < _QUICK_RUNS and tower not in self._sessions
        self._quick_runs += quick
        session = self._sessions.get(f"{tower} quick" if quick else tower) or self._load(tower, quick=quick)
        rows: Vectors = session.run(["embedding"], {name: values})[0]
        return rows

    def _load(self, tower: str, *, quick: bool) -> Any:
        with self._lock:
            key = f"{tower} quick" if quick else tower
            if key not in self._sessions:
                about = self._described()
                for file in about.files_of(tower):
                    about.check(file)
                self._sessions[key] = load_session(self._folder / f"{tower}.onnx", self._threads, optimize=not quick)
                if not quick:
                    self._sessions.pop(f"{tower} quick", None)
            return self._sessions[key]


class _About:
    """A folder's description, read and checked for sense."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        about = _read(folder)
        model_cfg, preprocess_cfg = read_config(folder)
        try:
            if about["format"] != FORMAT:
                raise ModelCorrupt(
                    f"{folder} has format {about['format']}, and this mmsearch reads {FORMAT}",
                    hint="update mmsearch, or export the model again",
                )
            self.files: dict[str, str] = {file: entry["sha256"] for file, entry in about["files"].items()}
            weights = about.get("weights_sha256") or self.files["open_clip_model.safetensors"]
            self.text_cut = bool(about.get("text_cut", True))
            self.preprocessing = Preprocessing.of(model_cfg, preprocess_cfg)
            self.tokenizer: Tokenizer = tokenizer_for(f"local-dir:{folder}", model_cfg, folder=folder)
            self.spec = EncoderSpec(
                name=name,
                dim=dimension(about["dim"]),
                fingerprint=fingerprint(
                    weights=weights,
                    model_cfg=model_cfg,
                    preprocessing=self.preprocessing,
                    tokenizer=self.tokenizer.identity,
                ),
                licence=str(about.get("licence", "unknown")),
                image_size=(self.preprocessing.width, self.preprocessing.height),
                context_length=int(about["context_length"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelCorrupt(f"the description of the model in {folder} lacks something: {error!r}") from error

    def files_of(self, tower: str) -> list[str]:
        """The files that a tower is loaded from: its own, and the weights that both share."""
        other = "text" if tower == "image" else "image"
        return [file for file in self.files if not file.startswith(f"{other}.")]

    def check(self, file: str, *, fresh: bool = False) -> None:
        """Raise :class:`ModelCorrupt` unless the file has its recorded hash; ``fresh`` reads it in any case."""
        path = self.folder / file
        try:
            same = file_sha256(path, again=fresh) == self.files[file]
        except OSError as error:
            raise ModelCorrupt(f"the model's file {path} cannot be read: {error.strerror}") from error
        if not same:
            raise ModelCorrupt(
                f"the model's file {path} is damaged: its SHA-256 is not the recorded one",
                hint="install mmsearch again" if self.folder == MINI else "export or fetch the model again",
            )


def mini(*, threads: int | None = None, batch_size: int | None = None) -> OnnxEncoder:
    """The built-in model. Its weights are in this package; no network and no torch are needed."""
    return OnnxEncoder(MINI, name="mini", threads=threads, batch_size=batch_size)


def _read(folder: Path) -> dict[str, Any]:
    for name in DESCRIPTIONS:
        try:
            return dict(json.loads((folder / name).read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ModelCorrupt(f"{folder / name} cannot be read as JSON: {error}") from error
    if folder == MINI:
        raise ModelNotFound("this installation has no built-in model", hint="install mmsearch from its wheel")
    raise ModelNotFound(
        f"{folder} is not a folder with an ONNX model", hint=f"it must hold {DESCRIPTIONS[0]}, image.onnx and text.onnx"
    )


def load_session(graph: Path, threads: int, *, optimize: bool = True) -> Any:
    """A graph ready to run on the CPU. Raises :class:`ModelCorrupt` for one that does not load."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors are raised, and need not be printed too
    # threads that spin while they wait take the cores from the workers that decode
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 -- onnxruntime's own classes derive from Exception
        why = str(error).strip().splitlines()[0][:200]
        raise ModelCorrupt(f"{graph} cannot be loaded: {why}", hint="export or install the model again") from error


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "allocate memory" in text or "bad allocation" in text


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
