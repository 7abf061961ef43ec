"""What the frozen towers make of pictures and captions, computed once: the head is trained on these alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmsearch.encoders.matching import CROPS
from mmsearch.encoders.tokenizer import clip_tokenizer
from mmsearch.training import towers
from mmsearch.training.captions import tokenised, wordings
from mmsearch.training.data import Corpus
from mmsearch.training.export import load_half
from mmsearch.training.views import render, view_boxes

Half = npt.NDArray[np.float16]
Ints = npt.NDArray[np.int64]
BATCH = 100


class Frozen:
    """The towers of a folder in open_clip's local-dir layout, and what lies before their pooling."""

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        model: Any = towers.build(self.config["model_cfg"], 0)
        load_half(model, folder / "open_clip_model.safetensors")
        self.clip: Any = model.eval().requires_grad_(False)
        self.size = int(self.config["model_cfg"]["vision_cfg"]["image_size"])
        text = self.config["model_cfg"]["text_cfg"]
        self.tokenize = clip_tokenizer(context_length=text["context_length"], merges=text["vocab_size"] - 514)

    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The last feature map's cells (n, cells, channels), the same through the projection (n, cells, dim), unit rows (n, dim).

        The tower pools and then projects; a cell's place in the joint space is what its projection would be if the whole
        picture looked like it.
        """
        trunk = self.clip.visual.trunk
        grid = trunk.forward_features(pixels)
        n, channels, height, width = grid.shape
        cells = grid.flatten(2).transpose(1, 2)
        alone = trunk.forward_head(cells.reshape(-1, channels, 1, 1), pre_logits=True)
        local = F.normalize(trunk.get_classifier()(alone).float(), dim=-1).reshape(n, height * width, -1)
        pooled = trunk.get_classifier()(trunk.forward_head(grid, pre_logits=True))
        return cells, local, F.normalize(pooled.float(), dim=-1)

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The words' states (n, length, width), the same through the projection (n, length, dim), each of length 1.

        The row at a text's end symbol is the text's own unit row.
        """
        clip, length = self.clip, tokens.shape[1]
        x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
        return x, F.normalize((x @ clip.text_projection).float(), dim=-1)


def windows(cells: Tensor) -> Tensor:
    """Cells (n, side², channels) → (n, 5 · channels): their mean, and that of four overlapping windows of half a side and one."""
    n, count, channels = cells.shape
    side = round(int(count) ** 0.5)
    square, half = cells.reshape(n, side, side, channels), (side + 1) // 2
    corners = ((top, left) for top in (0, side - half) for left in (0, side - half))
    parts = [square[:, top : top + half, left : left + half].mean(dim=(1, 2)) for top, left in corners]
    return torch.cat([cells.mean(dim=1), *parts], dim=1)


@dataclass(frozen=True, slots=True)
class View:
    """One view of every picture of a corpus: ``grid`` (n, cells, channels), ``local`` (n, cells, dim), ``whole`` (n, dim)."""

    grid: Half
    local: Half
    whole: Half

    def pooled(self) -> npt.NDArray[np.float32]:
        """:func:`windows` of every picture."""
        parts = (torch.from_numpy(self.grid[at : at + BATCH]).float() for at in range(0, len(self.grid), BATCH))
        return np.concatenate([windows(part).numpy() for part in parts])


@dataclass(frozen=True, slots=True)
class Words:
    """A corpus' captions: caption i is rows ``start[i]:start[i + 1]`` of ``states`` and ``joint``, of picture ``owner[i]``."""

    states: Half
    joint: Half
    start: Ints
    owner: Ints

    def rows(self, captions: Ints) -> tuple[Tensor, Tensor, Tensor]:
        """States, joint places, mask of some captions, padded to the longest."""
        lengths = self.start[captions + 1] - self.start[captions]
        at = self.start[captions][:, None] + np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
        mask = np.arange(lengths.max()) < lengths[:, None]
        return torch.from_numpy(self.states[at]).float(), torch.from_numpy(self.joint[at]).float(), torch.from_numpy(mask)

    @property
    def whole(self) -> npt.NDArray[np.float32]:
        """The captions' unit rows."""
        return np.asarray(self.joint[self.start[1:] - 1], dtype=np.float32)


