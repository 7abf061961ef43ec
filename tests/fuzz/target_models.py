"""Damaged model folders: a model that gives unit rows, or a typed error of a few lines."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.openclip import OpenClipEncoder
from mmsearch.errors import MMSearchError
from mmsearch.protocols import Encoder
from tests.encoders.conftest import SMALL_BPE, build
from tests.fuzz.mutate import blind, cut, flip, overwrite, refused
from tests.store.model import MEMORY

ODD = (None, -1, 0, 1, 2, 3, 7, 33, 1000, 1.5, -0.0, 1e300, "", "x", "../../x", True, [], {}, [[]], {"a": 1}, "\ud800", 2**70)
"""Put in place of anything. No count is large enough to fill the memory: what a configuration asks for is not limited."""


@cache
def _home() -> Path:
    """Where the good folders lie until the process ends, and the facts that are remembered of files."""
    folder = tempfile.mkdtemp(dir=MEMORY, prefix="mmsearch-models-")
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HF_HOME"):
        os.environ[name] = f"{folder}/{name}"
    return Path(folder)


@cache
def torch_folder() -> Path:
    """A tiny model of open_clip's kind with a cut byte-pair encoding."""
    return build(_home() / "torch", text=SMALL_BPE, merges=200)


@cache
def words_folder() -> Path:
    """The same with a ``tokenizer.json``."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = build(_home() / "words", text={**SMALL_BPE, "hf_tokenizer_name": "somebody/words"})
    vocabulary = {word: at for at, word in enumerate(["<pad>", "<unk>", "a", "red", "dress", "cat", "b"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))
    return folder


@cache
def onnx_folder() -> Path:
    """The first as ONNX. An export takes seconds."""
    from mmsearch.encoders.export import export_onnx

    return export_onnx(OpenClipEncoder(f"local-dir:{torch_folder()}", device="cpu"), _home() / "onnx")


ORIGINALS: dict[str, Callable[[], Path]] = {"torch": torch_folder, "words": words_folder, "onnx": onnx_folder}


def folder(seed: int) -> str:
    """One file of a model is damaged, with or without its recorded checksum made right; then both towers are asked."""
    kind = random.Random(~seed).choice(sorted(ORIGINALS))
    return f"{kind} {damaged_copy(ORIGINALS[kind](), kind, seed)}"


def damaged_copy(original: Path, kind: str, seed: int) -> str:
    """The same of a given folder; ``kind`` is one of :data:`ORIGINALS`."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-model-") as name:
        place = Path(shutil.copytree(original, Path(name) / "m"))
        target = rng.choice(sorted(path for path in place.iterdir() if path.is_file()))
        target.write_bytes(harmed(target.name, target.read_bytes(), rng))
        if kind == "onnx" and rng.random() < 0.8:
            _record(place)
        return f"{target.suffix[1:]}: {asked(_opened(place, kind))}"


def _opened(place: Path, kind: str) -> Encoder:
    if kind == "onnx":
        return OnnxEncoder(place, threads=1)
    return OpenClipEncoder(f"local-dir:{place}", device="cpu", precision="fp32")


def harmed(name: str, data: bytes, rng: random.Random) -> bytes:
    """Blind damage, or of the structure: JSON stays JSON, the header of safetensors has its right length."""
    if name.endswith(".json") and rng.random() < 0.8:
        return json.dumps(_odd(json.loads(data), rng)).encode()
    if name.endswith(".safetensors") and rng.random() < 0.7:
        size = struct.unpack("<Q", data[:8])[0]
        header, body = data[8 : 8 + size], data[8 + size :]
        if rng.random() < 0.7:
            header = json.dumps(_odd(json.loads(header), rng)).encode()
        else:
            body = rng.choice((flip, cut, overwrite))(body, rng)
        return struct.pack("<Q", len(header) if rng.random() < 0.9 else rng.choice((0, 2**63, size + 1))) + header + body
    return blind(data, rng)


def _odd(value: Any, rng: random.Random) -> Any:
    """A JSON value with something odd in one or two of its places."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2))):
        places: list[tuple[Any, Any]] = []
        _places(value, places)
        if not places:
            break
        holder, key = rng.choice(places)
        if rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = rng.choice(ODD)
    return value


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found.append((value, key))
            _places(inner, found)


def _record(place: Path) -> None:
    """Writes the checksums of the files as they are now, as somebody who prepares a model would."""
    description = place / "encoder.json"
    try:
        about = json.loads(description.read_text())
        for file, entry in about["files"].items():
            entry["sha256"] = hashlib.sha256((place / file).read_bytes()).hexdigest()
        description.write_text(json.dumps(about))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return


def asked(encoder: Encoder) -> str:
    """Asserts what is promised of every encoder, or of its errors."""
    try:
        _use(encoder)
    except MMSearchError as error:
        return refused(error, kind=type(error).__name__)
    return "works"


def _use(encoder: Encoder) -> None:
    spec, preparer = encoder.spec, encoder.preparer
    pixels = [preparer(_grey(shade)) for shade in (0, 200)]
    for rows in (encoder.encode_texts(["a red dress", "cat"]), encoder.encode_images(pixels)):
        assert rows.shape == (2, spec.dim)
        assert rows.dtype == np.float32
        assert np.isfinite(rows).all(), "not finite"
        assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 0.02, "no unit rows"


def _grey(shade: int) -> Any:
    from PIL import Image

    return Image.new("RGB", (40, 30), (shade, shade, shade))
