"""The small parts: remembered facts, fingerprints, batches, and what the toy encoder promises."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders import _facts
from mmsearch.encoders._identity import Preprocessing, behaviour, fingerprint
from mmsearch.encoders.toy import COLOURS, ToyEncoder
from mmsearch.errors import UsageError


def test_facts_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _facts.recall("a") is None
    _facts.remember("a", {"x": [1, 2.5]})
    assert _facts.recall("a") == {"x": [1, 2.5]}
    assert _facts.recall("b") is None
    _facts._file("a").write_text("{ broken")
    assert _facts.recall("a") is None
    assert [file for file in tmp_path.rglob("*") if file.suffix == ".tmp"] == []


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mmsearch").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _facts.remember("a", 1)
    assert _facts.recall("a") is None


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "w"
    file.write_bytes(b"one")
    one, two = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()
    stat = file.stat()
    assert _facts.file_sha256(file) == one
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert _facts.file_sha256(file) == one, "size and time are the same: remembered"
    assert _facts.file_sha256(file, again=True) == two
    assert _facts.file_sha256(file) == two


PARTS: dict[str, Any] = {
    "weights": "ab" * 32,
    "model_cfg": {},
    "preprocessing": Preprocessing(224, 224),
    "tokenizer": "clip-bpe:all:77",
}


def test_fingerprint_is_pinned() -> None:
    """Stored in collections: it MUST NOT change between versions."""
    made = fingerprint(**PARTS)
    assert made == "a82498efdbc8cb8bacb68c7d03314fe53f916534f0122d3d057d763da67fcdc0"
    others = [
        {"weights": "cd" * 32},
        {"preprocessing": Preprocessing(224, 224, mode="squash")},
        {"preprocessing": Preprocessing(224, 224, std=(0.5, 0.5, 0.5))},
        {"tokenizer": "clip-bpe:all:76"},
        {"precision": "int8"},
        {"model_cfg": {"quick_gelu": True}},
        {"model_cfg": {"text_cfg": {"no_causal_mask": True}}},
        {"model_cfg": {"vision_cfg": {"head_width": 32}}},
    ]
    assert len({made, *(fingerprint(**{**PARTS, **other}) for other in others)}) == 9


def test_defaults_that_are_written_out_do_not_count() -> None:
    written = {"quick_gelu": False, "vision_cfg": {"layers": 12, "head_width": 64, "act_kwargs": None, "patch_dropout": 0.5},
               "text_cfg": {"heads": 8, "pool_type": None, "width": 512}, "init_logit_scale": 2.6}  # fmt: skip
    assert behaviour(written) == {}
    assert behaviour({"text_cfg": {"pool_type": "last", "heads": 12}}) == {"text.pool_type": "last", "text.heads": 12}


def test_numbers_are_compared_as_they_are_meant() -> None:
    exact = Preprocessing(8, 8, mean=(0.5, 0.5, 0.5)).canonical()
    assert Preprocessing(8, 8, mean=(0.5000000001, 0.5, 0.5)).canonical() == exact
    assert Preprocessing(8, 8, mean=(0.5, 0.5, 0.5), fill=9).canonical() == exact, "nothing is filled in this mode"
    assert Preprocessing(8, 8, mean=(0.5, 0.5, 0.5), mode="longest", fill=9).canonical() != exact


def test_toy_meets_colours_with_their_words() -> None:
    toy = ToyEncoder()
    names = list(COLOURS)
    pictures = [toy.preparer(Image.new("RGB", (50, 40), COLOURS[name])) for name in names]
    cosines = toy.encode_texts([f"a {name} thing" for name in names]) @ toy.encode_images(pictures).T
    assert cosines.argmax(axis=1).tolist() == list(range(len(names)))
    np.testing.assert_allclose(np.diag(cosines), 0.57, atol=0.03)


def test_toy_mixes() -> None:
    toy = ToyEncoder()
    half = Image.new("RGB", (64, 64), COLOURS["blue"])
    half.paste(COLOURS["green"], (0, 0, 32, 64))
    image = toy.encode_images([toy.preparer(half)])[0]
    both, blue, red = toy.encode_texts(["green BLUE", "blue", "red"])
    assert image @ both > 0.98
    assert 0.65 < image @ blue < 0.75
    assert abs(image @ red) < 0.01


def test_toy_is_the_same_for_ever() -> None:
    toy = ToyEncoder(dim=16)
    assert toy.spec.fingerprint == ToyEncoder(dim=16).spec.fingerprint
    assert toy.spec.fingerprint.startswith("705865ef7a1b23ed")
    assert toy.encode_texts(["a dog"])[0].tolist() == [0.0] * 14 + [-1.0, 0.0]
    assert ToyEncoder(dim=16, seed=1).spec.fingerprint != toy.spec.fingerprint
    assert ToyEncoder(dim=17).spec.fingerprint != toy.spec.fingerprint


def test_toy_counts_and_refuses() -> None:
    toy = ToyEncoder()
    toy.encode_texts(["a", "b"])
    toy.encode_images([np.zeros((32, 32, 3), dtype=np.uint8)])
    assert (toy.texts_encoded, toy.images_encoded) == (2, 1)
    with pytest.raises(UsageError, match=r"takes arrays \(32, 32, 3\)"):
        toy.encode_images([np.zeros((8, 8, 3), dtype=np.uint8)])
    with pytest.raises(UsageError, match="at least 16 dimensions"):
        ToyEncoder(dim=15)
