"""Loss curves of all stages as one picture."""

from __future__ import annotations

import json
from pathlib import Path

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
    """Write `curves.png` beside the logs in `out`, one panel per stage, and return its path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [stage for stage in STAGES if (out / f"{stage}.jsonl").is_file()]
    figure, panels = pyplot.subplots(1, max(1, len(found)), figsize=(5 * max(1, len(found)), 4), squeeze=False)
    for panel, stage in zip(panels[0], found, strict=False):
        for name, (steps, values) in read_log(out / f"{stage}.jsonl").items():
            if name not in ("size", "scale"):
                panel.plot(steps, values, label=name)
        panel.set(title=stage, xlabel="step", yscale="log")
        panel.legend()
    figure.tight_layout()
    target = out / "curves.png"
    figure.savefig(target, dpi=100)
    pyplot.close(figure)
    return target
