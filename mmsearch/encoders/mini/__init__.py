"""`mini`: our own small CLIP, weights inside the package, no network. What it can and cannot do stands in MODEL_CARD.md.

Importing this costs nothing: no torch, no onnxruntime. FORMAT.md describes the files.

>>> load_card()["name"]
'mini'
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mmsearch.errors import ModelCorrupt, ModelNotFound

__all__ = ["CARD", "CONFIG", "FOLDER", "FORMAT", "IMAGE_GRAPH", "TEXT_GRAPH", "WEIGHTS", "load_card", "verify"]

FORMAT = 1
FOLDER = Path(__file__).parent
CARD = "mini.json"
CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
IMAGE_GRAPH = "image.onnx"
TEXT_GRAPH = "text.onnx"


def load_card(folder: Path = FOLDER) -> dict[str, Any]:
    """What `mini.json` says: name, version, licence, sizes, checksums, measured recalls.

    Raises ModelNotFound when the folder holds no model, ModelCorrupt when its card is of another format.
    """
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelNotFound(f"no {CARD} in {folder}", hint="reinstall mmsearch") from error
    except ValueError as error:
        raise ModelCorrupt(f"{folder / CARD} is not JSON", hint="reinstall mmsearch") from error
    if card.get("format") != FORMAT:
        raise ModelCorrupt(f"{CARD} has format {card.get('format')}, this mmsearch reads {FORMAT}")
    return card


def verify(folder: Path = FOLDER) -> dict[str, Any]:
    """Check every file against its recorded sha256 and return the card. Cost: one read of 16 MB, about 15 ms.

    Raises ModelNotFound for a file that is absent and ModelCorrupt for one that differs.
    """
    card = load_card(folder)
    for name, recorded in card["files"].items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise ModelNotFound(f"no {name} in {folder}", hint="reinstall mmsearch") from error
        if found != recorded["sha256"]:
            raise ModelCorrupt(f"{folder / name} does not have its recorded checksum", hint="reinstall mmsearch")
    return card
