"""The architecture of `mini`, as an open_clip configuration, and how its towers are called in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

EMBED_DIM = 256
MERGES = 10_000
CONTEXT = 32
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)


def model_config(image_size: int = 160) -> dict[str, Any]:
    """open_clip's `model_cfg`: FasterNet-T0 for pictures, a narrow causal transformer for texts.

    Chosen by training speed on two CPU cores, see benchmarks/mini/RESULTS.md. An empty `timm_proj` makes the trunk's
    own 1280-wide head the projection.
    """
    return {
        "embed_dim": EMBED_DIM,
        "vision_cfg": {
            "timm_model_name": "fasternet_t0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "",
            "image_size": image_size,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 514 + MERGES,
            "width": 256,
            "heads": 4,
            "layers": 3,
        },
    }


def preprocess_config() -> dict[str, Any]:
    """open_clip's `preprocess_cfg`: the whole picture squashed to a square, scaled to -1..1.

    Bilinear, because training's pictures were drawn so: bicubic ones are sharper than any it saw, which costs 0.008 of
    recall@10.
    """
    return {"mean": list(MEAN), "std": list(STD), "interpolation": "bilinear", "resize_mode": "squash"}


def build(config: dict[str, Any], seed: int) -> nn.Module:
    """A model with random weights drawn from `seed`."""
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    model: nn.Module = CLIP(**config)
    return model


def image_features(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The trunk's 1280 features and the joint embedding, not normalised, of (n, 3, S, S) pictures."""
    trunk = model.visual.trunk
    hidden = trunk.forward_head(trunk.forward_features(pixels), pre_logits=True)
    return hidden, trunk.get_classifier()(hidden)


def encode_texts(model: Any, rows: Sequence[Sequence[int]], chunks: int = 1) -> torch.Tensor:
    """Unit float32 rows (n, dim) of ragged token lists.

    Rows are sorted by length and run in `chunks` groups cut to their own longest row, which is exact for a causal tower
    pooled at the end symbol and saves the work on padding.
    """
    device = model.token_embedding.weight.device
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    step = -(-len(rows) // chunks)
    parts = []
    for start in range(0, len(rows), step):
        group = [torch.tensor(rows[i]) for i in order[start : start + step]]
        tokens = nn.utils.rnn.pad_sequence(group, batch_first=True).to(device)
        parts.append(_text_tower(model, tokens))
    inverse = torch.empty(len(rows), dtype=torch.long)
    inverse[torch.tensor(order)] = torch.arange(len(rows))
    return F.normalize(torch.cat(parts).float()[inverse.to(device)], dim=-1)


def _text_tower(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x[torch.arange(len(tokens)), tokens.argmax(dim=-1)])
    return x @ model.text_projection  # type: ignore[no-any-return]
