"""What is minimised, each as one formula on unit rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812


def info_nce(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, same: torch.Tensor | None = None) -> torch.Tensor:
    """CLIP's symmetric InfoNCE of matched unit rows (n, dim); a scalar, in nats.

    L = 1/2n * sum_i [ -log softmax_j(s <x_i, y_j>)_i - log softmax_j(s <x_j, y_i>)_i ],  s = `scale`
    (Radford et al. 2021, figure 3). `same` (n, n) bool marks pairs that also belong together, such as two photos with
    one title; off the diagonal they are left out, so that they are not pushed apart.
    """
    logits = scale * image @ text.T
    if same is not None:
        off = same & ~torch.eye(len(image), dtype=torch.bool, device=same.device)
        logits = logits.masked_fill(off, float("-inf"))
    target = torch.arange(len(image), device=image.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def cosine_gap(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - cos(student_i, target_i): 0 when every row points the same way, 1 when at right angles."""
    return 1.0 - F.cosine_similarity(student, target, dim=-1).mean()


def relational_kl(student: torch.Tensor, target: torch.Tensor, bank: torch.Tensor, scale: float) -> torch.Tensor:
    """Mean KL( p_target || p_student ) in nats, where p(j | i) = softmax_j(scale * <row_i, bank_j>).

    The student has to rank a bank of texts as its teacher does (the similarity term of Yang et al., "CLIP-KD", 2024).
    """
    wanted = F.log_softmax(scale * target @ bank.T, dim=1)
    given = F.log_softmax(scale * student @ bank.T, dim=1)
    return F.kl_div(given, wanted, reduction="batchmean", log_target=True)


def weighted_kl(wanted: torch.Tensor, logits: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Σ_i w_i KL( p_i || softmax(z_i) ) / Σ_i w_i in nats.

    `wanted` p (n, m) has rows that sum to 1, `logits` z are (n, m), `weight` w is (n,).
    """
    gap = (wanted * (wanted.clamp(min=1e-9).log() - F.log_softmax(logits, dim=1))).sum(dim=1)
    return (weight * gap).sum() / weight.sum().clamp(min=1e-9)
