"""How good the model is after each stage: recall on the dev split, on training's arrays (the files are measured by `report`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mmsearch.training.captions import Rows
from mmsearch.training.data import Pixels
from mmsearch.training.evaluate import Matrix, ranks, recalls
from mmsearch.training.towers import image_features
from mmsearch.training.views import crop_boxes, render

DEV = "flickr8k-dev"
LOG = "recall.jsonl"


def see(model: nn.Module, images: Pixels, size: int, batch: int = 100) -> Matrix:
    """Unit rows (n, dim) of whole pictures at `size` pixels, by the picture tower in eval mode."""
    device = next(model.parameters()).device
    was, parts = model.training, []
    model.eval()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(np.array(images[start : start + batch])).to(device)
            boxes = torch.from_numpy(crop_boxes(len(pixels), 0)).to(device)
            parts.append(F.normalize(image_features(model, render(pixels, boxes, size))[1].float(), dim=-1).cpu())
    model.train(was)
    return torch.cat(parts).numpy()


def check(folder: Path, stage: str, pictures: Matrix, texts: list[Rows], read: Callable[[Rows], Matrix]) -> dict[str, float]:
    """Recalls of `pictures` against their captions as `read` encodes them; noted in the folder's LOG under the stage's name.

    A stage that is checked again replaces its line.
    """
    owner = np.repeat(np.arange(len(texts)), [len(row) for row in texts])
    found = recalls(ranks(pictures, read([caption for row in texts for caption in row]), owner))
    target = folder / LOG
    rows = {row["stage"]: row for row in read_checks(target)}
    rows[stage] = {"stage": stage, **{name: round(value, 4) for name, value in found.items()}}
    target.write_text("".join(json.dumps(row) + "\n" for row in rows.values()), encoding="utf-8")
    return found


def read_checks(path: Path) -> list[dict[str, Any]]:
    """The lines of a LOG, none when there is no such file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
