"""The stages in order, each skipped when its result is on disk; `mini` is the command in front of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmsearch.encoders.tokenizer import clip_tokenizer
from mmsearch.training import towers
from mmsearch.training.captions import Rows, tokenised, wordings
from mmsearch.training.checks import DEV, check, see
from mmsearch.training.data import Corpus, load_corpus, training_rows
from mmsearch.training.evaluate import Matrix
from mmsearch.training.export import export, note_measured
from mmsearch.training.labels import TFLITE, label_texts, sure_words
from mmsearch.training.mixes import GROUND, mix_of
from mmsearch.training.naming import Names
from mmsearch.training.optim import Progress, Say
from mmsearch.training.plot import draw_curves
from mmsearch.training.report import measure
from mmsearch.training.stage_image import Pictures, Plan, Student, train_image
from mmsearch.training.stage_joint import JointPlan, train_joint
from mmsearch.training.stage_text import Domain, TeacherHead, train_text
from mmsearch.training.teacher import cache_views, load_views
from mmsearch.training.views import view_boxes

TEXT_SHARES = {"flickr8k-train": 256, "cc3m-15k": 160, "myntra-15k": 96}
"""Pairs of each corpus in one batch of stage 1."""

LABELLED = ("cc3m-15k",)
"""Corpora whose pictures also get the teacher's class names as captions in stage 3."""

IMAGE_SHARES = {"flickr8k-train": 54, "cc3m-15k": 60, "myntra-15k": 14}
"""Pictures of each corpus in one batch of stage 2."""

VIEWS = {"flickr8k-train": (*range(11), GROUND), "cc3m-15k": (*range(5), GROUND, GROUND + 1), "myntra-15k": tuple(range(2))}
"""The numbered views of each corpus that the teacher describes: most for the smallest, whose pictures are repeated most often.

The shop's stay below `mixes.FIRST`, so that no picture kept for testing is ever mixed into one that is trained on.
"""


LICENCE = "Apache-2.0 for the weights; trained in part on data for non-commercial research, see MODEL_CARD.md"


