"""Targets from a frozen ImageNet network (timm `mobilenet_edgetpu_100`, Apache-2.0), computed once per fixed view.

No weight of the teacher ends up in `mini`; its 1280 pooled features are what the student learns to predict.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmsearch.training.data import Corpus
from mmsearch.training.mixes import mix_of, mixed
from mmsearch.training.views import render, view_boxes

WEIGHTS = "teachers/mobilenet_edgetpu_100_fp16.safetensors"
PREFIX = "visual.trunk."
WIDTH = 1280
SIZE = 192
"""Pixels the teacher sees: on pictures of 136 px, 192 costs 0.006 of recall@10 against 224 and 0.7 of the time."""

Features = npt.NDArray[np.float16]


def load_teacher(data_dir: Path, device: torch.device) -> nn.Module:
    """Build the teacher in bf16, in eval mode, without gradients."""
    import timm
    from safetensors.torch import load_file

    state = {key.removeprefix(PREFIX): value.float() for key, value in load_file(data_dir / WEIGHTS).items()}
    model: nn.Module = timm.create_model("mobilenet_edgetpu_100", pad_type="same", num_classes=0)
    model.load_state_dict(state)
    model.requires_grad_(False)
    return model.eval().to(device, torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def feature_file(cache_dir: Path, corpus_name: str, view: int) -> Path:
    """Where one view's features of one corpus lie."""
    return cache_dir / f"{corpus_name}.teacher{SIZE}.view{view}.npy"


def compute_view(model: nn.Module, corpus: Corpus, view: int, device: torch.device, batch: int = 64) -> Features:
    """Features (n, 1280) float16 of one fixed view of every picture, whole pictures when `view` is 0."""
    boxes = torch.from_numpy(view_boxes(len(corpus), view))
    mix = mix_of(len(corpus), view)

    def shown(rows: npt.NDArray[np.int64]) -> torch.Tensor:
        pixels = torch.from_numpy(corpus.images[rows])
        return render(pixels.to(device), boxes[torch.from_numpy(rows)].to(device), SIZE)

    out = np.empty((len(corpus), WIDTH), np.float16)
    with torch.inference_mode():
        for start in range(0, len(corpus), batch):
            rows = np.arange(start, min(start + batch, len(corpus)))
            x = shown(rows)
            if mix is not None:
                place, strength = torch.from_numpy(mix.place[rows]), torch.from_numpy(mix.strength[rows])
                base = torch.ones_like(x) if mix.white else x
                x = mixed(base, shown(mix.partner[rows]), place.to(device), strength.to(device))
            out[rows] = model(x.bfloat16()).float().cpu().numpy()
    return out


def cache_views(
    data_dir: Path,
    cache_dir: Path,
    corpora: list[Corpus],
    views: Sequence[int],
    say: Callable[[str], None],
    device: torch.device,
) -> None:
    """Compute whatever is missing of the numbered `views`; each file appears only when whole, so a killed run resumes."""
    model: nn.Module | None = None
    for view in views:
        for corpus in corpora:
            target = feature_file(cache_dir, corpus.name, view)
            if target.is_file():
                continue
            model = model or load_teacher(data_dir, device)
            partial = target.with_suffix(".partial.npy")
            np.save(partial, compute_view(model, corpus, view, device))
            os.replace(partial, target)
            say(f"teacher: {corpus.name} view {view} done")


def load_views(cache_dir: Path, corpus_name: str, views: Sequence[int]) -> list[Features]:
    """The numbered views, memory-mapped."""
    return [np.load(feature_file(cache_dir, corpus_name, view), mmap_mode="r") for view in views]
