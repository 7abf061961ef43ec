"""The written folder: parity on a tiny random model, weights stored once, refusal when towers differ."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from mmsearch.encoders import mini
from mmsearch.errors import ModelCorrupt, ModelNotFound
from mmsearch.training.export import ExportRefused, check, export, load_half, save_half, tensor_ranges
from mmsearch.training.towers import encode_texts, preprocess_config

TINY = {
    "embed_dim": 12,
    "vision_cfg": {
        "timm_model_name": "lcnet_035",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "",
        "image_size": 32,
    },
    "text_cfg": {"context_length": 9, "vocab_size": 60, "width": 32, "heads": 2, "layers": 2},
}
CONFIG = {"model_cfg": TINY, "preprocess_cfg": preprocess_config()}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    from open_clip.model import CLIP

    torch.manual_seed(0)
    made: nn.Module = CLIP(**copy.deepcopy(TINY))
    for name, buffer in made.named_buffers():  # as after training: statistics that are not 0 and 1
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return made.eval()


@pytest.fixture(scope="module")
def folder(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("mini")
    export(copy.deepcopy(model), CONFIG, {"name": "tiny"}, target)
    return target


def test_weights_are_stored_once(folder: Path) -> None:
    ranges = tensor_ranges(folder / mini.WEIGHTS)
    places = {(str(low), str(size)) for low, size, _content in ranges.values()}
    for name in (mini.IMAGE_GRAPH, mini.TEXT_GRAPH):
        graph = onnx.load(str(folder / name), load_external_data=False).graph
        outside = [t for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
        assert outside
        for tensor in outside:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            assert entries["location"] == mini.WEIGHTS
            assert (entries["offset"], entries["length"]) in places
        inside = sum(len(t.raw_data) for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL)
        assert inside < 20_000


def test_padding_and_batching_change_nothing(folder: Path, model: nn.Module) -> None:
    session = onnxruntime.InferenceSession(str(folder / mini.TEXT_GRAPH), providers=["CPUExecutionProvider"])
    rows = [[58, 3, 59], [58, 7, 8, 9, 59], [58, 59], [58, 1, 2, 3, 4, 5, 6, 7, 59]]
    alone = np.concatenate([session.run(None, {"tokens": np.array([row])})[0] for row in rows])
    padded = np.zeros((4, 9), np.int64)
    for line, row in zip(padded, rows, strict=True):
        line[: len(row)] = row
    np.testing.assert_allclose(session.run(None, {"tokens": padded})[0], alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)
    half = copy.deepcopy(model)
    load_half(half, folder / mini.WEIGHTS)
    with torch.inference_mode():
        np.testing.assert_allclose(encode_texts(half, rows, chunks=2).numpy(), alone, atol=1e-5)


def test_a_model_that_differs_is_refused(folder: Path, model: nn.Module) -> None:
    other = copy.deepcopy(model)
    assert check(_rounded(other, folder), CONFIG, folder) >= 0.9999
    with torch.no_grad():
        other.text_projection.add_(0.02 * torch.randn(other.text_projection.shape))
    with pytest.raises(ExportRefused, match="cosine"):
        check(other, CONFIG, folder)


def _rounded(model: nn.Module, folder: Path) -> nn.Module:
    load_half(model, folder / mini.WEIGHTS)
    return model


def test_checksums_are_verified(folder: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    assert mini.verify(broken)["name"] == "tiny"
    raw = bytearray((broken / mini.WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (broken / mini.WEIGHTS).write_bytes(raw)
    with pytest.raises(ModelCorrupt, match=mini.WEIGHTS):
        mini.verify(broken)
    (broken / mini.WEIGHTS).unlink()
    with pytest.raises(ModelNotFound):
        mini.verify(broken)
    (broken / mini.CARD).write_text(json.dumps({"format": 2}))
    with pytest.raises(ModelCorrupt, match="format 2"):
        mini.verify(broken)


def test_halves_survive_the_way_there_and_back(model: nn.Module, tmp_path: Path) -> None:
    target = tmp_path / "w.safetensors"
    save_half(model, target)
    other = copy.deepcopy(model)
    load_half(other, target)
    for key, value in model.state_dict().items():
        wanted = value.half().float() if value.is_floating_point() else value
        assert torch.equal(other.state_dict()[key], wanted), key
