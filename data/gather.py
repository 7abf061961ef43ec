"""Gather the demo's photos: real pictures that well-kept packages carry in their wheels, each with our caption beside it.

    python data/gather.py data/photos

Nothing is downloaded; ``demo.json`` names each file, its licence and its caption. The photos are not ours, so they are
copied to a folder that git ignores.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path


def folder_of(package: str) -> Path:
    """Where an installed package lies; it is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the package {package} is not installed; run: pip install 'mmsearch[demo]'")
    return Path(spec.origin).parent


def gather(to: Path) -> int:
    """Copy the photos and write the captions; returns how many there are."""
    to.mkdir(parents=True, exist_ok=True)
    photos = json.loads(Path(__file__).with_name("demo.json").read_text())
    for photo in photos:
        source = folder_of(photo["package"]) / photo["file"]
        shutil.copyfile(source, to / source.name)
        (to / source.name).with_suffix(".txt").write_text(photo["caption"] + "\n")
    return len(photos)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "data/photos")
    print(f"{gather(target)} photos and their captions are in {target}")
