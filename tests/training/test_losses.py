"""Losses against plain numpy that spells the formulas out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mmsearch.training.losses import cosine_gap, info_nce, relational_kl, weighted_kl
from mmsearch.training.stage_text import same_text


def unit(rows: int, dim: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((rows, dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def naive_info_nce(x: np.ndarray, y: np.ndarray, scale: float, same: np.ndarray | None = None) -> float:
    total, n = 0.0, len(x)
    for i in range(n):
        for a, b in ((x, y), (y, x)):
            others = [j for j in range(n) if j == i or same is None or not same[i, j]]
            denominator = sum(np.exp(scale * a[i] @ b[j]) for j in others)
            total -= np.log(np.exp(scale * a[i] @ b[i]) / denominator)
    return total / (2 * n)


@pytest.mark.parametrize("scale", [1.0, 14.3, 60.0])
def test_info_nce_equals_the_naive_sum(scale: float) -> None:
    x, y = unit(9, 5, 0), unit(9, 5, 1)
    given = info_nce(torch.from_numpy(x), torch.from_numpy(y), torch.tensor(scale, dtype=torch.float64))
    assert float(given) == pytest.approx(naive_info_nce(x, y, scale), rel=1e-9)


def test_info_nce_leaves_out_pairs_that_belong_together() -> None:
    x, y = unit(6, 4, 2), unit(6, 4, 3)
    same = np.eye(6, dtype=bool)
    same[0, 3] = same[3, 0] = True
    args = torch.from_numpy(x), torch.from_numpy(y), torch.tensor(10.0, dtype=torch.float64)
    given = float(info_nce(*args, torch.from_numpy(same)))
    assert given == pytest.approx(naive_info_nce(x, y, 10.0, same), rel=1e-9)
    assert given < float(info_nce(*args))


def test_info_nce_of_perfect_and_of_blind_towers() -> None:
    eye = torch.eye(8)
    assert float(info_nce(eye, eye, torch.tensor(50.0))) == pytest.approx(0, abs=1e-6)
    blind = torch.ones(8, 1)
    assert float(info_nce(blind, blind, torch.tensor(50.0))) == pytest.approx(np.log(8), rel=1e-6)


def test_cosine_gap_ignores_length_and_counts_angles() -> None:
    x, y = unit(7, 3, 4), unit(7, 3, 5)
    given = float(cosine_gap(torch.from_numpy(3 * x), torch.from_numpy(0.1 * y)))
    assert given == pytest.approx(1 - (x * y).sum(axis=1).mean(), rel=1e-9)
    assert float(cosine_gap(torch.from_numpy(x), torch.from_numpy(-x))) == pytest.approx(2)


def test_relational_kl_equals_the_naive_divergence() -> None:
    student, target, bank = unit(5, 6, 6), unit(5, 6, 7), unit(11, 6, 8)

    def softmax(rows: np.ndarray) -> np.ndarray:
        e = np.exp(12.0 * rows @ bank.T)
        return e / e.sum(axis=1, keepdims=True)

    p, q = softmax(target), softmax(student)
    wanted = (p * np.log(p / q)).sum(axis=1).mean()
    tensors = [torch.from_numpy(x) for x in (student, target, bank)]
    assert float(relational_kl(*tensors, 12.0)) == pytest.approx(wanted, rel=1e-9)
    assert float(relational_kl(tensors[1], tensors[1], tensors[2], 12.0)) == pytest.approx(0, abs=1e-12)


def test_gradient_of_info_nce_by_finite_differences() -> None:
    x = torch.from_numpy(unit(4, 3, 9)).requires_grad_()
    y, scale = torch.from_numpy(unit(4, 3, 10)), torch.tensor(5.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: info_nce(F.normalize(z, dim=-1), y, scale), (x,))


def test_rows_with_equal_texts_are_found() -> None:
    assert same_text([[1, 2], [3], [1, 2]]).tolist() == [[True, False, True], [False, True, False], [True, False, True]]


def test_weighted_kl_equals_the_naive_sum_and_is_zero_where_nothing_differs() -> None:
    rng = np.random.default_rng(5)
    wanted, logits, weight = rng.dirichlet(np.ones(4), 6), rng.standard_normal((6, 4)), rng.random(6)
    total = 0.0
    for p, z, w in zip(wanted, logits, weight, strict=True):
        q = np.exp(z) / np.exp(z).sum()
        total += w * sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))
    given = weighted_kl(*(torch.from_numpy(x) for x in (wanted, logits, weight)))
    assert float(given) == pytest.approx(total / weight.sum(), rel=1e-9)
    same = weighted_kl(torch.from_numpy(wanted), torch.from_numpy(np.log(wanted) + 3), torch.from_numpy(weight))
    assert float(same) == pytest.approx(0, abs=1e-12)
