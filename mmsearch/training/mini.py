"""Train `mini` from random initialisation: ``python -m mmsearch.training.mini --data DIR --out DIR``.

Stages: data, teacher, text, image, joint, export, evaluate. Each leaves its result in `--out`, and a run that is killed
goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from mmsearch.training.pipeline import Run
from mmsearch.training.stage_image import Plan
from mmsearch.training.stage_joint import JointPlan

STAGES = ("data", "teacher", "text", "image", "joint", "export", "evaluate")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m mmsearch.training.mini", description=__doc__)
    out.add_argument("--data", type=Path, required=True, help="folder with the zips and teachers/")
    out.add_argument("--out", type=Path, required=True, help="folder for caches, checkpoints, logs, plots, the model")
    out.add_argument("--seed", type=int, default=0)
    out.add_argument("--device", default="cpu", help="cpu or cuda")
    out.add_argument("--workers", type=int, default=2, help="data-parallel threads of the picture stages; 1 on a GPU")
    out.add_argument("--views", type=int, default=12, help="most fixed views of a picture that the teacher describes")
    out.add_argument("--text-steps", type=int, default=700)
    out.add_argument("--image-steps", type=int, default=8000)
    out.add_argument("--joint-steps", type=int, default=200)
    out.add_argument("--model-size", type=int, default=160, help="pixels of a side that the written model sees")
    out.add_argument("--model-version", default="3")
    out.add_argument("--until", choices=STAGES, default=STAGES[-1], help="stop after this stage")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages up to `--until`, telling the log where it stands."""
    args = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    begun = time.monotonic()

    def say(line: str) -> None:
        logging.getLogger("mini").info("%6.0f s  %s", time.monotonic() - begun, line)

    torch.set_flush_denormal(True)
    if args.device == "cpu":
        torch.set_num_threads(1)
    run = Run(
        data=args.data,
        out=args.out,
        say=say,
        seed=args.seed,
        views=args.views,
        text_steps=args.text_steps,
        image_plan=Plan(steps=args.image_steps, workers=args.workers),
        joint_plan=JointPlan(steps=args.joint_steps, workers=args.workers, size=args.model_size),
        version=args.model_version,
        model_size=args.model_size,
        device=args.device,
    )
    for stage in STAGES:
        say(f"stage {stage}")
        getattr(run, f"do_{stage}")()
        if stage == args.until:
            break


if __name__ == "__main__":
    main()
