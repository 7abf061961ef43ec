"""From names to files: every form of a name, the hub's cache, and what is wrong with files."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from mmsearch.encoders import _checkpoint, _hub
from mmsearch.encoders._identity import Preprocessing
from mmsearch.encoders.openclip import OpenClipEncoder
from mmsearch.errors import ModelCorrupt, ModelNotFound, UsageError
from tests.encoders.conftest import TEXT, VIT

REPO = "somebody/tiny"


@pytest.fixture
def arch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A small architecture that open_clip knows by name, as it knows ViT-B-32."""
    file = tmp_path / "configs" / "tiny-test.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT}))
    known = {**_checkpoint.architectures(), "tiny-test": file}
    monkeypatch.setattr(_checkpoint, "architectures", lambda: known)
    open_clip.add_model_config(file)
    yield "tiny-test"
    open_clip.factory._MODEL_CONFIG_PATHS.remove(file)
    open_clip.factory._MODEL_CONFIGS.pop("tiny-test")


def publish(cache: Path, repo: str, *files: Path, damage: bool = False) -> None:
    """Put files into a Hugging Face cache in its own layout: blobs under their SHA-256, a snapshot of links."""
    root = cache / f"models--{repo.replace('/', '--')}"
    revision = "0" * 40
    for folder in ("blobs", "refs", f"snapshots/{revision}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "refs/main").write_text(revision)
    for file in files:
        data = file.read_bytes()
        blob = root / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage else data)
        (root / "snapshots" / revision / file.name).symlink_to(blob)


def test_a_file_with_its_architecture(arch: str, vit: Path) -> None:
    weights = vit / "open_clip_model.safetensors"
    encoder = OpenClipEncoder(f"{arch}:{os.path.relpath(weights)}", precision="fp32", device="cpu")
    assert encoder.spec.name == f"tiny-test:{weights}", "canonical: absolute"
    folder = OpenClipEncoder(f"local-dir:{vit}", precision="fp32", device="cpu")
    np.testing.assert_allclose(encoder.encode_texts(["a dog"]), folder.encode_texts(["a dog"]), atol=1e-6)


