"""Tokenizers: which one a model gets, and that its ids are open_clip's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from mmsearch.encoders import _tokenize
from mmsearch.encoders._tokenize import ClipTokenizer, JsonTokenizer, OpenClipTokenizer, pad, tokenizer_for
from mmsearch.errors import MissingExtra, ModelCorrupt
from mmsearch.testing.encoders import TEXTS


@pytest.fixture
def sentencepiece(tmp_path: Path) -> Path:
    """A small tokenizer of the kind that SigLIP 2 has: pieces, an end symbol, padding by 0."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "<eos>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(["two children are playing football in the rain", "a red square, the sky"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>", "eos_token": "<eos>"}))
    return tmp_path


def test_pad() -> None:
    assert pad([[1, 2], [3]], 4, 9).tolist() == [[1, 2, 9, 9], [3, 9, 9, 9]]
    assert pad([], 4, 9).shape == (0, 4)


def test_plain_clip_gets_the_light_tokenizer() -> None:
    tokenizer = tokenizer_for("ViT-B-32", {"text_cfg": {"context_length": 77}})
    assert isinstance(tokenizer, ClipTokenizer)
    assert tokenizer.identity == "clip-bpe:all:77"
    expected = open_clip.get_tokenizer("ViT-B-32")(list(TEXTS)).numpy()
    np.testing.assert_array_equal(pad(tokenizer.rows(TEXTS), 77, tokenizer.padding), expected)


def test_other_cleaning_gets_open_clips_own() -> None:
    config: dict[str, Any] = {"text_cfg": {"context_length": 20, "tokenizer_kwargs": {"clean": "canonicalize"}}}
    tokenizer = tokenizer_for("ViT-B-32", config)
    assert isinstance(tokenizer, OpenClipTokenizer)
    assert tokenizer.identity == "open_clip:simple:canonicalize:{}:20"
    assert tokenizer.rows(["a dog"]) == [[49406, 320, 1929, 49407]]
    assert [len(row) for row in tokenizer.rows(TEXTS)] == [5, 10, 2, 10, 3, 20]


def test_a_folder_says_that_its_encoding_is_cut(small: Path) -> None:
    tokenizer = tokenizer_for(f"local-dir:{small}", {"text_cfg": {"context_length": 24}}, folder=small)
    assert tokenizer.identity == "clip-bpe:200:24"
    assert tokenizer.rows([""]) == [[712, 713]]


def test_a_tokenizer_file(sentencepiece: Path) -> None:
    config = {"text_cfg": {"context_length": 12, "hf_tokenizer_name": "a/b",
                           "tokenizer_kwargs": {"clean": "canonicalize"}}}  # fmt: skip
    tokenizer = tokenizer_for("local-dir:x", config, folder=sentencepiece)
    assert isinstance(tokenizer, JsonTokenizer)
    rows = tokenizer.rows(["The SKY!", "the sky", "word " * 50])
    assert rows[0] == rows[1]
    assert rows[0][-1] == 1
    assert len(rows[2]) == 12
    assert rows[2][-1] == 1
    assert tokenizer.padding == 0
    other = JsonTokenizer(sentencepiece / "tokenizer.json", 12, "whitespace")
    assert other.rows(["the sky"]) == rows[:1]
    assert other.rows(["The SKY!"]) != rows[:1]
    assert other.identity != tokenizer.identity


def test_a_broken_tokenizer_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelCorrupt, match="is not a tokenizer"):
        JsonTokenizer(tmp_path / "tokenizer.json", 12, "lower")


def test_what_needs_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tokenize, "find_spec", lambda name: None)
    config = {"text_cfg": {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP2", "tokenizer_kwargs": {"clean": "canonicalize"}}}
    with pytest.raises(MissingExtra, match="timm/ViT-B-16-SigLIP2") as caught:
        tokenizer_for("ViT-B-16-SigLIP2", config)
    assert "mmsearch models pull ViT-B-16-SigLIP2" in str(caught.value.hint)
