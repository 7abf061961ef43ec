"""One file of a model is damaged, cut or rewritten: it gives unit rows all the same, or a typed error of a few lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.target_models import damaged_copy


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_bad_bytes_in_a_model_folder(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue({"torch": "small", "onnx": "twin_folder"}[kind])
    seen = {damaged_copy(folder, kind, seed) for seed in range(12)}
    assert any("Model" in outcome for outcome in seen), "no damage was noticed"
    assert any("works" in outcome for outcome in seen), "the folder never worked"


def test_the_intact_folders_work(small: Path, twin_folder: Path, make: Callable[..., Path]) -> None:
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.encoders.openclip import OpenClipEncoder
    from tests.fuzz.target_models import asked

    assert asked(OnnxEncoder(twin_folder)) == "works"
    assert asked(OpenClipEncoder(f"local-dir:{small}", device="cpu", precision="fp32")) == "works"