def test_a_tag_in_the_hub_cache(arch: str, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = _hub.Tag(repo=REPO, file="", url="", quick_gelu=True,
                   preprocess={"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"})
    monkeypatch.setattr(_hub, "tag", lambda arch, name: row if name == "v1" else None)
    encoder = OpenClipEncoder("tiny-test/v1", model_dir=tmp_path / "hub", precision="fp32", device="cpu")
    with pytest.raises(ModelNotFound, match="the weights of tiny-test/v1 are not on this machine") as caught:
        _ = encoder.spec
    assert "mmsearch models pull tiny-test/v1" in str(caught.value.hint)
    publish(tmp_path / "hub", REPO, vit / "open_clip_model.safetensors")
    assert encoder.spec.name == "tiny-test/v1"
    assert encoder.preparer == Preprocessing(32, 32, mode="squash").preparer(), "the tag's own preprocessing"
    model = encoder.towers.model
    assert type(model.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU", "the tag's weights want it"


def test_a_repository_in_the_hub_cache(vit: Path, tmp_path: Path) -> None:
    encoder = OpenClipEncoder(f"hf-hub:{REPO}", model_dir=tmp_path, precision="fp32", device="cpu")
    with pytest.raises(ModelNotFound, match=f"the weights of hf-hub:{REPO} are not on this machine"):
        _ = encoder.spec
    publish(tmp_path, REPO, vit / "open_clip_model.safetensors", vit / "open_clip_config.json")
    assert encoder.spec.name == f"hf-hub:{REPO}"
    assert encoder.spec.fingerprint == OpenClipEncoder(f"local-dir:{vit}").spec.fingerprint
    assert encoder.encode_texts(["a"]).shape == (1, 24)


def test_a_broken_download_is_seen_by_its_hash(vit: Path, tmp_path: Path) -> None:
    publish(tmp_path, REPO, vit / "open_clip_model.safetensors", damage=True)
    publish(tmp_path, REPO, vit / "open_clip_config.json")
    with pytest.raises(ModelCorrupt, match="its SHA-256 is not the published one") as caught:
        _ = OpenClipEncoder(f"hf-hub:{REPO}", model_dir=tmp_path).spec
    assert str(caught.value.hint).startswith("delete ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("local-dir:/nowhere/at/all", "/nowhere/at/all is no model: its open_clip_config.json cannot be read"),
        ("ViT-B-23/openai", r"no model is called 'ViT-B-23'; did you mean .*ViT-B-32"),
        ("nonsense", "no model is called 'nonsense'"),
        ("ViT-B-32/opanai", "ViT-B-32 has no weights called 'opanai'"),
        ("ViT-B-32:/nowhere/w.safetensors", "there is no weights file /nowhere/w.safetensors"),
        ("hf-hub:a/b/c/d", "is not the name of a repository"),
    ],
)
def test_what_is_not_there(name: str, message: str) -> None:
    with pytest.raises(ModelNotFound, match=message) as caught:
        _ = OpenClipEncoder(name).spec
    assert caught.value.hint
    assert str(caught.value).count("\n") == 0


def test_near_tags_are_named() -> None:
    with pytest.raises(ModelNotFound) as caught:
        _ = OpenClipEncoder("ViT-B-32/opanai").spec
    assert str(caught.value.hint).startswith("tags of ViT-B-32: openai")


def test_a_folder_without_weights(vit: Path, tmp_path: Path) -> None:
    shutil.copy(vit / "open_clip_config.json", tmp_path)
    with pytest.raises(ModelNotFound, match="holds no weights"):
        _ = OpenClipEncoder(f"local-dir:{tmp_path}").spec


@pytest.mark.parametrize(
    "config",
    ["", "[1]", '{"model_cfg": 3}', '{"preprocess_cfg": {}}', '{"model_cfg": {"embed_dim": 8}}',
     '{"model_cfg": {"vision_cfg": {"image_size": [1]}}}',
     '{"model_cfg": {"vision_cfg": {}, "text_cfg": {}}, "preprocess_cfg": {"resize_mode": "stretch"}}'],
)  # fmt: skip
def test_a_configuration_that_makes_no_sense(config: str, vit: Path, tmp_path: Path) -> None:
    shutil.copy(vit / "open_clip_model.safetensors", tmp_path)
    (tmp_path / "open_clip_config.json").write_text(config)
    with pytest.raises(ModelCorrupt):
        _ = OpenClipEncoder(f"local-dir:{tmp_path}").spec


def test_weights_that_are_cut_short(vit: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(vit, tmp_path / "m")
    file = folder / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ModelCorrupt, match="cannot be loaded as local-dir:"):
        OpenClipEncoder(f"local-dir:{folder}").encode_texts(["a"])


def test_weights_of_another_architecture(vit: Path, make: Callable[..., Path]) -> None:
    folder = make(vision={**VIT, "layers": 2})
    shutil.copy(vit / "open_clip_model.safetensors", folder)
    with pytest.raises(ModelCorrupt, match="cannot be loaded") as caught:
        OpenClipEncoder(f"local-dir:{folder}").encode_texts(["a"])
    assert len(str(caught.value).splitlines()) == 1


class _Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_pickles_only_when_allowed(arch: str, vit: Path, tmp_path: Path) -> None:
    torch.save(load_file(vit / "open_clip_model.safetensors"), tmp_path / "w.pt")
    name = f"{arch}:{tmp_path / 'w.pt'}"
    with pytest.raises(UsageError, match="is a pickle, which may run code"):
        _ = OpenClipEncoder(name).spec
    allowed = OpenClipEncoder(name, allow_pickle=True, precision="fp32", device="cpu")
    exact = OpenClipEncoder(f"local-dir:{vit}", precision="fp32", device="cpu")
    np.testing.assert_allclose(allowed.encode_texts(["a dog"]), exact.encode_texts(["a dog"]), atol=1e-6)


def test_an_allowed_pickle_still_runs_no_code(arch: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"state_dict": _Evil(tmp_path / "owned")}))
    with pytest.raises(ModelCorrupt):
        OpenClipEncoder(f"{arch}:{tmp_path / 'w.pt'}", allow_pickle=True).encode_texts(["a"])
    assert not (tmp_path / "owned").exists()


def test_a_bare_file_gets_the_preprocessing_of_its_family() -> None:
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert _hub.family("ViT-B-16-SigLIP2") == {**half, "interpolation": "bicubic", "resize_mode": "squash"}
    assert _hub.family("PE-Core-T-16-384") == {**half, "interpolation": "bilinear", "resize_mode": "squash"}
    assert Preprocessing.of({"vision_cfg": {}}, _hub.family("ViT-B-32")) == Preprocessing(224, 224), "CLIP's own"
    assert _hub.family("an architecture of somebody's own") == {}


def test_the_table_of_tags_is_open_clips() -> None:
    row = _hub.tag("ViT-B-32", "openai")
    assert row is not None
    assert row["repo"] == "timm/vit_base_patch32_clip_224.openai"
    assert row["quick_gelu"]
    assert _hub.tag("ViT-B-32", "openai") == row, "from the cache"
    assert _hub.files_of(row) == (*_hub.WEIGHTS, *_hub.PICKLES)
    bin_only = _hub.tag("ViTamin-L-256", "datacomp1b")
    assert bin_only is not None
    assert _hub.files_of(bin_only) == ("pytorch_model.safetensors", "pytorch_model.bin")
    assert _hub.tag("ViT-B-32", "nonsense") is None
