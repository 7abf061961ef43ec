"""Vectors of texts kept between runs: what comes back is what was put, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import mmsearch.textvectors
from mmsearch.collection import Collection
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.textvectors import TextVectors
from mmsearch.types import Item


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=8).astype(np.float32)


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    remembered = TextVectors(tmp_path / "a" / "b", dim=8)
    assert remembered.get("a cat") is None
    for seed, text in enumerate(("a cat", "A cat", "", "\udcff", "a\0cat")):
        remembered.put(text, vector(seed))
    again = TextVectors(tmp_path / "a" / "b", dim=8)
    for seed, text in enumerate(("a cat", "A cat", "", "\udcff", "a\0cat")):
        assert np.array_equal(again.get(text), vector(seed))  # type: ignore[arg-type]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0, "other users have no business there"


def test_damage_and_other_sizes_are_not_read(tmp_path: Path) -> None:
    remembered = TextVectors(tmp_path, dim=8)
    remembered.put("a cat", vector(1))
    assert TextVectors(tmp_path, dim=16).get("a cat") is None
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert remembered.get("a cat") is None
        file.write_bytes(whole[:at])
        assert remembered.get("a cat") is None
    file.write_bytes(whole)
    assert np.array_equal(remembered.get("a cat"), vector(1))  # type: ignore[arg-type]


def test_the_folder_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmsearch.textvectors, "KEPT", 10)
    remembered = TextVectors(tmp_path, dim=8)
    for seed in range(25):
        remembered.put(str(seed), vector(seed))
        os.utime(tmp_path / mmsearch.textvectors._name(str(seed)), ns=(seed, seed))
        assert len(list(tmp_path.iterdir())) <= 10
    assert np.array_equal(remembered.get("24"), vector(24))  # type: ignore[arg-type]
    assert remembered.get("0") is None


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    remembered = TextVectors(tmp_path / "file" / "folder", dim=8)
    remembered.put("a cat", vector(1))
    assert remembered.get("a cat") is None


class Counting(ToyEncoder):
    texts = 0

    def encode_texts(self, batch):  # type: ignore[no-untyped-def]
        type(self).texts += len(batch)
        return super().encode_texts(batch)


def test_a_collection_asks_its_model_once_for_a_text(tmp_path: Path) -> None:
    Counting.texts = 0
    with Collection.open(tmp_path / "c", create=True, model=Counting()) as collection:
        collection.add([Item(id=name, text=name) for name in ("a cat", "a dog")])
    Counting.texts, answers = 0, []
    for _ in range(3):
        with Collection.open(tmp_path / "c", model=Counting(), remember=tmp_path / "texts") as collection:
            answers.append([(hit.id, hit.score) for hit in collection.search("a small cat", kind="text")])
    assert Counting.texts == 1
    assert answers[0] == answers[1] == answers[2]
    with Collection.open(tmp_path / "c", model=Counting()) as collection:
        collection.search("a small cat", kind="text")
    assert Counting.texts == 2, "only who asks for it has it"
