"""Write a trained head as two ONNX graphs beside the towers that it belongs to, and refuse if they do not agree with torch.

The towers' own weights are not stored again: the graphs name byte ranges of their safetensors file, as mini's own graphs do.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmsearch.encoders.matching import CARD, FORMAT, LOOK_GRAPH, MATCH_GRAPH, MEMORY, READING
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.reading import Reading
from mmsearch.encoders.recall import Recall
from mmsearch.training.export import OPSET, ExportRefused, _TextTower, share_weights, tensor_ranges
from mmsearch.training.export import WEIGHTS as TOWERS
from mmsearch.training.matching_data import Frozen, windows
from mmsearch.training.matching_head import MatchingHead
from mmsearch.training.matching_report import TOP, Outcome

TOLERANCE = 0.05
"""Largest difference of a logit between torch and onnxruntime; logits of a picture's best and tenth text are some units apart."""


class _Look(nn.Module):
    """Pixels to picture tokens, and to the feature map's windows."""

    def __init__(self, frozen: Frozen, head: MatchingHead) -> None:
        super().__init__()
        self.trunk, self.head = frozen.clip.visual.trunk, head

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        grid = self.trunk.forward_features(pixels)
        cells = grid.flatten(2).transpose(1, 2)
        n, count, channels = cells.shape
        alone = self.trunk.forward_head(cells.reshape(-1, channels, 1, 1), pre_logits=True)
        local = F.normalize(self.trunk.get_classifier()(alone), dim=-1).reshape(n, count, -1)
        whole = F.normalize(self.trunk.get_classifier()(self.trunk.forward_head(grid, pre_logits=True)), dim=-1)
        return self.head.picture(cells, local, whole), windows(cells)


class _Match(nn.Module):
    """One text's tokens and picture tokens to logits."""

    def __init__(self, frozen: Frozen, head: MatchingHead) -> None:
        super().__init__()
        self.tower, self.head = _TextTower(frozen.clip), head

    def forward(self, tokens: Tensor, pictures: Tensor) -> Tensor:
        tower, length = self.tower, tokens.shape[1]
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        mask = tower.attn_mask[:length, :length]
        for block in tower.transformer.resblocks:
            x = x + tower._attend(block.attn, block.ln_1(x), mask)
            x = x + block.mlp(block.ln_2(x))
        states = tower.ln_final(x)
        joint = F.normalize(states @ tower.text_projection, dim=-1)
        words, gates = self.head.text(states, joint, torch.ones_like(tokens, dtype=torch.bool))
        return self.head.pairs(words, gates, pictures)[0]


def export(
    frozen: Frozen, head: MatchingHead, memory: Recall, reading: Reading, folder: Path, weight: float, outcome: Outcome
) -> dict[str, Any]:
    """Write graphs, memory, reading and card into the towers' folder; returns the card. Raises :class:`ExportRefused`."""
    head = head.eval().float().requires_grad_(False)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(parameter.half().float())
    size, vocabulary = frozen.size, frozen.config["model_cfg"]["text_cfg"]["vocab_size"]
    pixels = torch.rand(2, 3, size, size) * 2 - 1
    tokens = torch.randint(1, vocabulary - 2, (1, 7))
    look, match = _Look(frozen, head).eval(), _Match(frozen, head).eval()
    with torch.inference_mode():
        pictures = look(pixels)[0].clone()
    _graph(look, (pixels,), {"pixels": {0: "n"}}, ("cells", "pooled"), folder / LOOK_GRAPH, folder)
    axes = {"tokens": {1: "length"}, "cells": {0: "n"}}
    _graph(match, (tokens, pictures), axes, ("logits",), folder / MATCH_GRAPH, folder)
    memory.save(folder / MEMORY)
    reading.save(folder / READING)
    names = (LOOK_GRAPH, MATCH_GRAPH, MEMORY, READING)
    card = {
        "format": FORMAT,
        "towers": OnnxEncoder(folder).spec.fingerprint,
        "weight": weight,
        "top": TOP,
        "cells": list(pictures.shape[1:]),
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
        "measured": {"flickr8k-dev": outcome.summary()},
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    check(look, match, frozen, folder)
    return card


def check(look: nn.Module, match: nn.Module, frozen: Frozen, folder: Path) -> float:
    """Largest difference of any logit between torch and onnxruntime, over random pictures and texts of several lengths.

    The windows' largest difference counts too, as a share of the largest value.
    """
    import onnxruntime

    run: dict[str, Callable[..., Any]] = {
        name: onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"]).run
        for name in (LOOK_GRAPH, MATCH_GRAPH)
    }
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(5, 3, frozen.size, frozen.size, generator=generator) * 2 - 1
    vocabulary = frozen.config["model_cfg"]["text_cfg"]["vocab_size"]
    cells, pooled = run[LOOK_GRAPH](None, {"pixels": pixels.numpy()})
    with torch.inference_mode():
        wanted, windowed = look(pixels)
        worst = float(np.abs(pooled - windowed.numpy()).max() / windowed.abs().max())
        for length in (2, 3, 9, frozen.config["model_cfg"]["text_cfg"]["context_length"]):
            tokens = torch.randint(1, vocabulary - 2, (1, length), generator=generator)
            (found,) = run[MATCH_GRAPH](None, {"tokens": tokens.numpy(), "cells": cells})
            worst = max(worst, float(np.abs(found - match(tokens, wanted).numpy()).max()))
    if not worst <= TOLERANCE:
        raise ExportRefused(f"onnxruntime's logits are {worst:.3f} away from torch's in {folder}")
    return worst


def _graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    axes: dict[str, dict[int, str]],
    outputs: tuple[str, ...],
    target: Path,
    folder: Path,
) -> None:
    import onnx

    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer says that it is the older way
        traced = Path(place) / "traced.onnx"
        torch.onnx.export(
            module,
            example,
            str(traced),
            input_names=list(axes),
            output_names=list(outputs),
            dynamic_axes={**axes, **{name: {0: "n"} for name in outputs}},
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.EVAL,
        )
        model = onnx.load(str(traced))
    share_weights(model, tensor_ranges(folder / TOWERS))
    _halve(model)
    onnx.save(model, str(target))


def _halve(model: Any, least: int = 256) -> None:
    """The weights that are left, the head's own, as float16 with a Cast behind each."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kept, casts = [], []
    for tensor in model.graph.initializer:
        own = tensor.data_location != TensorProto.EXTERNAL and tensor.data_type == TensorProto.FLOAT
        values = numpy_helper.to_array(tensor) if own else np.zeros(0, np.float32)
        half = values.astype(np.float16)
        if values.nbytes < least or not np.array_equal(half.astype(np.float32), values):
            kept.append(tensor)
            continue
        stored: onnx.TensorProto = numpy_helper.from_array(half, f"{tensor.name}.half")
        kept.append(stored)
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
