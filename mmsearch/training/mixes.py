"""Two pictures made into one, or one cut out on plain white; again a pure function of (seed, row, view).

A teacher that is asked about mixed pictures describes many more pictures than there are (mixup: Zhang et al. 2018; CutMix:
Yun et al. 2019; as inputs of distillation, with the teacher's own answer as the target: Beyer et al. 2022). Pieces on white are
there because shops show things so, and photographers do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

FIRST, GROUND = 5, 11
"""The first view that is mixed, those below are plain crops; and the first that is a piece on white, as all above are."""


@dataclass(frozen=True, slots=True)
class Mix:
    """For each of n rows: which row comes in, where (x0, y0, x1, y1 in 0..1 of the finished picture), how strongly.

    `white` says what it comes into: plain white, where the partner is the row itself, or the row's own picture.
    """

    partner: npt.NDArray[np.int64]
    place: npt.NDArray[np.float32]
    strength: npt.NDArray[np.float32]
    white: bool = False


def mix_of(n: int, view: int, *, seed: int = 11) -> Mix | None:
    """The mix of one view of every row, or None for a view of plain crops.

    Half of the rows get their partner over the whole picture at a strength of 0..0.5, the others at full strength in a
    rectangle of 0.1..0.5 of the area. On white it is a rectangle of 0.2..0.7 of the area.
    """
    if view < FIRST:
        return None
    rng = np.random.Generator(np.random.PCG64([seed, view]))
    white = view >= GROUND
    partner = np.arange(n) if white else rng.permutation(n)
    over = np.zeros(n, np.bool_) if white else rng.random(n) < 0.5
    least, most = (0.2, 0.7) if white else (0.1, 0.5)
    area, aspect = rng.uniform(least, most, n), np.exp(rng.uniform(np.log(1 / 2), np.log(2), n))
    width = np.where(over, 1.0, np.minimum(np.sqrt(area * aspect), 1.0))
    height = np.where(over, 1.0, np.minimum(np.sqrt(area / aspect), 1.0))
    x0, y0 = rng.random(n) * (1 - width), rng.random(n) * (1 - height)
    strength = np.where(over, rng.uniform(0, 0.5, n), 1.0)
    place = np.stack([x0, y0, x0 + width, y0 + height], axis=1)
    return Mix(partner.astype(np.int64), place.astype(np.float32), strength.astype(np.float32), white)


def mixed(base: torch.Tensor, other: torch.Tensor, place: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """`base` and `other` (n, 3, S, S) as one: base + strength * (other - base) inside `place` (n, 4), base outside.

    A pixel is inside when its centre is.
    """
    size = base.shape[-1]
    centre = (torch.arange(size, device=base.device) + 0.5) / size
    x0, y0, x1, y1 = (edge[:, None] for edge in place.unbind(1))
    across, down = (centre > x0) & (centre < x1), (centre > y0) & (centre < y1)
    mask = (down[:, :, None] & across[:, None, :])[:, None] * strength[:, None, None, None]
    return torch.lerp(base, other, mask)
