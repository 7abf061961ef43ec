"""Write a trained model as the folder that `encoders/mini/FORMAT.md` describes, and refuse if it does not agree.

Weights are stored once: the ONNX graphs name byte ranges of `open_clip_model.safetensors` as their external data.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
IMAGE_GRAPH = "image.onnx"
TEXT_GRAPH = "text.onnx"
CARD = "mini.json"
LEAST_COSINE = 0.9999
OPSET = 17


class ExportRefused(RuntimeError):
    """The written graphs do not give what the torch model gives."""


class _ImageTower(nn.Module):
    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.visual = clip.visual

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.visual(pixels), dim=-1)


class _TextTower(nn.Module):
    """open_clip's causal text tower for any length up to the context's; pooled at the largest id, the end symbol."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.token_embedding, self.positional_embedding = clip.token_embedding, clip.positional_embedding
        self.transformer, self.ln_final = clip.transformer, clip.ln_final
        self.text_projection = clip.text_projection
        self.attn_mask: torch.Tensor
        self.register_buffer("attn_mask", clip.attn_mask)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        mask = self.attn_mask[:length, :length]
        for block in self.transformer.resblocks:
            x = x + self._attend(block.attn, block.ln_1(x), mask)
            x = x + block.mlp(block.ln_2(x))
        end = F.one_hot(tokens.argmax(dim=-1), tokens.shape[1]).to(x.dtype)
        pooled = self.ln_final((x * end.unsqueeze(-1)).sum(dim=1))
        return F.normalize(pooled @ self.text_projection, dim=-1)

    @staticmethod
    def _attend(attn: nn.MultiheadAttention, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Plain multi-head attention: torch's fused module traces to a graph with fixed sizes."""
        n, length, width = x.shape
        heads, size = attn.num_heads, width // attn.num_heads
        qkv = F.linear(x, attn.in_proj_weight, attn.in_proj_bias).reshape(n, length, 3, heads, size)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(dim=2))
        weights = (q @ k.transpose(-1, -2) * size**-0.5 + mask).softmax(dim=-1)
        return attn.out_proj((weights @ v).transpose(1, 2).reshape(n, length, width))  # type: ignore[no-any-return]


def export(clip: nn.Module, config: dict[str, Any], card: dict[str, Any], folder: Path) -> None:
    """Write all files of the format into `folder`, then check them; ExportRefused leaves the files for inspection.

    `config` is `{"model_cfg": …, "preprocess_cfg": …}`; `card` holds what `mini.json` says beside the checksums.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clip = clip.eval().float().to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    save_half(clip, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    load_half(clip, folder / WEIGHTS)
    size = config["model_cfg"]["vision_cfg"]["image_size"]
    vocabulary = config["model_cfg"]["text_cfg"]["vocab_size"]
    offsets = tensor_ranges(folder / WEIGHTS)
    tokens = torch.randint(1, vocabulary - 2, (2, 7))
    tokens[:, -1] = vocabulary - 1
    _graph(_ImageTower(clip), torch.rand(2, 3, size, size), ("pixels", {0: "n"}), folder / IMAGE_GRAPH, offsets)
    _graph(_TextTower(clip), tokens, ("tokens", {0: "n", 1: "length"}), folder / TEXT_GRAPH, offsets)
    names = (WEIGHTS, CONFIG, IMAGE_GRAPH, TEXT_GRAPH)
    files = {n: {"sha256": sha256(folder / n), "bytes": (folder / n).stat().st_size} for n in names}
    (folder / CARD).write_text(json.dumps({"format": 1, **card, "files": files}, indent=2) + "\n", encoding="utf-8")
    check(clip, config, folder)


def note_measured(folder: Path, measured: dict[str, Any]) -> None:
    """Add measurements to `mini.json`."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    card["measured"] = measured
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def save_half(clip: nn.Module, target: Path) -> None:
    """Every weight as float16 (counters as they are) under open_clip's names; nothing is stored twice."""
    from safetensors.torch import save_file

    state = {k: v.detach().half() if v.is_floating_point() else v for k, v in clip.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, target)
    target.chmod(0o644)


