"""Names, presets, what is on the machine, and fetching the rest."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest

from mmsearch import models
from mmsearch.encoders import _hub, onnx
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.openclip import OpenClipEncoder
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.errors import ModelNotFound, UsageError
from mmsearch.models import PRESETS, canonical, default_model, info, installed, pull, resolve, twin
from tests.encoders.test_checkpoint import publish

WEIGHTS = "open_clip_model.safetensors"


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "mini"])
def test_presets_are_what_open_clip_says(name: str) -> None:
    preset = PRESETS[name]
    arch, _, tag = preset.model.rpartition("/")
    config = open_clip.get_model_config(arch)
    row = _hub.tag(arch, tag)
    assert row is not None
    assert row["repo"] == preset.repo
    assert config["embed_dim"] == preset.dim
    assert config["vision_cfg"]["image_size"] == preset.image_size
    assert preset.licence in ("MIT", "Apache-2.0")


def test_presets_as_data() -> None:
    assert list(PRESETS) == ["mini", "small", "base", "multilingual", "max"]
    assert {name: preset.recall for name, preset in PRESETS.items()} == {
        "mini": None, "small": None, "base": 68.8, "multilingual": 75.2, "max": None,
    }  # fmt: skip
    with pytest.raises(AttributeError):
        PRESETS["base"].model = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        PRESETS["other"] = PRESETS["base"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mini", "mini"),
        ("base", "ViT-B-32/laion2b_s34b_b79k"),
        (" ViT-B-32/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("openclip:ViT-B/32/openai", "ViT-B-32/openai"),
        ("ViT-B-32:/models/x.safetensors", "ViT-B-32:/models/x.safetensors"),
        ("local-dir:/a/../b", "local-dir:/b"),
        ("onnx:/a", "onnx:/a"),
        ("hf-hub:org/name", "hf-hub:org/name"),
        ("toy", "toy"),
        ("toy:32", "toy:32"),
    ],
)
def test_canonical_names(name: str, expected: str) -> None:
    assert canonical(name) == expected
    assert canonical(expected) == expected


def test_relative_paths_become_absolute(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.parent)
    assert canonical("local-dir:m") == f"local-dir:{small}"
    assert canonical(f"ViT-B-32:m/{WEIGHTS}") == f"ViT-B-32:{small / WEIGHTS}"
    with pytest.raises(UsageError, match="does not say its architecture"):
        canonical(f"m/{WEIGHTS}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bse", "no model is called 'bse'; did you mean base"),
        ("multilingal", "did you mean multilingual"),
        ("ViT-B-32", "ViT-B-32 is an architecture; which of its weights"),
        ("ViT-B-23/openai", "no model is called 'ViT-B-23/openai'; did you mean"),
        ("", "no model is called ''"),
        ("ViT-B-32/", "no model is called 'ViT-B-32/'"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str) -> None:
    with pytest.raises(ModelNotFound, match=message) as caught:
        resolve(name)
    assert caught.value.hint
    with pytest.raises(UsageError, match="is a kind of model"):
        resolve("onnx")


def test_resolve_and_reopen_by_the_name_that_is_stored(small: Path, vit: Path, twin_folder: Path) -> None:
    for name, kind in (("toy", ToyEncoder), ("toy:32", ToyEncoder), (str(twin_folder), OnnxEncoder),
                       (str(vit), OpenClipEncoder), (f"local-dir:{small}", OpenClipEncoder)):  # fmt: skip
        encoder = resolve(name, device="cpu")
        assert isinstance(encoder, kind)
        again = resolve(encoder.spec.name)
        assert isinstance(again, kind)
        assert again.spec == encoder.spec
    assert resolve("toy:32").spec.dim == 32


def test_mini_runs_in_onnxruntime_unless_a_gpu_is_asked_for() -> None:
    assert isinstance(resolve("mini"), OnnxEncoder)
    assert isinstance(resolve("mini", device="cpu"), OnnxEncoder)
    assert isinstance(resolve("mini", device="cuda"), OpenClipEncoder)


def test_options_reach_the_encoder(small: Path) -> None:
    encoder = resolve(f"local-dir:{small}", device="cpu", precision="fp32", batch_size=3)
    assert isinstance(encoder, OpenClipEncoder)
    assert encoder.batch_size == 3
    assert encoder.spec.precision == "fp32"


def test_what_is_on_this_machine(tmp_path: Path, vit: Path) -> None:
    assert default_model(tmp_path) == "mini"
    assert [row.name for row in installed(model_dir=tmp_path) if row.on_disk and row.name != "mini"] == []
    repo = PRESETS["base"].repo
    assert repo is not None
    publish(tmp_path, repo, vit / WEIGHTS)
    assert default_model(tmp_path) == "base"
    row = info("base", model_dir=tmp_path)
    assert row.on_disk
    assert row.bytes == (vit / WEIGHTS).stat().st_size
    assert (row.dim, row.image_size, row.licence, row.recall) == (512, (224, 224), "MIT", 68.8)
    assert info("ViT-B-32/laion2b_s34b_b79k", model_dir=tmp_path) == row


def test_the_model_dir_is_a_setting(tmp_path: Path, vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = PRESETS["base"].repo
    assert repo is not None
    publish(tmp_path, repo, vit / WEIGHTS)
    assert default_model() == "mini"
    monkeypatch.setenv("MMSEARCH_MODEL_DIR", str(tmp_path))
    assert default_model() == "base"


def test_info_of_local_models(small: Path) -> None:
    row = info(str(small))
    assert (row.name, row.dim, row.image_size) == (f"local-dir:{small}", 24, (32, 32))
    assert row.path == small / WEIGHTS
    assert not info("local-dir:/nowhere").on_disk
    assert not info("ViT-B-32/nonsense").on_disk
    assert info("toy").dim == 64


def test_pull_fetches_what_a_model_needs(tmp_path: Path, vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def download(repo: str, files: tuple[str, ...], cache: Path | None, **options: Any) -> Path:
        assert cache == tmp_path
        assert options["token"] == "t"
        asked.append((repo, tuple(files)))
        if "tokenizer_config.json" in files:
            raise ModelNotFound("it has none, and that is fine")
        if files[0].endswith("safetensors"):
            publish(tmp_path, repo, vit / WEIGHTS)
        return tmp_path

    monkeypatch.setattr(_hub, "download", download)
    assert pull("multilingual", model_dir=tmp_path, token="t").on_disk
    assert asked == [
        ("timm/ViT-B-16-SigLIP2", (*_hub.WEIGHTS, *_hub.PICKLES)),
        ("timm/ViT-B-16-SigLIP2", ("tokenizer.json",)),
        ("timm/ViT-B-16-SigLIP2", ("tokenizer_config.json",)),
    ]
    asked.clear()
    assert pull("multilingual", model_dir=tmp_path).on_disk
    assert pull("toy").on_disk
    assert asked == [], "what is here is not fetched"


def test_pull_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "download", lambda *_, **__: pytest.fail("it tried"))
    for options in ({"offline": True}, {}):
        monkeypatch.setenv("MMSEARCH_OFFLINE", "1")
        with pytest.raises(ModelNotFound, match="base is not on this machine, and downloads are switched off") as caught:
            pull("base", **options)
        assert "mini" in str(caught.value.hint)


def test_pull_of_what_cannot_be_fetched() -> None:
    with pytest.raises(ModelNotFound, match="there is no model at local-dir:/nowhere"):
        pull("local-dir:/nowhere", offline=False)
    with pytest.raises(ModelNotFound, match="ViT-B-32 has no weights called 'nonsense'"):
        pull("ViT-B-32/nonsense", offline=False)


@pytest.mark.parametrize("failure", ["connection", "missing", "gated"])
def test_download_errors(failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2
    import huggingface_hub
    from huggingface_hub import errors

    response = httpx2.Response(404, request=httpx2.Request("HEAD", "https://huggingface.co"))
    error = {
        "connection": httpx2.ConnectError("no route"),
        "missing": errors.RepositoryNotFoundError("404", response=response),
        "gated": errors.GatedRepoError("403", response=response),
    }[failure]

    def metadata(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    expected = {
        "connection": ("cannot reach the model hub for timm/PE-Core-T-16-384 (ConnectError)", "'mini' needs no network"),
        "missing": ("has no repository 'timm/PE-Core-T-16-384'", "MMSEARCH_TOKEN"),
        "gated": ("accept a licence first", "https://huggingface.co/timm/PE-Core-T-16-384"),
    }[failure]
    with pytest.raises(ModelNotFound) as caught:
        pull("small", model_dir=tmp_path, offline=False)
    assert expected[0] in str(caught.value)
    assert expected[1] in str(caught.value.hint)


def test_downloads_report_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fetch(repo: str, file: str, *, tqdm_class: Any, **_: Any) -> str:
        with tqdm_class(total=100, unit="B", desc=file, name="huggingface_hub.http_get") as bar:
            bar.update(30)
            bar.update(70)
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    seen: list[tuple[str, int, int | None]] = []
    _hub.download("a/b", ("w",), tmp_path, progress=lambda *row: seen.append(row))
    assert seen == [("w", 30, 100), ("w", 100, 100)]


def test_export_and_twin(small: Path, twin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written_before(encoder: OpenClipEncoder, folder: Path) -> Path:
        assert encoder.spec.name == f"local-dir:{small}"
        return shutil.copytree(twin_folder, folder)

    monkeypatch.setattr("mmsearch.encoders.export.export_onnx", written_before)
    torch_twin = OpenClipEncoder(f"local-dir:{small}", device="cpu", precision="fp32")
    fingerprint = torch_twin.spec.fingerprint
    assert twin(fingerprint, model_dir=tmp_path) is None
    folder = models.export(str(small), model_dir=tmp_path)
    assert folder.is_relative_to(tmp_path)
    found = twin(fingerprint, model_dir=tmp_path)
    assert found is not None
    assert found.spec.fingerprint == fingerprint
    np.testing.assert_allclose(found.encode_texts(["a"]), torch_twin.encode_texts(["a"]), atol=1e-5)


def test_mini_is_its_own_twin(small: Path, twin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (onnx, models):
        monkeypatch.setattr(module, "MINI", twin_folder)
    found = twin(OpenClipEncoder(f"local-dir:{small}").spec.fingerprint)
    assert found is not None
    assert found.spec.name == "mini"
    row = info("mini")
    assert row.on_disk
    assert row.dim == 24
    assert row.bytes == sum(file.stat().st_size for file in twin_folder.iterdir())


def test_encoders_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch import registry

    made: list[tuple[Any, ...]] = []

    def factory(*arguments: Any) -> ToyEncoder:
        made.append(arguments)
        return ToyEncoder()

    known: Callable[[str], list[str]] = registry.names
    monkeypatch.setattr(registry, "names", lambda seam: [*known(seam), "acme"])
    monkeypatch.setattr(registry, "load", lambda seam, name: factory)
    resolve("acme")
    resolve("acme:fast/v2")
    assert made == [(), ("fast/v2",)]
    assert json.dumps(canonical("acme:fast/v2")) == '"acme:fast/v2"'


def test_importing_models_is_light() -> None:
    import subprocess

    code = "import sys, mmsearch.models; print({'torch', 'open_clip', 'onnxruntime', 'huggingface_hub'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "set()\n"
