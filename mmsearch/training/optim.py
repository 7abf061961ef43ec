"""Optimiser, schedule, moving average and checkpoints, shared by all stages."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmsearch.training.muon import Mixed, Muon

Say = Callable[[str], None]
Optimizer = torch.optim.Optimizer | Mixed


def optimizer(parameters: Iterable[nn.Parameter], *, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, and leaves gains, biases and the temperature alone."""
    wanted = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in wanted if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in wanted if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6)


def mixed(trunk: nn.Module, whole: nn.Module, *, rate: float, decay: float) -> Mixed:
    """Muon for the kernels inside `trunk` except its first and last layer, AdamW for all else of `whole`."""
    kernels = [p for p in trunk.parameters() if p.ndim >= 2][1:-1]
    inside = {id(p) for p in kernels}
    rest = optimizer((p for p in whole.parameters() if id(p) not in inside), rate=rate, decay=decay)
    return Mixed(Muon(kernels, rate=rate, decay=decay), rest)


def cosine_rate(opt: Optimizer, step: int, steps: int, *, peak: float, warmup: int) -> float:
    """Set and return the rate: linear to `peak` in `warmup` steps, then half a cosine down to a hundredth of it."""
    if step < warmup:
        rate = peak * (step + 1) / warmup
    else:
        done = (step - warmup) / max(1, steps - warmup)
        rate = peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
    for group in opt.param_groups:
        group["lr"] = rate
    return rate


class Average:
    """Exponential moving average of a module's parameters and float buffers.

    avg <- d avg + (1 - d) value, with d = min(decay, (1 + t) / (10 + t)) so that early values are forgotten quickly.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.state = {key: value.detach().clone() for key, value in module.state_dict().items()}

    def update(self, module: nn.Module) -> None:
        """Take in the module's present values. Cost: one pass over its weights."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        with torch.no_grad():
            for key, value in module.state_dict().items():
                if value.is_floating_point():
                    self.state[key].lerp_(value, 1 - decay)
                else:
                    self.state[key].copy_(value)


class Progress:
    """Where a stage stands: its checkpoint, its log, and its random numbers.

    Batches are a pure function of (seed, step), and a checkpoint holds weights, optimiser and average, so a run that is
    killed and started again ends with the very same weights.
    """

    def __init__(self, folder: Path, stage: str, *, seed: int = 0, every: int = 200, decay: float = 0.999) -> None:
        self.file = folder / f"{stage}.pt"
        self.log = folder / f"{stage}.jsonl"
        self.stage, self.seed, self.every, self.decay = stage, seed, every, decay
        self.average: Average | None = None
        self.steps = 0

    def resume(self, module: nn.Module, opt: Optimizer, steps: int) -> Iterator[int]:
        """Load the checkpoint if there is one and yield the steps that are left."""
        self.steps, start = steps, 0
        self.average = Average(module, self.decay)
        if self.file.is_file():
            kept = torch.load(self.file, weights_only=True)
            module.load_state_dict(kept["module"])
            opt.load_state_dict(kept["opt"])
            self.average.state, self.average.count = kept["average"], kept["count"]
            start = kept["step"] + 1
        yield from range(start, steps)

    def result(self) -> dict[str, torch.Tensor]:
        """The averaged weights of a stage that has run."""
        if self.average is None:
            raise RuntimeError(f"stage {self.stage} has not run")
        return self.average.state

    def rng(self, step: int) -> np.random.Generator:
        """The random numbers of one step."""
        return np.random.Generator(np.random.PCG64([self.seed, step]))

    def after(self, step: int, module: nn.Module, opt: Optimizer, numbers: dict[str, float], say: Say) -> None:
        """Note one finished step: average, log, and now and then a checkpoint."""
        assert self.average is not None
        self.average.update(module)
        if step % 20 == 0 or step == self.steps - 1:
            self.note({"step": step, **numbers})
            say(f"{self.stage} {step}/{self.steps} " + " ".join(f"{k} {v:.4g}" for k, v in numbers.items()))
        if (step + 1) % self.every == 0 or step == self.steps - 1:
            self.save(step, module, opt)

    def note(self, row: dict[str, float]) -> None:
        """Append one line to the stage's log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def save(self, step: int, module: nn.Module, opt: Optimizer) -> None:
        """Write the checkpoint beside the old one, then put it in its place."""
        assert self.average is not None
        partial = self.file.with_suffix(".partial")
        torch.save(
            {
                "step": step,
                "module": module.state_dict(),
                "opt": opt.state_dict(),
                "average": self.average.state,
                "count": self.average.count,
            },
            partial,
        )
        os.replace(partial, self.file)
