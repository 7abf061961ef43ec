"""Stage 1's second lesson: name a picture as the teacher names it, in words of a thousand ImageNet classes.

Captions of everyday photos lack most nouns of a shop. The teacher knows a thousand of them, and its class layer says how much of
each it sees in any picture; so the text tower reads their names, and the joint space has to rank them as the teacher does:

    L = Σ_i m_i KL( p_i || q_i ) / Σ_i m_i,   q_ij = softmax_j( s <x_i, t_j> )

over the classes j of one step, where p_i is the teacher's softmax among them and m_i the share of its whole answer that they hold:
a picture of none of them says little. Names only; no weight of the teacher enters `mini`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from mmsearch.encoders.tokenizer import Tokenize
from mmsearch.training.captions import Rows, tokenised
from mmsearch.training.labels import CLASSES, class_layer, label_texts, synonyms
from mmsearch.training.losses import weighted_kl

LESSON = 192
"""Classes named in one step."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Some classes' wordings, and for each picture of a batch the teacher's answer among them (n, C) and its weight (n,)."""

    texts: Rows
    answer: torch.Tensor
    weight: torch.Tensor

    def loss(self, pictures: torch.Tensor, words: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """The formula above, for unit rows of the pictures (n, dim) and of `texts` (C, dim)."""
        return weighted_kl(self.answer, scale * pictures @ words.T, self.weight)


class Names:
    """The thousand classes: what they are called, as tokens, and the layer that knows them."""

    def __init__(self, tflite: Path, tokenize: Tokenize) -> None:
        weights, biases = class_layer(tflite)
        self._weights, self._biases = torch.from_numpy(weights[1:]), torch.from_numpy(biases[1:])  # the first is "background"
        self.texts: list[Rows] = tokenised([label_texts(synonyms(number)) for number in range(CLASSES - 1)], tokenize)

    def lesson(self, features: torch.Tensor, rng: np.random.Generator) -> Lesson:
        """Of :data:`LESSON` classes that the teacher's features (n, 1280) come first for, or of any. One small matrix product."""
        odds = F.softmax(features @ self._weights.T.to(features.device) + self._biases.to(features.device), dim=1)
        seen = rng.permutation(np.unique(odds.argmax(dim=1).cpu().numpy()))[:LESSON]
        others = rng.permutation(np.setdiff1d(np.arange(CLASSES - 1), seen))
        chosen = np.concatenate([seen, others])[:LESSON]
        part = odds[:, torch.from_numpy(chosen).to(odds.device)]
        held = part.sum(dim=1)
        texts = [self.texts[number][int(rng.integers(len(self.texts[number])))] for number in chosen]
        return Lesson(texts, part / held[:, None].clamp(min=1e-9), held)

