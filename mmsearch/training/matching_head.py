"""The image–text matching head: words look at the picture's grid, and each says how well what it found fits it.

Both towers stay frozen. Every cell of the picture's last feature map, and every word's state, is brought into the joint space
by the towers' own projections; that is where the head starts, so that before any training it ranks much as the cosine does.
On top of that it learns one transformer block for the cells, one for the words, and cross-attention of H heads between them:

    a_hlp = softmax_p( τ · cos(q_hl, k_hp) )        what word l looks at
    s_l   = Σ_h Σ_p a_hlp · (u_hl · v_hp)           how well it fits
    S     = e^σ · Σ_l g_l s_l                       g: softmax over the words, learned from their states

Cross-attention as evidence for a pair: Lee et al., "Stacked Cross Attention" (ECCV 2018); the matching objective with mined
hard negatives: Li et al., ALBEF (NeurIPS 2021). All pairs of T texts and I pictures cost O(T · L · I · P · dim), so a batch's
own pictures serve as each other's negatives.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

HEADS = 4


class Block(nn.Module):
    """A pre-norm transformer block whose two branches start at zero."""

    def __init__(self, dim: int, drop: float) -> None:
        super().__init__()
        self.norm, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.drop = nn.Dropout(drop)
        for last in (self.out, self.narrow):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``x`` (n, length, dim); ``mask`` (n, length) is true where there is something."""
        n, length, dim = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, length, 3, HEADS, dim // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        weights = q @ k.transpose(-1, -2) * (dim // HEADS) ** -0.5
        if mask is not None:
            weights = weights.masked_fill(~mask[:, None, None, :], -1e4)
        seen = (weights.float().softmax(dim=-1).to(v.dtype) @ v).transpose(1, 2).reshape(n, length, dim)
        x = x + self.drop(self.out(seen))
        return x + self.drop(self.narrow(F.gelu(self.widen(self.norm_mlp(x)))))  # type: ignore[no-any-return]


class MatchingHead(nn.Module):
    """``channels`` of the grid's cells, ``cells`` of them, ``width`` of the words' states, ``dim`` of the joint space."""

    def __init__(self, channels: int, cells: int, width: int, dim: int, drop: float = 0.1) -> None:
        super().__init__()
        self.dim = dim
        self.see, self.read = nn.Linear(channels, dim), nn.Linear(width, dim)
        self.norm_cell, self.norm_word = nn.LayerNorm(channels), nn.LayerNorm(width)
        self.place = nn.Parameter(torch.zeros(cells + 1, dim))
        self.picture_block, self.text_block = Block(dim, drop), Block(dim, drop)
        self.key, self.value, self.query, self.claim = (nn.Linear(dim, dim) for _ in range(4))
        self.gate = nn.Linear(width, 1)
        self.sharpness, self.scale = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.tensor(3.0))
        self.drop = nn.Dropout(drop)
        for start in (self.see, self.read, self.gate):
            nn.init.zeros_(start.weight)
            nn.init.zeros_(start.bias)
        for same in (self.key, self.value, self.query, self.claim):
            nn.init.eye_(same.weight)
            nn.init.zeros_(same.bias)

    def picture(self, grid: Tensor, local: Tensor, whole: Tensor) -> Tensor:
        """Tokens (n, cells + 1, dim) of pictures: cells (n, cells, channels), the same in the joint space, the unit row."""
        cells = local + self.see(self.norm_cell(grid))
        tokens = torch.cat([cells, whole[:, None]], dim=1) + self.place
        return self.picture_block(self.drop(tokens))  # type: ignore[no-any-return]

    def text(self, states: Tensor, joint: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, length, dim) and gates (n, length), which sum to 1, of words' states and the same in the joint space."""
        tokens = self.text_block(self.drop(joint + self.read(self.norm_word(states))), mask)
        gates = self.gate(self.norm_word(states)).squeeze(-1).float().masked_fill(~mask, -1e4).softmax(dim=-1)
        return tokens, gates

    def pairs(self, words: Tensor, gates: Tensor, pictures: Tensor) -> Tensor:
        """Logits (m, n) of m rows of words with n pictures: ``words`` (m, length, dim), ``pictures`` (n, cells + 1, dim)."""
        m, length, dim = words.shape
        n, cells, _ = pictures.shape
        each = dim // HEADS

        def heads(x: Tensor) -> Tensor:
            return x.reshape(-1, HEADS, each).transpose(0, 1)

        query, claim = F.normalize(heads(self.query(words)), dim=-1), heads(self.claim(words))
        key, value = F.normalize(heads(self.key(pictures)), dim=-1), heads(self.value(pictures))
        look = (query @ key.transpose(1, 2)).reshape(HEADS, m * length, n, cells) * self.sharpness.exp()
        fit = (claim @ value.transpose(1, 2)).reshape(HEADS, m * length, n, cells)
        found = (look.float().softmax(dim=-1).to(fit.dtype) * fit).sum(dim=-1).sum(dim=0)
        return self.scale.exp() * (found.float().reshape(m, length, n) * gates[..., None]).sum(dim=1)
