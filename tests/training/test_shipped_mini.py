"""The model that lies in the package: whole, small enough, and the same in open_clip and in onnxruntime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmsearch.encoders import mini
from mmsearch.encoders.tokenizer import clip_tokenizer

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LIMIT = 24 * 2**20
TEXTS = ["a cat", "a cup of coffee", "a rocket", "", "Nike Men's Black Running Shoes", "two dogs play " * 30]


def test_files_have_their_checksums_and_fit() -> None:
    card = mini.verify()
    assert set(card["files"]) == {mini.WEIGHTS, mini.CONFIG, mini.IMAGE_GRAPH, mini.TEXT_GRAPH}
    assert sum(f.stat().st_size for f in mini.FOLDER.iterdir() if f.is_file()) <= LIMIT
    for name, recorded in card["files"].items():
        assert (mini.FOLDER / name).stat().st_size == recorded["bytes"]


def test_open_clip_and_onnxruntime_agree() -> None:
    import open_clip

    from mmsearch.training.report import Towers

    card = mini.load_card()
    towers = Towers(mini.FOLDER, threads=1)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{mini.FOLDER}")
    model.eval()
    rng = np.random.default_rng(0)
    shapes = ((90, 200), (300, 128), (64, 64))
    pictures = [Image.fromarray(rng.integers(0, 255, (h, w, 3), np.uint8)) for h, w in shapes]
    rows = clip_tokenizer(context_length=card["context_length"], merges=card["bpe_merges"])(TEXTS)
    tokens = torch.zeros(len(rows), card["context_length"], dtype=torch.long)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = torch.tensor(row)
    with torch.inference_mode():
        seen = model.encode_image(torch.stack([preprocess(p) for p in pictures]), normalize=True).numpy()
        read = model.encode_text(tokens, normalize=True).numpy()
    assert seen.shape[1] == card["dim"]
    assert (seen * towers.images(pictures)).sum(axis=1).min() >= 0.9999
    assert (read * towers.texts(TEXTS)).sum(axis=1).min() >= 0.9999


def test_the_card_tells_what_was_measured() -> None:
    measured = mini.load_card()["measured"]
    value, low, high = measured["flickr8k-dev"]["text_to_image_r10"]
    assert low <= value <= high
    assert value >= 0.35


def test_importing_mini_is_light() -> None:
    code = "import sys, mmsearch.encoders.mini as m; m.load_card(); print({'torch', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data (flickr8k-dev.zip)")


@needs_data
def test_it_finds_photos_it_never_saw() -> None:
    from mmsearch.training.evaluate import ranks, recalls
    from mmsearch.training.report import Towers, read_zip

    towers = Towers(mini.FOLDER)
    pictures, meta = read_zip(DATA / "flickr8k-dev.zip", range(100))
    found = ranks(towers.images(pictures), towers.texts([row["captions"][0] for row in meta]), np.arange(100))
    assert recalls(found)["text_to_image_r10"] >= 0.4  # chance is 0.1


@pytest.mark.slow
@needs_data
def test_the_recall_in_the_card_is_the_recall_of_the_files() -> None:
    from mmsearch.training.report import Towers, flickr

    noted = mini.load_card()["measured"]["flickr8k-dev"]
    for name, found in flickr(Towers(mini.FOLDER), DATA).items():
        assert found[0] == pytest.approx(noted[name][0], abs=0.004), name
