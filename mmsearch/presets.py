"""The models that we recommend, as data: name, weights, size, licence, measured recall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A model that we recommend. ``download`` is bytes, ``image_size`` pixels, and ``recall`` a measured percentage.

    ``recall`` is the mean of recall@1, @5 and @10 on English captions in Immich's published table; ``None``: not in it.
    """

    name: str
    model: str
    summary: str
    licence: str
    dim: int
    image_size: int
    download: int
    recall: float | None = None
    repo: str | None = None


def _presets() -> dict[str, Preset]:
    rows = (
        Preset("mini", "mini", "built in, works with no network", "Apache-2.0", 0, 0, 0),
        Preset(
            "small", "PE-Core-T-16-384/meta", "the smallest download; sharp images, short texts (32 tokens)",
            "Apache-2.0", 512, 384, 278_184_452, None, "timm/PE-Core-T-16-384",
        ),
        Preset(
            "base", "ViT-B-32/laion2b_s34b_b79k", "fast on a CPU and good for photos; the default",
            "MIT", 512, 224, 605_109_252, 68.8, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        ),
        Preset(
            "multilingual", "ViT-B-16-SigLIP2/webli", "many languages, better than base, 2.5 times slower",
            "Apache-2.0", 768, 224, 1_500_751_880, 75.2, "timm/ViT-B-16-SigLIP2",
        ),
        Preset(
            "max", "ViT-SO400M-16-SigLIP2-384/webli", "the best here, many languages; wants a GPU",
            "Apache-2.0", 1152, 384, 4_544_158_408, None, "timm/ViT-SO400M-16-SigLIP2-384",
        ),
    )  # fmt: skip
    return {row.name: row for row in rows}


PRESETS: Mapping[str, Preset] = MappingProxyType(_presets())
"""The presets by name, weakest first."""
