"""ONNX folders: parity with torch, hashes, one tower at a time, and what an export refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from mmsearch.encoders import export, onnx
from mmsearch.encoders.export import export_onnx
from mmsearch.encoders.onnx import OnnxEncoder, mini
from mmsearch.encoders.openclip import OpenClipEncoder
from mmsearch.errors import MissingExtra, ModelCorrupt, ModelError, ModelNotFound, UsageError
from mmsearch.testing.encoders import TEXTS, pictures
from tests.encoders.conftest import TEXT


@pytest.fixture
def folder(twin_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(twin_folder, tmp_path / "twin")


def compare(folder: Path, source: Path) -> None:
    torch_twin = OpenClipEncoder(f"local-dir:{source}", precision="fp32", device="cpu")
    encoder = OnnxEncoder(folder, threads=1)
    assert encoder.spec.fingerprint == torch_twin.spec.fingerprint
    assert encoder.spec.dim == torch_twin.spec.dim
    assert encoder.spec.image_size == torch_twin.spec.image_size
    assert encoder.spec.context_length == torch_twin.spec.context_length
    prepared = [encoder.preparer(picture) for picture in pictures()]
    np.testing.assert_allclose(encoder.encode_images(prepared), torch_twin.encode_images(prepared), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), torch_twin.encode_texts(TEXTS), atol=1e-5)


def test_the_twin_gives_the_rows_of_torch(twin_folder: Path, small: Path) -> None:
    compare(twin_folder, small)
    about = json.loads((twin_folder / "encoder.json").read_text())
    assert about["text_cut"]
    weights = load_file(small / "open_clip_model.safetensors")
    for tower in ("image", "text"):
        numbers = sum(value.size for name, value in weights.items() if name.startswith("visual.") == (tower == "image"))
        stored = about["files"][f"{tower}.onnx"]["bytes"] + about["files"][f"{tower}.onnx.data"]["bytes"]
        assert 4 * numbers <= stored + 8 <= 4 * numbers + 80_000, "each tower has its own weights and no others"


def test_a_tower_that_wants_its_padding(make: Callable[..., Path], tmp_path: Path) -> None:
    source = make(custom_text=True, text={**TEXT, "no_causal_mask": True, "pool_type": "last"})
    folder = export_onnx(OpenClipEncoder(f"local-dir:{source}"), tmp_path / "twin")
    assert not json.loads((folder / "encoder.json").read_text())["text_cut"]
    compare(folder, source)


def test_each_tower_is_loaded_alone(twin_folder: Path) -> None:
    encoder = OnnxEncoder(twin_folder, threads=1)
    encoder.encode_texts(["a"])
    assert set(encoder._sessions) == {"text quick"}
    encoder.encode_images([encoder.preparer(pictures()[0])])
    assert set(encoder._sessions) == {"text quick", "image"}


def test_one_query_is_answered_by_a_graph_that_loads_fast_and_many_by_one_that_runs_fast(twin_folder: Path) -> None:
    quick, thorough = OnnxEncoder(twin_folder, threads=1), OnnxEncoder(twin_folder, threads=1)
    many = thorough.encode_texts(["a red cat", "two dogs"])
    assert set(thorough._sessions) == {"text"}
    for _ in range(4):
        assert np.abs(quick.encode_texts(["a red cat"]) - many[:1]).max() < 1e-6
    assert set(quick._sessions) == {"text quick"}
    assert np.abs(quick.encode_texts(["a red cat"]) - many[:1]).max() < 1e-6
    assert set(quick._sessions) == {"text"}, "the other is not kept beside it"


def test_damage_is_seen_by_the_hash(folder: Path) -> None:
    OnnxEncoder(folder).verify()
    data = folder / "image.onnx.data"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    encoder = OnnxEncoder(folder, threads=1)
    assert encoder.encode_texts(["a"]).shape == (1, 24), "the text tower is whole"
    with pytest.raises(ModelCorrupt, match=r"image\.onnx\.data is damaged: its SHA-256 is not the recorded one"):
        encoder.encode_images([encoder.preparer(pictures()[0])])
    with pytest.raises(ModelCorrupt, match="is damaged"):
        encoder.verify()


def test_a_file_that_is_gone(folder: Path) -> None:
    (folder / "text.onnx").unlink()
    with pytest.raises(ModelCorrupt, match=r"text\.onnx cannot be read: No such file"):
        OnnxEncoder(folder).encode_texts(["a"])


def test_a_graph_that_is_none(folder: Path) -> None:
    (folder / "text.onnx").write_bytes(b"not a graph")
    about = json.loads((folder / "encoder.json").read_text())
    about["files"]["text.onnx"]["sha256"] = onnx.file_sha256(folder / "text.onnx")
    (folder / "encoder.json").write_text(json.dumps(about))
    with pytest.raises(ModelCorrupt, match=r"text\.onnx cannot be loaded") as caught:
        OnnxEncoder(folder).encode_texts(["a"])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 2}, "has format 2, and this mmsearch reads 1"), ({"dim": None}, "rows have the length None"),
     ({"files": []}, "lacks something"), ({"files": {}, "weights_sha256": None}, "lacks something")],
)  # fmt: skip
def test_descriptions_that_make_no_sense(folder: Path, change: dict[str, Any], message: str) -> None:
    about = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps({**about, **change}))
    with pytest.raises(ModelCorrupt, match=message):
        _ = OnnxEncoder(folder).spec
    (folder / "encoder.json").write_text("{")
    with pytest.raises(ModelCorrupt, match="cannot be read as JSON"):
        _ = OnnxEncoder(folder).spec


def test_folders_that_are_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", Path(__file__)):
        with pytest.raises(ModelNotFound, match="is not a folder with an ONNX model"):
            _ = OnnxEncoder(path).spec


def test_wrong_arguments(twin_folder: Path) -> None:
    with pytest.raises(UsageError, match="0 threads"):
        OnnxEncoder(twin_folder, threads=0)
    with pytest.raises(UsageError, match=r"takes uint8 arrays \(32, 32, 3\)"):
        OnnxEncoder(twin_folder).encode_images([np.zeros((8, 8, 3), dtype=np.uint8)])


def test_batches_are_halved_when_memory_runs_out(twin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = OnnxEncoder(twin_folder, threads=1, batch_size=8)
    expected = encoder.encode_texts(TEXTS)
    run, sizes = OnnxEncoder._run, []

    def limited(self: OnnxEncoder, tower: str, name: str, values: Any) -> Any:
        sizes.append(len(values))
        if len(values) > 2:
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer")
        return run(self, tower, name, values)

    monkeypatch.setattr(OnnxEncoder, "_run", limited)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5)
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]


def test_an_export_that_differs_is_refused(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def graphs(towers: Any, folder: Path) -> None:  # the exporter takes seconds; what it wrote is not the point
        for name in ("image.onnx", "text.onnx"):
            (folder / name).write_bytes(name.encode())

    def other_rows(self: OnnxEncoder, rows: Any) -> Any:
        return np.full((len(rows), 24), 24**-0.5, dtype=np.float32)

    monkeypatch.setattr(export, "_graphs", graphs)
    monkeypatch.setattr(OnnxEncoder, "encode_images", other_rows)
    monkeypatch.setattr(OnnxEncoder, "encode_texts", other_rows)
    with pytest.raises(ModelError, match="the exported graphs differ from torch") as caught:
        export_onnx(OpenClipEncoder(f"local-dir:{small}"), tmp_path / "twin")
    assert caught.value.hint == "use the model through torch"
    assert list(tmp_path.iterdir()) == []


def test_an_export_needs_a_new_folder_and_its_extra(
    small: Path, twin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="exists already"):
        export_onnx(OpenClipEncoder(f"local-dir:{small}"), twin_folder)
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        export_onnx(OpenClipEncoder(f"local-dir:{small}"), tmp_path / "twin")
    assert caught.value.hint == "pip install 'mmsearch[export]'"


def test_a_query_needs_no_torch(twin_folder: Path) -> None:
    code = (
        "import sys; from mmsearch.encoders.onnx import OnnxEncoder\n"
        f"encoder = OnnxEncoder({str(twin_folder)!r}, threads=1); spec = encoder.spec\n"
        "assert 'onnxruntime' not in sys.modules, 'the spec is free'\n"
        "print(encoder.encode_texts(['a dog']).shape)\n"
        "print(sorted({'torch', 'open_clip', 'torchvision', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(1, 24)\n[]\n", "")


needs_mini = pytest.mark.skipif(not (onnx.MINI / "mini.json").is_file(), reason="this tree has no weights of mini")


@needs_mini
def test_mini_through_torch_and_onnx() -> None:
    light, heavy = mini(threads=1), OpenClipEncoder("mini", precision="fp32", device="cpu")
    light.verify()
    assert light.spec.name == heavy.spec.name == "mini"
    assert light.spec.fingerprint == heavy.spec.fingerprint
    assert light.spec.dim == heavy.spec.dim
    assert light.spec.image_size == heavy.spec.image_size
    prepared = [light.preparer(picture) for picture in pictures()]
    for ours, torchs in (
        (light.encode_images(prepared), heavy.encode_images(prepared)),
        (light.encode_texts(TEXTS), heavy.encode_texts(TEXTS)),
    ):
        assert (ours * torchs).sum(axis=1).min() > 0.9999


def test_no_mini_in_this_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "MINI", tmp_path)
    with pytest.raises(ModelNotFound, match="has no built-in model") as caught:
        _ = mini().spec
    assert caught.value.hint == "install mmsearch from its wheel"
