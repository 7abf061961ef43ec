"""Pictures, crops, wordings and labels: what training is fed."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmsearch.training.captions import draw, wordings
from mmsearch.training.data import SIDE, Corpus, held_out_rows, load_corpus, training_rows
from mmsearch.training.labels import TFLITE, class_layer, class_name, label_texts, sure_words
from mmsearch.training.views import crop_boxes, render

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FIRST_HELD_OUT = [35, 51, 61, 75, 79]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as zf:
        rows = []
        for number, colour in enumerate(("red", "lime", "blue")):
            file = io.BytesIO()
            Image.new("RGB", (40 + number, 20), colour).save(file, "PNG")
            zf.writestr(f"{number}.png", file.getvalue())
            rows.append(json.dumps({"image": f"{number}.png", "captions": [f"a {colour} wall .", "a wall"]}))
        zf.writestr("captions.jsonl", "\n".join(rows))
    return tmp_path


def test_pictures_are_decoded_once_in_the_order_of_the_lines(archive: Path, tmp_path: Path) -> None:
    corpus = load_corpus(archive, tmp_path / "cache", "tiny")
    assert corpus.images.shape == (3, SIDE, SIDE, 3)
    assert [tuple(picture[5, 5]) for picture in corpus.images] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert wordings(corpus)[0] == ["a red wall", "a wall"]
    stamp = (tmp_path / "cache" / f"tiny.{SIDE}.npy").stat().st_mtime_ns
    load_corpus(archive, tmp_path / "cache", "tiny")
    assert (tmp_path / "cache" / f"tiny.{SIDE}.npy").stat().st_mtime_ns == stamp
    with pytest.raises(FileNotFoundError, match=r"absent\.zip"):
        load_corpus(archive, tmp_path, "absent")


def test_held_out_rows_are_fixed_and_never_trained_on() -> None:
    rows = held_out_rows(15_000)
    assert len(set(rows.tolist())) == 1000
    assert rows[:5].tolist() == held_out_rows(15_000)[:5].tolist() == FIRST_HELD_OUT
    corpus = Corpus("myntra-15k", np.empty((0,), np.uint8), [[] for _ in range(15_000)], [])
    assert len(training_rows(corpus)) == 14_000
    assert not set(training_rows(corpus).tolist()) & set(rows.tolist())


def test_boxes_are_pure_and_inside() -> None:
    boxes = crop_boxes(500, 3)
    assert np.array_equal(boxes, crop_boxes(500, 3))
    assert not np.array_equal(boxes, crop_boxes(500, 2))
    assert boxes.min() >= 0
    assert boxes.max() <= 1 + 1e-6
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert area.min() > 0.3
    assert np.array_equal(crop_boxes(2, 0), [[0, 0, 1, 1]] * 2)


def test_render_cuts_what_pillow_cuts() -> None:
    ramp = np.linspace(0, 255, 64)
    picture = np.stack([np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 90.0)], axis=2)
    picture = picture.astype(np.uint8)
    box = torch.tensor([[0.25, 0.125, 0.75, 0.625]])
    given = render(torch.from_numpy(picture[None]), box, 16)[0].permute(1, 2, 0).numpy()
    cut = Image.fromarray(picture).resize((16, 16), Image.Resampling.BOX, box=(16, 8, 48, 40))
    np.testing.assert_allclose(given, np.asarray(cut, np.float32) / 127.5 - 1, atol=0.02)
    flipped = render(torch.from_numpy(picture[None]), box, 16, torch.tensor([True]))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(flipped, given[:, ::-1], atol=1e-5)


def test_product_wordings_are_mostly_titles() -> None:
    row = {"captions": ["Nike Men Blue Shoes"], "colour": "Blue", "article_type": "Casual Shoes", "usage": "Casual"}
    corpus = Corpus("myntra-15k", np.empty((0,), np.uint8), [["Nike Men Blue Shoes"]], [row])
    (texts,) = wordings(corpus)
    assert texts.count("Nike Men Blue Shoes") == 4
    assert "a photo of blue casual shoes" in texts


def test_dropped_words_leave_start_and_end() -> None:
    ids = [[100, *range(1, 12), 101]]
    drawn = [draw([ids], np.random.default_rng(seed))[0] for seed in range(200)]
    assert {(row[0], row[-1]) for row in drawn} == {(100, 101)}
    shorter = [row for row in drawn if len(row) < 13]
    assert 20 < len(shorter) < 80
    assert draw([ids], np.random.default_rng(0), drop=0)[0] == ids[0]


def test_labels_become_captions() -> None:
    assert label_texts(["teapot"]) == ["teapot", "a teapot", "a photo of a teapot"]
    assert label_texts([]) == []
    assert class_name(281) == "tabby"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data (teachers)")
def test_the_class_layer_names_photos() -> None:
    """Through the teacher and the layer read from TFLite, scikit-image's coffee is a cup of coffee, its Chelsea a cat."""
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the photo")
    from mmsearch.training.teacher import load_teacher

    assert class_layer(DATA / TFLITE)[0].shape == (1001, 1280)
    pictures = [data.coffee(), data.chelsea()]
    x = torch.stack([render(torch.from_numpy(p)[None], torch.tensor([[0.0, 0, 1, 1]]), 224)[0] for p in pictures])
    with torch.inference_mode():
        features = load_teacher(DATA, torch.device("cpu"))(x.bfloat16()).half().numpy()
    coffee, cat = sure_words(features, DATA / TFLITE, least=0.4)
    assert "cup of coffee" in coffee
    assert "cat" in cat