def view_of(frozen: Frozen, corpus: Corpus, view: int, flip: bool, cache: Path, say: Callable[[str], None]) -> View:
    """A numbered view (:func:`mmsearch.training.views.view_boxes`), mirrored or not; from the cache where it is there."""

    def make() -> dict[str, Half]:
        boxes = torch.from_numpy(view_boxes(len(corpus), view))
        parts: list[list[Half]] = [[], [], []]
        for start in range(0, len(corpus), BATCH):
            pixels = torch.from_numpy(np.array(corpus.images[start : start + BATCH]))
            flips = torch.full((len(pixels),), flip)
            pixels = render(pixels, boxes[start : start + BATCH], frozen.size, flips)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                for part, values in zip(parts, frozen.see(pixels), strict=True):
                    part.append(values.half().numpy())
        return dict(zip(("grid", "local", "whole"), (np.concatenate(part) for part in parts), strict=True))

    return View(**_cached(cache, f"{corpus.name}.{view}{'f' if flip else ''}", ("grid", "local", "whole"), make, say))


def means_of(frozen: Frozen, corpus: Corpus, cache: Path, say: Callable[[str], None]) -> npt.NDArray[np.float32]:
    """``(n, dim)``: each picture's mean unit row over the whole and :data:`mmsearch.encoders.matching.CROPS`."""

    def make() -> dict[str, npt.NDArray[Any]]:
        parts = []
        for start in range(0, len(corpus), BATCH):
            pixels = torch.from_numpy(np.array(corpus.images[start : start + BATCH]))
            rows = torch.zeros(())
            for box in ((0.0, 0.0, 1.0, 1.0), *CROPS):
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                    rows = rows + frozen.see(render(pixels, torch.tensor([box] * len(pixels)), frozen.size))[2]
            parts.append(F.normalize(rows, dim=-1).numpy())
        return {"mean": np.concatenate(parts)}

    return np.asarray(_cached(cache, f"{corpus.name}.crops", ("mean",), make, say)["mean"], dtype=np.float32)


def words_of(frozen: Frozen, corpus: Corpus, cache: Path, say: Callable[[str], None]) -> Words:
    """All wordings of a corpus; from the cache where they are there."""

    def make() -> dict[str, npt.NDArray[Any]]:
        listed = tokenised(wordings(corpus), frozen.tokenize)
        rows = [row for wording in listed for row in wording]
        start = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        width, dim = frozen.clip.text_projection.shape
        states, joint = np.empty((start[-1], width), np.float16), np.empty((start[-1], dim), np.float16)
        order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
        for first in range(0, len(order), 256):
            group = order[first : first + 256]
            tokens = nn.utils.rnn.pad_sequence([torch.tensor(rows[at]) for at in group], batch_first=True)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                made = [values.half().numpy() for values in frozen.read(tokens)]
            for line, at in enumerate(group):
                states[start[at] : start[at + 1]] = made[0][line, : len(rows[at])]
                joint[start[at] : start[at + 1]] = made[1][line, : len(rows[at])]
        owner = np.repeat(np.arange(len(listed)), [len(wording) for wording in listed])
        return {"states": states, "joint": joint, "start": start, "owner": owner}

    return Words(**_cached(cache, f"{corpus.name}.words", ("states", "joint", "start", "owner"), make, say))


def _cached(
    folder: Path, stem: str, names: tuple[str, ...], make: Callable[[], dict[str, npt.NDArray[Any]]], say: Callable[[str], None]
) -> dict[str, npt.NDArray[Any]]:
    """Arrays kept as files; the last is renamed into place last, so that a killed run makes them again."""
    files = {name: folder / f"{stem}.{name}.npy" for name in names}
    if not all(file.is_file() for file in files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for name, values in make().items():
            partial = files[name].with_suffix(".partial.npy")
            np.save(partial, values)
            os.replace(partial, files[name])
        say(f"made {stem}")
    return {name: np.load(file, mmap_mode="r") for name, file in files.items()}
