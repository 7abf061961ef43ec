"""Data-parallel steps in threads of one process, for machines without a GPU.

Two OpenMP threads inside every kernel wait for one another hundreds of times per step; with anything else running on
the cores that cost 4x (45 pictures/s against 198). Here each thread runs a whole forward and backward pass on its
share of the batch, single-threaded, and they meet once per step. torch releases the GIL inside its kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

Work = Callable[[nn.Module, int], dict[str, torch.Tensor]]


class Replicas:
    """`count` copies of a module: they share its parameters, own their gradients and buffers; the first is the module.

    Only the first one's buffers (batch norm statistics) are kept, so results do not depend on the threads' timing.
    """

    def __init__(self, module: nn.Module, count: int) -> None:
        self.modules = [module]
        for _ in range(count - 1):
            twin = copy.deepcopy(module)
            for ours, theirs in zip(twin.parameters(), module.parameters(), strict=True):
                ours.data = theirs.data
            self.modules.append(twin)
        self._pool = ThreadPoolExecutor(count)

    def step(self, work: Work) -> dict[str, float]:
        """Run `work(replica, number)`, which returns named losses, backward through `loss` of each; average gradients.

        The gradients end in the first module's `.grad`. Returns the means of what the replicas reported.
        """
        outcomes = list(self._pool.map(lambda pair: self._one(work, *pair), enumerate(self.modules)))
        lead, *others = self.modules
        with torch.no_grad():
            for param, *twins in zip(lead.parameters(), *(m.parameters() for m in others), strict=True):
                for twin in twins:
                    if twin.grad is not None and param.grad is not None:
                        param.grad.add_(twin.grad)
                if param.grad is not None:
                    param.grad.div_(len(self.modules))
        return {key: sum(o[key] for o in outcomes) / len(outcomes) for key in outcomes[0]}

    def _one(self, work: Work, number: int, module: nn.Module) -> dict[str, float]:
        module.zero_grad(set_to_none=True)
        if len(self.modules) > 1:
            torch.set_num_threads(1)
        losses = work(module, number)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        return {key: float(value.detach()) for key, value in losses.items()}

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown()
