"""The suite of the seam, run over every encoder that is built in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.openclip import OpenClipEncoder
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.protocols import Encoder
from mmsearch.testing.encoders import EncoderConformance


def _squashed(folder: Path, target: Path) -> Path:
    """A copy of a model's folder with another resize mode."""
    shutil.copytree(folder, target)
    file = target / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["preprocess_cfg"]["resize_mode"] = "squash"
    file.write_text(json.dumps(config))
    return target


class TestToy(EncoderConformance):
    @pytest.fixture
    def expression(self) -> str:
        return "__import__('mmsearch.encoders.toy', fromlist=['toy']).ToyEncoder()"

    @pytest.fixture
    def encoder(self) -> Encoder:
        return ToyEncoder()

    @pytest.fixture
    def other_preprocessing(self) -> Encoder:
        return ToyEncoder(seed=1)


class OpenClipConformance(EncoderConformance):
    precision = "fp32"

    @pytest.fixture
    def expression(self, small: Path) -> str:
        return f"__import__('mmsearch.encoders.openclip', fromlist=['o']).OpenClipEncoder('local-dir:{small}')"

    @pytest.fixture
    def encoder(self, small: Path) -> Encoder:
        return OpenClipEncoder(f"local-dir:{small}", precision=self.precision, device="cpu")

    @pytest.fixture
    def other_preprocessing(self, small: Path, tmp_path: Path) -> Encoder:
        return OpenClipEncoder(f"local-dir:{_squashed(small, tmp_path / 'm')}")


class TestOpenClip(OpenClipConformance):
    pass


class TestOpenClipBf16(OpenClipConformance):
    precision = "bf16"
    tolerance = 0.02


class TestOnnx(EncoderConformance):
    @pytest.fixture
    def expression(self, twin_folder: Path) -> str:
        return f"__import__('mmsearch.encoders.onnx', fromlist=['o']).OnnxEncoder('{twin_folder}')"

    @pytest.fixture
    def encoder(self, twin_folder: Path) -> Encoder:
        return OnnxEncoder(twin_folder, threads=1)

    @pytest.fixture
    def other_preprocessing(self, twin_folder: Path, tmp_path: Path) -> Encoder:
        return OnnxEncoder(_squashed(twin_folder, tmp_path / "m"))

    def test_its_twin_in_torch_has_the_same_fingerprint(self, encoder: Encoder, small: Path) -> None:
        assert OpenClipEncoder(f"local-dir:{small}").spec.fingerprint == encoder.spec.fingerprint
