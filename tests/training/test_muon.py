"""Muon against the singular value decomposition it approximates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmsearch.training.muon import SIZE, Mixed, Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (5, 20), (20, 5)])
def test_singular_values_are_driven_towards_one(shape: tuple[int, int]) -> None:
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal(shape)).float()
    u, _s, v = torch.linalg.svd(matrix, full_matrices=False)
    given = orthogonal(matrix)
    values = torch.linalg.svdvals(given)
    assert 0.6 < values.min() <= values.max() < 1.35
    assert torch.cosine_similarity(given.flatten(), (u @ v).flatten(), dim=0) > 0.97


def test_a_step_moves_against_the_gradient_by_the_stated_size() -> None:
    kernel = nn.Parameter(torch.zeros(16, 4, 3, 3))
    kernel.grad = torch.from_numpy(np.random.default_rng(1).standard_normal((16, 4, 3, 3))).float()
    Muon([kernel], rate=0.01, decay=0.0).step()
    assert float((kernel.detach() * kernel.grad).sum()) < 0
    size = float(kernel.detach().pow(2).mean().sqrt())
    assert size == pytest.approx(0.01 * SIZE, rel=0.2)


def test_two_optimisers_come_back_from_their_state() -> None:
    def made() -> tuple[nn.Linear, Mixed]:
        torch.manual_seed(0)
        layer = nn.Linear(4, 3)
        return layer, Mixed(Muon([layer.weight], rate=0.1, decay=0.1), torch.optim.AdamW([layer.bias], lr=0.1))

    def step(layer: nn.Linear, opt: Mixed, number: int) -> None:
        layer.zero_grad()
        layer(torch.full((2, 4), float(number))).pow(2).sum().backward()
        opt.step()

    whole, opt = made()
    for number in range(6):
        step(whole, opt, number)
    first, opt = made()
    for number in range(3):
        step(first, opt, number)
    second, other = made()
    second.load_state_dict(first.state_dict())
    other.load_state_dict(opt.state_dict())
    for number in range(3, 6):
        step(second, other, number)
    assert torch.equal(whole.weight, second.weight)
    assert torch.equal(whole.bias, second.bias)
