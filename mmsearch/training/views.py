"""Fixed random crops: a pure function of (seed, row, view), so that teacher and student see the very same pixels.

Distillation on consistent views follows Beyer et al., "Knowledge distillation: a good teacher is patient and
consistent" (CVPR 2022); fixing them lets the teacher run once instead of once per step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the name the whole field uses

Boxes = npt.NDArray[np.float32]

MILD = 4
"""Views below this number keep at least 0.35 of a picture's area, later ones 0.25."""


def crop_boxes(n: int, view: int, *, seed: int = 7, least_area: float = 0.35) -> Boxes:
    """Boxes (n, 4) as x0, y0, x1, y1 in 0..1 of one view of every row; view 0 is the whole picture.

    Area is uniform in `least_area`..1 and the aspect log-uniform in 3/4..4/3, as in Inception's random crop.
    """
    if view == 0:
        return np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1))
    rng = np.random.Generator(np.random.PCG64([seed, view]))
    area = rng.uniform(least_area, 1.0, n)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), n))
    width = np.minimum(np.sqrt(area * aspect), 1.0)
    height = np.minimum(np.sqrt(area / aspect), 1.0)
    x0 = rng.uniform(0, 1, n) * (1 - width)
    y0 = rng.uniform(0, 1, n) * (1 - height)
    return np.stack([x0, y0, x0 + width, y0 + height], axis=1).astype(np.float32)


def view_boxes(n: int, view: int) -> Boxes:
    """The boxes that belong to a numbered view: the whole picture, three views of mild crops, then wider ones."""
    return crop_boxes(n, view, least_area=0.35 if view < MILD else 0.25)


def render(pixels: torch.Tensor, boxes: torch.Tensor, size: int, flip: torch.Tensor | None = None) -> torch.Tensor:
    """Cut `boxes` out of uint8 `pixels` (n, S, S, 3) and return (n, 3, size, size) float32 in -1..1, channels last.

    `flip` (n,) bool mirrors rows left to right. Bilinear without antialiasing: the size ratio stays below 1.6.
    """
    image = pixels.permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1.0)
    x0, y0, x1, y1 = boxes.unbind(1)
    sx, sy = x1 - x0, y1 - y0
    cx, cy = x0 + x1 - 1, y0 + y1 - 1
    if flip is not None:
        sx = torch.where(flip, -sx, sx)
    zero = torch.zeros_like(sx)
    theta = torch.stack([torch.stack([sx, zero, cx], 1), torch.stack([zero, sy, cy], 1)], 1)
    grid = F.affine_grid(theta, [len(image), 3, size, size], align_corners=False)
    out = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return out.contiguous(memory_format=torch.channels_last)
