"""Tiny models in the real formats, made once: random weights, one or two layers, a few pixels."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

VIT = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
SMALL_BPE = {"context_length": 24, "vocab_size": 714, "width": 32, "heads": 2, "layers": 2}
"""A text tower for the first 200 merges, as ``mini`` has one for its first thousands."""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remembered facts and settings of the person who runs the tests stay out of them, and the other way round."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HF_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        for name in [name for name in os.environ if name.startswith("MMSEARCH_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def build(folder: Path, *, vision: dict[str, Any] = VIT, text: dict[str, Any] = TEXT, seed: int = 0,
          preprocess: dict[str, Any] | None = None, merges: int | None = None, **more: Any) -> Path:
    """A ``local-dir:`` folder with random weights; ``merges`` cuts the byte-pair encoding as mini's is cut."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, **more}
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess or HALF})
    )
    if merges is not None:
        (folder / "mini.json").write_text(json.dumps({"format": 1, "bpe_merges": merges}))
    torch.manual_seed(seed)
    arguments = dict(config)
    kind = open_clip.CustomTextCLIP if arguments.pop("custom_text", False) else open_clip.CLIP
    if "multimodal_cfg" in arguments:
        kind = open_clip.CoCa
    model = kind(**arguments)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:  # open_clip's initial weights are so small that all texts come out nearly alike
            parameter.data.normal_(std=0.3 if "embedding" in name else parameter.shape[-1] ** -0.5)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()},
              folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make(vision=…, text=…)`` → a new folder."""

    def made(**options: Any) -> Path:
        return build(tmp_path_factory.mktemp("model") / "m", **options)

    return made


@pytest.fixture(scope="session")
def vit(make: Callable[..., Path]) -> Path:
    """A ViT with CLIP's own tokenizer."""
    return make()


@pytest.fixture(scope="session")
def small(make: Callable[..., Path]) -> Path:
    """A ViT with a cut byte-pair encoding: the shape of mini."""
    return make(text=SMALL_BPE, merges=200)


@pytest.fixture(scope="session")
def twin_folder(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``small`` as ONNX. An export takes seconds: tests share this one and copy it before they damage it."""
    from mmsearch.encoders.export import export_onnx
    from mmsearch.encoders.openclip import OpenClipEncoder

    return export_onnx(OpenClipEncoder(f"local-dir:{small}", device="cpu"), tmp_path_factory.mktemp("onnx") / "twin")
