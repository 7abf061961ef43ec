"""Writes ``mmsearch/vocabulary.txt``: the labels that clusters are named by, one a line.

    python data/vocabulary.py

They are the words that the query bank is made of (``query_bank.py``), and places and subjects beside them. Nothing was copied.
"""

from __future__ import annotations

from pathlib import Path

import query_bank as bank

SCENES = [
    "beach", "sea", "river", "lake", "waterfall", "mountains", "forest", "desert", "snow", "sunset", "night sky", "clouds",
    "city street", "skyline", "bridge", "church", "castle", "tower", "temple", "house", "kitchen", "living room", "bedroom",
    "bathroom", "office", "classroom", "shop", "restaurant", "stage", "stadium", "swimming pool", "playground", "garden",
    "park", "field", "farm", "harbour", "station", "airport", "road", "market", "museum",
]
SUBJECTS = [
    "portrait", "group photo", "wedding", "party", "concert", "football match", "race", "climbing", "surfing", "skiing",
    "cycling", "dancing", "food", "flowers", "leaves", "trees", "grass", "stones", "brick wall", "text", "handwriting", "map",
    "diagram", "screenshot", "drawing", "painting", "logo", "pattern", "sky", "planet", "galaxy", "microscope picture",
    "x-ray", "machine", "tools", "coins", "toys", "jewellery", "clothes", "shoes", "bags", "furniture", "phone", "computer",
]


def vocabulary() -> list[str]:
    """All labels, each once, in the order of the lists."""
    lists = (bank.PEOPLE, bank.ANIMALS, bank.VEHICLES, bank.FOOD, bank.THINGS, bank.GOODS, SCENES, SUBJECTS)
    return list(dict.fromkeys(label.replace("-", " ") for words in lists for label in words))


if __name__ == "__main__":
    target = Path(__file__).parent.parent / "mmsearch" / "vocabulary.txt"
    target.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
