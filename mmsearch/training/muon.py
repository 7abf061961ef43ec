"""Muon: momentum whose matrices are made orthogonal, for the kernels inside a network; AdamW for everything else.

A gradient's few strong directions drown the many weak ones; orthogonalising gives every direction of the update the same
length (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic a x + b x^3 + c x^5 whose iteration drives singular values towards 1 fastest (same source)."""

SIZE = 0.6
"""Root mean square of an update before the rate; three times AdamW's, see benchmarks/mini/RESULTS.md."""


def orthogonal(matrix: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """About U V^T of the singular value decomposition U S V^T of a (m, n) matrix, in its own type.

    Newton-Schulz: X <- a X + (b A + c A A) X with A = X X^T; singular values end in about 0.7..1.2, which is enough.
    """
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrix.dtype)  # type: ignore[no-any-return]


class Muon(torch.optim.Optimizer):
    """Muon over parameters of two or more dimensions; kernels are flattened to (outputs, everything else).

    The update is scaled by SIZE sqrt(max(m, n)), which makes SIZE the root mean square of its elements (Liu et al. 2025,
    "Muon is scalable", who take AdamW's 0.2), so that both optimisers share one rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, rate: float, decay: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": rate, "weight_decay": decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                buffer = self.state[param].setdefault("momentum_buffer", torch.zeros_like(param))
                buffer.lerp_(param.grad, 1 - group["momentum"])
                ahead = param.grad.lerp(buffer, group["momentum"]).flatten(1)
                update = orthogonal(ahead).view(param.shape)
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(update, alpha=-group["lr"] * SIZE * max(ahead.shape) ** 0.5)


class Mixed:
    """Several optimisers, each with its own parameters, that look like one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """All groups of all of them, in order."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """One update by each."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """All states, by position."""
        return {str(number): part.state_dict() for number, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for number, part in enumerate(self.parts):
            part.load_state_dict(state[str(number)])
