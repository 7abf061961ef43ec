"""ImageNet names for pictures whose teacher is sure of them: label-to-text captions that cost no pass of any network.

The teacher's class layer is read from its TFLite file (a FlatBuffer, for which the few lines below are reader enough) and
applied to the cached features. Only names and sureness are used; no weight of it enters `mini`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.training.teacher import WIDTH, Features

TFLITE = "teachers/mobilenet_edgetpu_224_1.0_uint8.tflite"
CLASSES = 1001
"""A thousand classes behind one for "background"."""

SURE = 0.6
"""Softmax from which a label is believed; the teacher's top-1 is right for 90% of clean photos, here they are small."""

PLAIN = {
    "dog": [range(151, 269)],
    "cat": [range(281, 286)],
    "bird": [range(7, 25), range(80, 101), range(127, 147)],
    "fish": [range(7), range(389, 398)],
    "snake": [range(52, 69)],
    "insect": [range(300, 321)],
    "butterfly": [range(321, 327)],
    "bear": [range(294, 298)],
    "monkey": [range(365, 385)],
    "elephant": [range(385, 387)],
    "horse": [range(339, 340)],
    "mushroom": [range(991, 998)],
    "airplane": [range(404, 405), range(895, 896)],
    "rocket": [range(657, 658), range(744, 745)],
    "cup of coffee": [range(504, 505), range(967, 969)],
    "car": [range(436, 437), range(468, 469), range(511, 512), range(656, 657), range(751, 752), range(817, 818)],
    "boat": [range(472, 473), range(576, 577), range(625, 626), range(814, 815), range(914, 915)],
    "laptop": [range(620, 621), range(681, 682)],
    "watch": [range(531, 532), range(826, 827)],
}
"""Everyday words for ranges of ImageNet's thousand classes, whose own names ("tabby", "sorrel") few people search by."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Table:
    """A FlatBuffer table: `raw` is the file, `at` where the table starts."""

    raw: bytes
    at: int

    def _field(self, number: int) -> int:
        """Offset in the file of a field, 0 when it is left out."""
        vtable = self.at - _i32(self.raw, self.at)
        (size,) = struct.unpack_from("<H", self.raw, vtable)
        place = 4 + 2 * number
        (offset,) = struct.unpack_from("<H", self.raw, vtable + place) if place < size else (0,)
        return self.at + offset if offset else 0

    def number(self, number: int, form: str = "<I") -> int:
        at = self._field(number)
        return int(struct.unpack_from(form, self.raw, at)[0]) if at else 0

    def table(self, number: int) -> _Table:
        at = self._field(number)
        return _Table(self.raw, at + _i32(self.raw, at))

    def array(self, number: int, dtype: str) -> npt.NDArray[np.generic]:
        at = self._field(number)
        if not at:
            return np.empty(0, dtype)
        at += _i32(self.raw, at)
        return np.frombuffer(self.raw, dtype, _i32(self.raw, at), at + 4)

    def tables(self, number: int) -> list[_Table]:
        at = self._field(number)
        at += _i32(self.raw, at)
        places = (at + 4 + 4 * i for i in range(_i32(self.raw, at)))
        return [_Table(self.raw, place + _i32(self.raw, place)) for place in places]


def _i32(raw: bytes, at: int) -> int:
    return int(struct.unpack_from("<i", raw, at)[0])


def class_layer(path: Path) -> tuple[Floats, Floats]:
    """Weights (1001, 1280) and biases (1001,) of the last layer, as floats: scale * (stored - zero point)."""
    raw = path.read_bytes()
    model = _Table(raw, _i32(raw, 0))
    buffers = model.tables(4)
    weights = biases = None
    for tensor in model.tables(2)[0].tables(0):
        shape = [int(x) for x in tensor.array(0, "<i4") if x != 1]
        stored = {3: "u1", 2: "<i4"}.get(tensor.number(1, "<b"))
        if stored is None or shape not in ([CLASSES, WIDTH], [CLASSES]):
            continue
        values = buffers[tensor.number(2)].array(0, "u1").tobytes()
        if not values:
            continue
        quantised = tensor.table(4)
        scale, zero = quantised.array(2, "<f4").astype(np.float32), quantised.array(3, "<i8").astype(np.float32)
        floats = ((np.frombuffer(values, stored).astype(np.float32) - zero) * scale).reshape(shape)
        if len(shape) == 2:
            weights = floats
        else:
            biases = floats
    if weights is None or biases is None:
        raise ValueError(f"{path} holds no layer of {CLASSES} classes over {WIDTH} features")
    return weights, biases


def sure_words(features: Features, path: Path, least: float = SURE) -> list[list[str]]:
    """For each row of features (n, 1280) the names the teacher is sure of, perhaps none.

    A class's own name needs a softmax of `least`; an everyday word needs the sum over its classes to reach it, because
    the teacher may well know a cat and not which of five kinds.
    """
    weights, biases = class_layer(path)
    groups = {word: [1 + number for numbers in ranges for number in numbers] for word, ranges in PLAIN.items()}
    out: list[list[str]] = []
    for start in range(0, len(features), 4096):
        logits = features[start : start + 4096].astype(np.float32) @ weights.T + biases
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        found: list[list[str]] = [[] for _ in odds]
        for row in np.flatnonzero(odds.max(axis=1) >= least):
            if best := int(odds[row].argmax()):
                found[row].append(class_name(best - 1))
        for word, members in groups.items():
            for row in np.flatnonzero(odds[:, members].sum(axis=1) >= least):
                found[row].append(word)
        out.extend(found)
    return out


def synonyms(number: int) -> list[str]:
    """The names of ImageNet's class 0..999, the usual one first."""
    return [name.strip().lower() for name in str(_imagenet().index_to_description(number)).split(",")]


def class_name(number: int) -> str:
    """The first name of ImageNet's class 0..999."""
    return synonyms(number)[0]


@lru_cache(maxsize=1)
def _imagenet() -> Any:
    """timm's tables, which take 40 ms to read."""
    from timm.data import ImageNetInfo  # type: ignore[attr-defined]

    return ImageNetInfo()


def label_texts(words: list[str]) -> list[str]:
    """Captions made of names."""
    return [text for word in words for text in (word, f"a {word}", f"a photo of a {word}")]
