"""mini's second look: does this text fit these pictures? Four files beside the towers that they belong to.

A picture is embedded as a whole and in :data:`CROPS`; the mean of these rows says more than the whole alone. It is moved towards
what was said of such pictures (:mod:`.recall`), and towards what a second reading of the feature map says (:mod:`.reading`).
``match_look.onnx`` gives that map and turns a picture into a few tokens; row and tokens can be kept. ``match.onnx``, the matching
head, compares a text with the tokens of many pictures. Score = the memory's score of the row + weight · the head's logit.

Both graphs read the towers' weights where mini's own graphs read them. ``match.json`` names the towers' fingerprint, and the
head is refused beside any others. ``mini/FORMAT.md`` has the files in full.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders._facts import file_sha256
from mmsearch.encoders.mini import WEIGHTS
from mmsearch.encoders.onnx import MINI, OnnxEncoder, cores, load_session
from mmsearch.encoders.reading import Reading
from mmsearch.encoders.recall import Recall
from mmsearch.errors import ModelCorrupt, ModelNotFound

__all__ = ["CARD", "FORMAT", "LOOK_GRAPH", "MATCH_GRAPH", "MEMORY", "READING", "OnnxMatcher"]

FORMAT = 2
CARD = "match.json"
LOOK_GRAPH = "match_look.onnx"
MATCH_GRAPH = "match.onnx"
MEMORY, READING = "match_memory.safetensors", "match_reading.safetensors"
FILES = (LOOK_GRAPH, MATCH_GRAPH, MEMORY, READING)
CROPS = ((0.1, 0.1, 0.9, 0.9), (0.0, 0.0, 0.8, 0.8), (0.2, 0.0, 1.0, 0.8), (0.0, 0.2, 0.8, 1.0), (0.2, 0.2, 1.0, 1.0))
"""The middle and the corners: left, top, right, bottom as shares of the sides."""
_BATCH = 32


class OnnxMatcher:
    """Satisfies :class:`mmsearch.rerankers.deep.Matcher` for a folder that holds towers and a head.

    Making one is free; files are checked and loaded on first use, once, under a lock. Safe in many threads. Raises, on first
    use, :class:`ModelNotFound` (no head there) and :class:`ModelCorrupt` (a file that is not the recorded one, other towers).

    >>> matcher = OnnxMatcher()                                                   # doctest: +SKIP
    >>> matcher.match("a dog", matcher.look([matcher.prepare(picture)]))          # doctest: +SKIP
    array([0.31], dtype=float32)
    """

    def __init__(self, folder: Path = MINI, *, threads: int | None = None) -> None:
        self._folder, self._threads = folder, threads
        self._towers = OnnxEncoder(folder)
        self._lock = threading.Lock()
        self._sessions: dict[str, Any] = {}
        self._read: dict[str, Any] | None = None
        self._learned: tuple[Recall, Reading] | None = None

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the head and with its towers."""
        return "".join(str(self._card()["files"][name]) for name in FILES)

    @property
    def towers(self) -> str:
        """The fingerprint of the encoder whose cosines it goes with."""
        return str(self._card()["towers"])

    @property
    def weight(self) -> float | None:
        """``None``: the cosine is in what :meth:`match` gives."""
        return None

    @property
    def memory(self) -> Recall:
        """What it compares texts with pictures' rows by."""
        return self._memories()[0]

    def prepare(self, picture: Any) -> NDArray[np.uint8]:
        """A PIL picture as :meth:`look` takes it: the whole and the crops ``(6, side, side, 3)``."""
        prepare, (width, height) = self._towers.preparer, picture.size
        boxes = [(left * width, top * height, right * width, bottom * height) for left, top, right, bottom in CROPS]
        return np.stack([prepare(picture), *(prepare(picture.crop(tuple(map(round, box)))) for box in boxes)])

    @property
    def size(self) -> tuple[int, int]:
        """The smallest (width, height) that a picture may be decoded at."""
        width, height = self._towers.preparer.size
        return width * 5 // 4, height * 5 // 4

    def look(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float16]:
        """Float16 ``(n, 1 + cells, dim)`` of prepared pictures: the row, the head's tokens. Some 8 ms each."""
        from mmsearch.preprocess import normalize

        pre = self._towers._described().preprocessing
        cells, dim = self._card()["cells"]
        out = np.empty((len(pictures), 1 + cells, dim), dtype=np.float16)
        for start in range(0, len(pictures), _BATCH):
            part = np.stack(pictures[start : start + _BATCH])
            rows = self._towers.encode_images([view for picture in part for view in picture])
            mean = rows.reshape(len(part), -1, dim).sum(axis=1)
            mean /= np.linalg.norm(mean, axis=1, keepdims=True)
            given = {"pixels": normalize(part[:, 0], pre.mean, pre.std)}
            tokens, pooled = self._session(LOOK_GRAPH).run(None, given)
            memory, reading = self._memories()
            out[start : start + len(part), 0] = memory.rows(mean, reading.rows(pooled))
            out[start : start + len(part), 1:] = tokens
        return out

    def match(self, text: str, cells: NDArray[np.float16]) -> NDArray[np.float32]:
        """Scores ``(n,)`` of a text with what :meth:`look` gave: the higher, the better it fits. 6 ms for 50."""
        memory = self.memory
        row = self._towers.encode_texts([text])
        tokens = np.array([self._towers._described().tokenizer.rows([text])[0]], dtype=np.int64)
        given = {"tokens": tokens, "cells": np.asarray(cells[:, 1:], dtype=np.float32)}
        (logits,) = self._session(MATCH_GRAPH).run(None, given)
        near = memory.scores(row, np.asarray(cells[:, 0], dtype=np.float32))[0]
        return np.asarray(near + self._card()["weight"] * logits, dtype=np.float32)

    def verify(self) -> None:
        """Compare all files with their recorded SHA-256. Raises :class:`ModelCorrupt`."""
        for name in FILES:
            self._check(name, again=True)

    def _card(self) -> dict[str, Any]:
        if self._read is None:
            self._read = _card(self._folder, self._towers.spec.fingerprint)
        return self._read

    def _check(self, name: str, *, again: bool = False) -> None:
        path = self._folder / name
        try:
            same = file_sha256(path, again=again) == self._card()["files"][name]
        except OSError as error:
            raise ModelCorrupt(f"the matching head's file {path} cannot be read: {error.strerror}") from error
        if not same:
            raise ModelCorrupt(f"{path} does not have its recorded checksum", hint="reinstall mmsearch")

    def _memories(self) -> tuple[Recall, Reading]:
        with self._lock:
            if self._learned is None:
                for name in (MEMORY, READING):
                    self._check(name)
                self._learned = Recall.load(self._folder / MEMORY), Reading.load(self._folder / READING)
            return self._learned

    def _session(self, name: str) -> Any:
        with self._lock:
            if name not in self._sessions:
                self._check(name)
                self._towers._described().check(WEIGHTS)
                self._sessions[name] = load_session(self._folder / name, self._threads or cores())
            return self._sessions[name]


def _card(folder: Path, towers: str) -> dict[str, Any]:
    path = folder / CARD
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if card["format"] != FORMAT:
            raise ModelCorrupt(f"{path} has format {card['format']}, and this mmsearch reads {FORMAT}", hint="update mmsearch")
        files, _, _ = dict(card["files"]), float(card["weight"]), [int(n) for n in card["cells"]]
        if card["towers"] != towers or not set(FILES) <= files.keys():
            raise ModelCorrupt(
                f"the matching head in {folder} was trained on other weights than those beside it",
                hint="train it for these: python -m mmsearch.training.matching, or use --rerank fast",
            )
    except OSError as error:
        raise ModelNotFound(f"there is no matching head in {folder}", hint="use --rerank fast, or model:NAME") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelCorrupt(f"{path} is not a matching head's description: {error!r}", hint="reinstall mmsearch") from error
    return card