def load_half(clip: nn.Module, source: Path) -> None:
    """Read the weights back, rounded as they now are, into a float32 model."""
    from safetensors.torch import load_file

    clip.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(source).items()})


def tensor_ranges(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Name of each float16 tensor of a safetensors file -> (offset in the file, length, content)."""
    raw = path.read_bytes()
    (header,) = struct.unpack("<Q", raw[:8])
    table = json.loads(raw[8 : 8 + header])
    out = {}
    for name, entry in table.items():
        if name != "__metadata__" and entry["dtype"] == "F16":
            low, high = (8 + header + x for x in entry["data_offsets"])
            out[name] = (low, high - low, raw[low:high])
    return out


def _graph(
    tower: nn.Module,
    example: torch.Tensor,
    signature: tuple[str, dict[int, str]],
    target: Path,
    ranges: dict[str, tuple[int, int, bytes]],
) -> None:
    """Trace one tower and move its weights out of the graph."""
    import onnx

    name, axes = signature
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The tracer keeps weights as they are, so they are found again by content; it warns that it is the older way.
        warnings.simplefilter("ignore")
        path = Path(folder) / "traced.onnx"
        torch.onnx.export(
            tower.eval(),
            (example,),
            str(path),
            input_names=[name],
            output_names=["embedding"],
            dynamic_axes={name: axes, "embedding": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.EVAL,
        )
        model = onnx.load(str(path))
    share_weights(model, ranges)
    onnx.save(model, str(target))


def share_weights(model: Any, ranges: dict[str, tuple[int, int, bytes]], least: int = 256) -> None:
    """Replace each initialiser of `least` bytes or more by a Cast of a float16 tensor that lies in the weights file.

    Initialisers are matched by content, because tracing renames some; one that matches nothing (a mask, a constant)
    stays inside the graph.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    by_content = {(content, True): (name, low, size) for name, (low, size, content) in ranges.items()}
    graph = model.graph
    kept, casts = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        found = by_content.get((values.astype(np.float16).tobytes(), True)) if values.dtype == np.float32 else None
        if found is None or values.nbytes < least:
            kept.append(tensor)
            continue
        _name, low, size = found
        half = onnx.TensorProto(name=f"{tensor.name}.half", data_type=TensorProto.FLOAT16, dims=tensor.dims)
        half.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", str(low)), ("length", str(size))):
            half.external_data.add(key=key, value=value)
        kept.append(half)
        casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


def check(clip: Any, config: dict[str, Any], folder: Path) -> float:
    """Smallest cosine between torch and onnxruntime over random pictures and token rows; raises below LEAST_COSINE."""
    import onnxruntime

    size = config["model_cfg"]["vision_cfg"]["image_size"]
    text = config["model_cfg"]["text_cfg"]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(5, 3, size, size, generator=generator) * 2 - 1
    tokens = torch.randint(1, text["vocab_size"] - 2, (6, text["context_length"]), generator=generator)
    for row, length in enumerate((2, 3, 4, 5, 7, text["context_length"])):
        tokens[row, length - 1], tokens[row, length:] = text["vocab_size"] - 1, 0
    worst = 1.0
    runs: list[tuple[str, str, torch.Tensor, Callable[..., torch.Tensor]]] = [
        (IMAGE_GRAPH, "pixels", pixels, clip.encode_image),
        (TEXT_GRAPH, "tokens", tokens, clip.encode_text),
    ]
    for graph, name, value, tower in runs:
        session = onnxruntime.InferenceSession(str(folder / graph), providers=["CPUExecutionProvider"])
        (given,) = session.run(None, {name: value.numpy()})
        with torch.inference_mode():
            wanted = tower(value, normalize=True).numpy()
        worst = min(worst, float((given * wanted).sum(axis=1).min()))
    if not worst >= LEAST_COSINE:
        raise ExportRefused(f"onnxruntime and torch agree only to a cosine of {worst:.6f} in {folder}")
    return worst


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
