"""What makes two encoders the same: the fingerprint, and the preprocessing that is a part of it.

A fingerprint is a SHA-256 over five things: the content of the weights as published (one file's SHA-256), how the
towers use them (activation, pooling, masks, heads), the image preprocessing, the tokenizer, and the *precision class*.
Encoders with equal fingerprints give vectors that may be compared, so a collection may be filled by one and asked by
the other.

The precision class is not the arithmetic. Every encoder here proves, on a probe batch, that its rows have a cosine of
at least 0.999 to those of the fp32 model, or else refuses to run in that arithmetic. fp32, bf16 and fp16 that passed,
and an ONNX twin (0.9999 at export), therefore share the class :data:`PARITY`: a collection built in bf16 on one
machine is asked in fp32 on another, and through onnxruntime where starting torch would take seconds. (Stored rows are
f16 anyway.) An encoder that is further from fp32 than that MUST name a class of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mmsearch.errors import ModelCorrupt

if TYPE_CHECKING:
    from mmsearch.preprocess import Preprocess

__all__ = ["MIN_PARITY", "PARITY", "Preprocessing", "behaviour", "fingerprint"]

PARITY = "cosine>=0.999 to fp32"
"""The precision class of fp32 and of whatever was proved close to it."""
MIN_PARITY = 0.999
MAX_DIM, MAX_SIDE = 65_536, 8_192
"""Longer rows and larger inputs are no model's, but a damaged configuration's; what they need would fill the memory."""

_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """open_clip's inference preprocessing, in full. ``mean`` and ``std`` are of RGB in 0–1; sizes are pixels."""

    width: int
    height: int
    mode: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int = 0
    mean: tuple[float, float, float] = _OPENAI_MEAN
    std: tuple[float, float, float] = _OPENAI_STD

    @classmethod
    def of(cls, model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any]) -> Preprocessing:
        """From the two halves of an ``open_clip_config.json``; keys that are missing get open_clip's defaults.

        The size is the vision tower's, as in open_clip, whatever ``preprocess_cfg`` says. Raises :class:`ModelCorrupt`.
        """
        try:
            size = model_cfg["vision_cfg"].get("image_size", 224)
            height, width = (size, size) if isinstance(size, int) else size
            given = {key: value for key, value in preprocess_cfg.items() if value is not None}
            mode = given.get("resize_mode", "shortest")
            if mode not in ("shortest", "longest", "squash"):
                raise ValueError(f"resize_mode {mode!r} is not known")
            if not (1 <= int(width) <= MAX_SIDE and 1 <= int(height) <= MAX_SIDE):
                raise ValueError(f"an input of {width}x{height} pixels")
            return cls(
                width=int(width),
                height=int(height),
                mode=mode,
                interpolation="bilinear" if given.get("interpolation") == "bilinear" else "bicubic",
                fill=int(given.get("fill_color", 0)),
                mean=_triple(given.get("mean", _OPENAI_MEAN)),
                std=_triple(given.get("std", _OPENAI_STD)),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelCorrupt(f"the model's configuration cannot be used: {error!r}") from error

    def preparer(self) -> Preprocess:
        """The part that runs per picture, in the loader's workers."""
        from mmsearch.preprocess import Preprocess

        return Preprocess(
            width=self.width, height=self.height, mode=self.mode, interpolation=self.interpolation, fill=self.fill
        )

    def open_clip(self) -> dict[str, Any]:
        """The same as open_clip's ``preprocess_cfg``."""
        return {
            "size": (self.height, self.width),
            "mode": "RGB",
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
            "resize_mode": self.mode,
            "fill_color": self.fill,
        }

    def canonical(self) -> dict[str, Any]:
        """As it enters the fingerprint: numbers rounded, so that 0.5 and 0.500000001 are one."""
        return {
            "size": [self.width, self.height],
            "mode": self.mode,
            "interpolation": self.interpolation,
            "fill": self.fill if self.mode == "longest" else 0,  # the other modes leave nothing to fill
            "mean": [f"{value:.6f}" for value in self.mean],
            "std": [f"{value:.6f}" for value in self.std],
        }


def dimension(value: Any) -> int:
    """The length of a model's rows as its configuration has it. Raises :class:`ModelCorrupt` for what can be none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_DIM:
        raise ModelCorrupt(f"the model's configuration cannot be used: its rows have the length {value!r}")
    return value


def _triple(value: Any) -> tuple[float, float, float]:
    if isinstance(value, int | float):
        return float(value), float(value), float(value)
    first, second, third = value
    return float(first), float(second), float(third)


_TOWER: dict[str, Any] = {  # open_clip's defaults; what the weights' shapes already tell is left out
    "pool_type": None,
    "act_kwargs": {},
    "norm_kwargs": {},
    "final_ln_after_pool": False,
    "scaled_cosine_attn": False,
}
_VISION: dict[str, Any] = {
    **_TOWER,
    "head_width": 64,
    "attentional_pool": False,
    "attn_pooler_heads": 8,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "timm_model_name": None,
    "timm_pool": "avg",
    "timm_proj": "linear",
}
_TEXT: dict[str, Any] = {
    **_TOWER,
    "heads": 8,
    "no_causal_mask": False,
    "use_pad_mask": False,
    "correct_cls_mask": False,
    "embed_cls": False,
    "pad_id": 0,
    "eos_id": 2,
    "proj_type": "linear",
    "hf_model_name": None,
    "hf_proj_type": "mlp",
    "hf_pooler_type": "mean_pooler",
}


def behaviour(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What changes the result of the same weights, where it differs from open_clip's default.

    Only named keys count, and defaults do not: a later open_clip that writes its defaults out, or adds keys for
    training, must not make every collection look as if it were of another model.
    """
    parts = (("", {"quick_gelu": False}, model_cfg),
             ("vision.", _VISION, model_cfg.get("vision_cfg", {})),
             ("text.", _TEXT, model_cfg.get("text_cfg", {})))  # fmt: skip
    return {
        f"{prefix}{key}": given[key]
        for prefix, defaults, given in parts
        for key, default in defaults.items()
        if key in given and given[key] is not None and given[key] != default
    }


def fingerprint(
    *, weights: str, model_cfg: Mapping[str, Any], preprocessing: Preprocessing, tokenizer: str, precision: str = PARITY
) -> str:
    """Hex SHA-256 that names an embedding space.

    ``weights`` is the SHA-256 of the published weights file (the ONNX twin records it), ``model_cfg`` open_clip's,
    ``tokenizer`` an identity such as ``clip-bpe:all:77``, ``precision`` the class, not the arithmetic.
    """
    parts = {
        "v": 1,
        "weights": weights,
        "behaviour": behaviour(model_cfg),
        "preprocessing": preprocessing.canonical(),
        "tokenizer": tokenizer,
        "precision": precision,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
