"""From an open_clip model to a folder of ONNX graphs, refused unless both give the same rows. Needs ``[export]``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mmsearch.encoders import _towers
from mmsearch.encoders._checkpoint import absolute
from mmsearch.encoders._facts import file_sha256
from mmsearch.encoders._tokenize import JsonTokenizer, OpenClipTokenizer, pad
from mmsearch.encoders.onnx import CONFIG, DESCRIPTIONS, FORMAT, OnnxEncoder
from mmsearch.errors import MissingExtra, ModelError, StorageError, UsageError

if TYPE_CHECKING:
    from mmsearch.encoders.openclip import OpenClipEncoder

__all__ = ["MIN_COSINE", "export_onnx"]

MIN_COSINE = 0.9999
OPSET = 18


def export_onnx(encoder: OpenClipEncoder, folder: str | Path) -> Path:
    """Write an open_clip model as a folder for :class:`OnnxEncoder`, with the same fingerprint. A minute for ViT-B/32.

    The folder appears whole, by a rename, or not at all. Refuses (:class:`ModelError`) what comes out further than a
    cosine of 0.9999 from torch in fp32. Needs the extra ``[export]`` (:class:`MissingExtra`).
    """
    folder = absolute(folder)
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise MissingExtra("exporting a model needs onnx and onnxscript", hint="pip install 'mmsearch[export]'")
    if folder.exists():
        raise UsageError(f"{folder} exists already", hint="name a new folder")
    if isinstance(encoder.tokenizer, OpenClipTokenizer):
        raise ModelError(
            f"{encoder.spec.name} needs a tokenizer that only runs with torch or transformers",
            hint="put its tokenizer.json beside the weights",
        )
    towers = _towers.load(
        encoder.checkpoint,
        encoder.tokenizer,
        identity=encoder.spec.fingerprint,
        device=torch.device("cpu"),
        precision="fp32",
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            made = Path(scratch) / "model"
            made.mkdir()
            _graphs(towers, made)
            _describe(encoder, towers, made)
            _compare(encoder, towers, made)
            os.rename(made, folder)
    except OSError as error:
        raise StorageError(f"the exported model cannot be written to {folder}: {error}") from error
    return folder


class _Tower(nn.Module):
    """One encode function as a module, with unit rows."""

    def __init__(self, model: nn.Module, encode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model  # registers the weights; the function only refers to them
        self.encode = encode

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(self.encode(x), dim=-1)


def _graphs(towers: _towers.Towers, folder: Path) -> None:
    model, pre = towers.model, towers.preprocessing
    batch = torch.export.Dim("batch", min=1, max=4096)
    pixels = torch.zeros(2, 3, pre.height, pre.width)
    encode_image: Callable[[Tensor], Tensor] = model.encode_image  # type: ignore[assignment]
    _write(_Tower(model, encode_image), pixels, "pixels", {0: batch}, folder / "image.onnx")
    full = towers.tokenizer.context_length
    rows = towers.tokenizer.rows(["a", "sky"])
    if towers.cut is not None:  # an example of the full length would fix it in the graph
        tokens = torch.from_numpy(pad(rows, min(max(map(len, rows)) + 1, full - 1), towers.tokenizer.padding))
        shape = {0: batch, 1: torch.export.Dim("length", min=2, max=full)}
        _write(_Tower(model, towers.cut), tokens, "tokens", shape, folder / "text.onnx")
    else:
        tokens = torch.from_numpy(pad(rows, full, towers.tokenizer.padding))
        encode_text: Callable[[Tensor], Tensor] = model.encode_text  # type: ignore[assignment]
        _write(_Tower(model, encode_text), tokens, "tokens", {0: batch}, folder / "text.onnx")


def _write(tower: nn.Module, example: Tensor, name: str, shape: dict[int, torch.export.Dim], file: Path) -> None:
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        warnings.simplefilter("ignore")  # the exporter deprecates parts of itself, and reports its progress on stdout
        try:
            program = torch.onnx.export(
                tower.eval(),
                (example,),
                input_names=[name],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=(shape,),
            )
            assert program is not None
            graph = program.model.graph
            for at, node in enumerate(graph):
                for value in node.outputs:
                    value.name = f"{value.name}_{at}"  # the token table's lookup is named "embedding" too
                    value.metadata_props.clear()
                node.metadata_props.clear()  # stack traces, with the paths of this machine
            graph.outputs[0].name = "embedding"
            program.save(str(file), external_data=True)
        except Exception as error:  # noqa: BLE001 -- the exporter raises many kinds
            why = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(f"this model cannot be written as ONNX: {why[0][:200]}") from error


def _describe(encoder: OpenClipEncoder, towers: _towers.Towers, folder: Path) -> None:
    found, spec = encoder.checkpoint, encoder.spec
    pre = {key: value for key, value in towers.preprocessing.open_clip().items() if key != "size"}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": dict(found.model_cfg), "preprocess_cfg": pre}, indent=1))
    if isinstance(encoder.tokenizer, JsonTokenizer):
        for file in (encoder.tokenizer.file, encoder.tokenizer.file.with_name("tokenizer_config.json")):
            if file.is_file():
                shutil.copy(file, folder / file.name)
    files = {
        path.name: {"sha256": file_sha256(path, again=True), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    about = {
        "format": FORMAT,
        "name": spec.name,
        "licence": spec.licence,
        "dim": spec.dim,
        "image_size": spec.image_size,
        "context_length": spec.context_length,
        "bpe_merges": getattr(encoder.tokenizer, "merges", None),
        "weights_sha256": file_sha256(found.weights),
        "text_cut": towers.cut is not None,
        "files": files,
    }
    (folder / DESCRIPTIONS[0]).write_text(json.dumps(about, indent=1))


def _compare(encoder: OpenClipEncoder, towers: _towers.Towers, folder: Path) -> None:
    """Raise :class:`ModelError` unless graphs and torch agree on the probe, alone and in a batch."""
    twin = OnnxEncoder(folder, threads=1)
    if twin.spec.fingerprint != encoder.spec.fingerprint:
        raise ModelError("the exported model's description does not match its source", hint="please report this")
    pixels = _towers.probe_pixels(towers.preprocessing)
    texts = [*_towers.PROBE_TEXTS, "word " * 200]
    expected = np.concatenate([towers.images(pixels), towers.texts(towers.tokenizer.rows(texts))])
    together = np.concatenate([twin.encode_images(pixels), twin.encode_texts(texts)])
    alone = np.concatenate([twin.encode_images(pixels[:1]), twin.encode_texts(texts[:1])])
    worst = min((expected * together).sum(axis=1).min(), (expected[[0, len(pixels)]] * alone).sum(axis=1).min())
    if not worst >= MIN_COSINE:
        raise ModelError(
            f"the exported graphs differ from torch (cosine {worst:.5f}, and {MIN_COSINE} is needed); nothing was kept",
            hint="use the model through torch",
        )
