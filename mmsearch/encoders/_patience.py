"""Torch's threads, made to sleep while they wait for each other.

By default OpenMP's threads spin. That is quickest on an idle machine, but while pictures are decoded by other processes the
spinning takes the cores from the work it waits for: ViT-B/32 in bf16 with two threads on two busy cores encoded 4–5
images/s spinning and 16–19 sleeping. OpenMP reads the setting once, when torch's library is loaded.
"""

from __future__ import annotations

import os
import sys

__all__ = ["import_torch"]

_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def import_torch() -> None:
    """Import torch with patient threads, unless it is loaded already or the user has settled the matter."""
    if "torch" in sys.modules or any(name in os.environ for name in _SETTINGS):
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        import torch  # noqa: F401
    finally:
        del os.environ["OMP_WAIT_POLICY"]  # for this process's torch, not for its children