@dataclass
class Run:
    """One training run: where it reads and writes, how long its stages are. Everything is derived from `seed`."""

    data: Path
    out: Path
    say: Say
    seed: int = 0
    views: int = max(map(len, VIEWS.values()))
    text_steps: int = 700
    image_plan: Plan = field(default_factory=lambda: Plan(steps=8000))
    joint_plan: JointPlan = field(default_factory=lambda: JointPlan(steps=200))
    version: str = "3"
    model_size: int = 160
    device: str = "cpu"

    @property
    def cache(self) -> Path:
        """Decoded pictures, teacher features and text vectors: all of it can be made again."""
        return self.out / "cache"

    @cached_property
    def corpora(self) -> dict[str, Corpus]:
        """What is trained on."""
        return {name: load_corpus(self.data, self.cache, name) for name in TEXT_SHARES}

    @cached_property
    def dev(self) -> Corpus:
        """What recall is read on; never trained on."""
        return load_corpus(self.data, self.cache, DEV)

    @cached_property
    def texts(self) -> dict[str, list[Rows]]:
        """Tokens of every wording."""
        tokenize = clip_tokenizer(context_length=towers.CONTEXT, merges=towers.MERGES)
        return {name: tokenised(wordings(corpus), tokenize) for name, corpus in self.corpora.items()}

    @cached_property
    def model(self) -> nn.Module:
        """The model, whose towers the stages fill in."""
        return towers.build(towers.model_config(), self.seed).to(self.device)

    @cached_property
    def head(self) -> TeacherHead:
        """Stage 1's scaffolding."""
        return TeacherHead().to(self.device)

    def do_data(self) -> None:
        """Decode everything."""
        self.say(", ".join(f"{name} {len(corpus)}" for name, corpus in self.corpora.items()))

    def do_teacher(self) -> None:
        """Cache the teacher's features of the fixed views of everything, at most `views` of each picture."""
        for name, corpus in self.corpora.items():
            cache_views(self.data, self.cache, [corpus], VIEWS[name][: self.views], self.say, torch.device(self.device))
        cache_views(self.data, self.cache, [self.dev], (0,), self.say, torch.device(self.device))

    def do_text(self) -> None:
        """Stage 1: the text tower and the head; the picture tower is still random."""
        progress = Progress(self.out, "text", seed=self.seed, every=100, decay=0.99)
        domains = [
            Domain(name, training_rows(corpus), self.texts[name], load_views(self.cache, name, (0,)), TEXT_SHARES[name])
            for name, corpus in self.corpora.items()
        ]
        self.head.fit(np.concatenate([domain.views[0][::4] for domain in domains]))
        train_text(self.model, self.head, domains, self.text_steps, progress, self.say, self.names)
        nn.ModuleDict({"model": self.model, "head": self.head}).load_state_dict(progress.result())
        features = torch.from_numpy(np.array(load_views(self.cache, DEV, (0,))[0]).astype(np.float32)).to(self.device)
        with torch.inference_mode():
            self.tell("text", self.head.eval()(features).cpu().numpy())

    def tell(self, stage: str, pictures: Matrix) -> None:
        """Note and log the recall that a stage ends with."""
        tokenize = clip_tokenizer(context_length=towers.CONTEXT, merges=towers.MERGES)
        texts = tokenised(wordings(self.dev), tokenize)
        found = check(self.out, stage, pictures, texts, lambda rows: encode_all(self.model, rows))
        self.say(f"after {stage}: " + " ".join(f"{name} {value:.3f}" for name, value in found.items()))

    def vectors(self, name: str) -> torch.Tensor:
        """Stage 1's unit rows (m, dim) float32 of all wordings of a corpus, cached."""
        target = self.cache / f"{name}.vectors.npy"
        if not target.is_file():
            rows = [row for wording in self.texts[name] for row in wording]
            np.save(target, encode_all(self.model, rows))
        return torch.from_numpy(np.load(target).astype(np.float32))

    @cached_property
    def names(self) -> Names:
        """The teacher's nouns."""
        return Names(self.data / TFLITE, clip_tokenizer(context_length=towers.CONTEXT, merges=towers.MERGES))

    @cached_property
    def named_vectors(self) -> torch.Tensor:
        """Stage 1's unit rows (m, dim) float32 of the teacher's nouns in all wordings."""
        return torch.from_numpy(encode_all(self.model, [row for wording in self.names.texts for row in wording]))

    @cached_property
    def pictures(self) -> list[Pictures]:
        """Stage 2's corpora, held in memory."""
        out = []
        for name, corpus in self.corpora.items():
            views = VIEWS[name][: self.views]
            counts = [len(wording) for wording in self.texts[name]]
            out.append(
                Pictures(
                    name=name,
                    images=np.array(corpus.images),
                    rows=training_rows(corpus),
                    boxes=[view_boxes(len(corpus), view) for view in views],
                    mixes=[mix_of(len(corpus), view) for view in views],
                    views=[np.array(view) for view in load_views(self.cache, name, views)],
                    vectors=self.vectors(name),
                    first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
                    share=IMAGE_SHARES[name],
                )
            )
        return out

    def do_image(self) -> None:
        """Stage 2: the picture tower from random weights, on pictures that get larger."""
        progress = Progress(self.out, "image", seed=self.seed, every=200, decay=0.995)
        train_image(self.model, self.head, self.pictures, self.image_plan, progress, self.say, self.named_vectors)
        Student(self.model).load_state_dict(progress.result())
        self.tell("image", see(self.model, self.dev.images, self.image_plan.sizes[-1][1]))

    @cached_property
    def texts_with_labels(self) -> dict[str, list[Rows]]:
        """The wordings, and for pictures that the teacher is sure of, one label for every two captions or so."""
        tokenize = clip_tokenizer(context_length=towers.CONTEXT, merges=towers.MERGES)
        out = dict(self.texts)
        for name in LABELLED:
            found = sure_words(load_views(self.cache, name, (0,))[0], self.data / TFLITE)
            labels = tokenised([label_texts(words) for words in found], tokenize)
            out[name] = [own * (1 + 2 * len(more) // len(own)) + more for own, more in zip(self.texts[name], labels, strict=True)]
        return out

    def do_joint(self) -> None:
        """Stage 3: both towers, then a step back towards stage 2 (Wortsman et al. 2022, WiSE-FT)."""
        progress = Progress(self.out, "joint", seed=self.seed, every=50, decay=0.98)
        pictures, before = self.pictures, copy.deepcopy(self.model.state_dict())
        train_joint(self.model, self.head, pictures, self.texts_with_labels, self.joint_plan, progress, self.say)
        after = {key.removeprefix("clip."): value for key, value in progress.result().items()}
        self.model.load_state_dict(blend(before, after, self.joint_plan.blend))
        self.tell("joint", see(self.model, self.dev.images, self.joint_plan.size))

    def do_export(self) -> None:
        """Write the folder of FORMAT.md, refusing if its graphs do not agree with the model."""
        size = self.model_size
        config = {"model_cfg": towers.model_config(size), "preprocess_cfg": towers.preprocess_config()}
        export(self.model, config, card(self.version, size, self.model), self.out / "mini")

    def do_evaluate(self) -> None:
        """Measure the written folder, note it in `mini.json`, and draw the plot."""
        folder = self.out / "mini"
        measured = measure(folder, self.data)
        note_measured(folder, measured)
        self.say(json.dumps(measured))
        draw_curves(self.out)


def blend(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """Weights on the straight line from `before` (share 0) to `after` (share 1); counters are those of `after`."""
    return {key: torch.lerp(before[key], value, share) if value.is_floating_point() else value for key, value in after.items()}


def card(version: str, size: int, model: nn.Module) -> dict[str, Any]:
    """What `mini.json` says beside checksums and measurements."""
    scale: torch.Tensor = model.logit_scale.detach()  # type: ignore[operator]
    return {
        "name": "mini",
        "version": version,
        "licence": LICENCE,
        "dim": towers.EMBED_DIM,
        "image_size": size,
        "context_length": towers.CONTEXT,
        "bpe_merges": towers.MERGES,
        "logit_scale": round(float(scale.exp()), 4),
        "measured": {},
    }


def encode_all(model: nn.Module, rows: Sequence[Sequence[int]], batch: int = 256) -> Matrix:
    """Unit rows (n, dim) float32 of many token lists; equal lists are encoded once, lists of one length together."""
    numbers: dict[tuple[int, ...], int] = {}
    index = [numbers.setdefault(tuple(row), len(numbers)) for row in rows]
    unique = sorted(numbers, key=len)
    device = next(model.parameters()).device
    out = np.empty((len(numbers), towers.EMBED_DIM), np.float32)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        for start in range(0, len(unique), batch):
            group = unique[start : start + batch]
            out[[numbers[row] for row in group]] = towers.encode_texts(model, group).float().cpu().numpy()
    return out[index]
