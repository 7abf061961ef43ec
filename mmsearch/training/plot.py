"""Loss curves of all stages, and the recall each ended with, as one picture."""

from __future__ import annotations

import json
from pathlib import Path

from mmsearch.training.checks import LOG, read_checks

STAGES = ("text", "image", "joint")


def read_log(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Name of each number in a stage's log -> (steps, values); a step noted twice, after a resume, counts once."""
    rows: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[int(row.pop("step"))] = row
    names = sorted({name for row in rows.values() for name in row})
    return {
        name: ([s for s in sorted(rows) if name in rows[s]], [rows[s][name] for s in sorted(rows) if name in rows[s]])
        for name in names
    }


def draw_curves(out: Path) -> Path:
    """Write `curves.png` beside the logs in `out`, one panel per stage and one for recall, and return its path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [stage for stage in STAGES if (out / f"{stage}.jsonl").is_file()]
    checks = read_checks(out / LOG)
    count = max(1, len(found) + bool(checks))
    figure, panels = pyplot.subplots(1, count, figsize=(5 * count, 4), squeeze=False)
    for panel, stage in zip(panels[0], found, strict=False):
        for name, (steps, values) in read_log(out / f"{stage}.jsonl").items():
            if name not in ("size", "scale"):
                panel.plot(steps, values, label=name)
        panel.set(title=stage, xlabel="step", yscale="log")
        panel.legend()
    if checks:
        for name in ("text_to_image_r10", "image_to_text_r10"):
            panels[0][-1].plot([row["stage"] for row in checks], [row[name] for row in checks], "o-", label=name)
        panels[0][-1].set(title="recall on flickr8k-dev", xlabel="after stage (text: the teacher's eyes)", ylim=(0, None))
        panels[0][-1].legend()
    figure.tight_layout()
    target = out / "curves.png"
    figure.savefig(target, dpi=100)
    pyplot.close(figure)
    return target
