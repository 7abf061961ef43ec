"""Heatmaps: the hottest place is where the named thing is, whatever the method; patches and gradients against oracles."""

from __future__ import annotations

import importlib.util
import io
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmsearch as mm
from mmsearch.encoders.toy import COLOURS, ToyEncoder
from mmsearch.errors import InputError, UsageError
from mmsearch.explain import Heatmap, heatmap
from mmsearch.explain.windows import spread, windows

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def patched(size: tuple[int, int], **boxes: tuple[int, int, int, int]) -> Image.Image:
    """White, with a rectangle (left, top, right, bottom) of each named colour."""
    picture = Image.new("RGB", size, "white")
    for colour, box in boxes.items():
        picture.paste(COLOURS[colour], box)
    return picture


BOXES = {"red": (40, 30, 160, 150), "blue": (400, 40, 520, 160), "green": (200, 300, 330, 430)}


@pytest.mark.parametrize("colour", BOXES)
def test_the_hottest_place_is_where_the_colour_is(colour: str) -> None:
    toy = ToyEncoder()
    found = heatmap(toy, patched((640, 480), **BOXES), toy.encode_texts([colour])[0])
    left, top, right, bottom = BOXES[colour]
    x, y = found.hottest
    assert left <= x < right, found.hottest
    assert top <= y < bottom, found.hottest
    assert (found.method, found.width, found.height) == ("windows", 640, 480)
    assert (float(found.grid.min()), float(found.grid.max())) == (0.0, 1.0)
    bx, by, bw, bh = found.box()
    assert bx <= x <= bx + bw, found.box()
    assert by <= y <= by + bh, found.box()
    for other, (a, b, c, d) in BOXES.items():  # and what was not asked for is not in the box
        if other != colour:
            assert not (bx <= (a + c) / 2 <= bx + bw and by <= (b + d) / 2 <= by + bh)


def test_a_picture_of_one_colour_has_no_heat() -> None:
    toy = ToyEncoder()
    found = heatmap(toy, Image.new("RGB", (300, 200), COLOURS["red"]), toy.encode_texts(["red"])[0])
    assert not found.grid.any()
    assert (found.hottest, found.box()) == ((150, 100), (0, 0, 300, 200))
    assert found.score == pytest.approx(float(toy.encode_images([toy.preparer(found.picture)])[0] @ toy.encode_texts(["red"])[0]))


@pytest.mark.parametrize("size", [(640, 480), (30, 4000), (1, 1), (5000, 300), (200, 200)])
def test_windows_cover_the_picture_from_edge_to_edge(size: tuple[int, int]) -> None:
    width, height = size
    parts = windows(width, height)
    assert len(parts) <= 360
    for side in {part.side for part in parts}:
        same = [part for part in parts if part.side == side]
        assert {0, width - side} <= {part.left for part in same}
        assert {0, height - side} <= {part.top for part in same}
    assert all(0 <= p.left <= width - p.side and 0 <= p.top <= height - p.side for p in parts)


def test_spread_is_the_sum_it_says() -> None:
    """Against the formula, cell by cell."""
    parts, cosines = windows(90, 60), np.random.default_rng(0).normal(size=len(windows(90, 60)))
    found = spread(parts, cosines, 90, 60)
    assert found.shape == (21, 32)
    z = (cosines - cosines.max()) / cosines.std()
    for row, column in ((0, 0), (7, 30), (20, 15)):
        x, y = (column + 0.5) * 90 / 32, (row + 0.5) * 60 / 21
        heat = 0.0
        for part, one in zip(parts, z, strict=True):
            far = (x - part.left - part.side / 2) ** 2 + (y - part.top - part.side / 2) ** 2
            heat += float(np.exp(2.0 * one) * np.exp(-far / (2 * (0.4 * part.side) ** 2)))
        assert found[row, column] == pytest.approx(heat, rel=1e-9)


def test_the_overlay_is_hot_where_the_grid_is() -> None:
    grid = np.zeros((6, 8), dtype=np.float32)
    grid[1, 6] = 1.0
    found = Heatmap(grid, 1600, 1200, 0.3, "windows", Image.new("RGB", (800, 600), (100, 100, 100)))
    drawn = np.asarray(found.overlay(400)).astype(int)
    assert drawn.shape == (300, 400, 3)
    assert (drawn[250:, :100] == 100).all()  # cold: the picture as it is
    assert drawn[75, 325].tolist() != [100, 100, 100]
    assert drawn[75, 325, 0] - drawn[75, 325, 2] > 40  # the hot end of the colours: yellow
    with Image.open(io.BytesIO(found.png())) as png:
        assert (png.format, png.size) == ("PNG", (640, 480))
    assert found.hottest == (1300, 300)
    assert found.box() == (1200, 200, 200, 200)


def test_methods_that_need_torch_say_so() -> None:
    toy = ToyEncoder()
    picture, vector = Image.new("RGB", (50, 50)), toy.encode_texts(["red"])[0]
    for method in ("patches", "gradients"):
        with pytest.raises(UsageError, match="in torch"):
            heatmap(toy, picture, vector, method=method)
    with pytest.raises(UsageError, match="must be one of"):
        heatmap(toy, picture, vector, method="magic")


# --- in a collection ------------------------------------------------------------------------------------------------------


def test_a_collection_draws_items_and_files(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    patched((640, 480), **BOXES).save(path)
    with mm.Collection.open(tmp_path / "c", create=True, model="toy") as collection:
        collection.add([mm.Item("photo", image=path.read_bytes()), mm.Item("note", text="red")])
        collection.sync(mm.Folder(tmp_path, include=("*.png",)))
        for what in ("photo.png", path, str(path), path.read_bytes(), Image.open(path)):
            x, y = collection.heatmap(what, "blue").hottest
            assert 400 <= x < 520, what
            assert 40 <= y < 160, what
        x, y = collection.heatmap(path, mm.text("red") - 0.5 * mm.text("blue")).hottest
        assert 40 <= x < 160
        assert 30 <= y < 150
        with pytest.raises(InputError, match="is a text"):
            collection.heatmap("note", "red")
        with pytest.raises(InputError, match="came from no file"):
            collection.heatmap("photo", "red")
        with pytest.raises(InputError):
            collection.heatmap(tmp_path / "none.png", "red")


# --- in torch --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import torch

    from tests.encoders.conftest import build

    torch.set_num_threads(1)
    where = tmp_path_factory.mktemp("models")
    resnet = {"image_size": 128, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    vit = {"image_size": 64, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16}
    return {"vit": build(where / "vit", vision=vit), "resnet": build(where / "resnet", vision=resnet)}


def test_patches_keep_their_own_values(folders: dict[str, Path]) -> None:
    """Oracle: run the last block on each token alone; attention over a single token is its own value."""
    import torch

    from mmsearch import models
    from mmsearch.explain import tokens

    encoder = models.resolve(f"local-dir:{folders['vit']}", device="cpu", precision="fp32")
    picture = patched((64, 64), red=(0, 0, 32, 32), blue=(40, 40, 60, 60))
    vector = encoder.encode_texts(["red"])[0]
    found = heatmap(encoder, picture, vector)
    assert (found.method, found.grid.shape) == ("patches", (4, 4))
    visual = encoder.towers.model.visual  # type: ignore[attr-defined]
    with torch.inference_mode():
        x = visual._embeds(tokens._input(encoder.towers, picture))  # type: ignore[attr-defined]
        x = visual.transformer.resblocks[0](x)
        last = visual.transformer.resblocks[-1]
        alone = torch.cat([last(x[:, at : at + 1]) for at in range(x.shape[1])], dim=1)
        rows = torch.nn.functional.normalize(visual.ln_post(alone)[0] @ visual.proj, dim=-1)[1:].numpy()
    cosines = (rows @ vector).reshape(4, 4)
    scaled = (cosines - cosines.min()) / (cosines.max() - cosines.min())
    np.testing.assert_allclose(found.grid, scaled, atol=1e-4)


def test_gradients_are_the_slope_of_the_score(folders: dict[str, Path]) -> None:
    """Oracle: make one place of the last feature map a little stronger, and see how the cosine changes."""
    import torch

    from mmsearch import models
    from mmsearch.explain import tokens

    encoder = models.resolve(f"local-dir:{folders['resnet']}", device="cpu", precision="fp32")
    towers = encoder.towers  # type: ignore[attr-defined]
    picture = patched((128, 128), red=(0, 0, 64, 64), green=(80, 80, 110, 120))
    vector = encoder.encode_texts(["red"])[0]
    found = tokens.gradient_grid(towers, picture, vector)
    assert found.shape == (4, 4)
    slopes = np.zeros((4, 4))
    for at in np.ndindex(4, 4):

        def stronger(step: float, at: tuple[int, ...], module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            output[0, :, at[0], at[1]] *= 1 + step
            return output

        scores = []
        for step in (-0.02, 0.02):
            hook = towers.model.visual.layer4.register_forward_hook(partial(stronger, step, at))
            with torch.inference_mode():
                row = torch.nn.functional.normalize(towers.model.encode_image(tokens._input(towers, picture)), dim=-1)
                scores.append(float(row[0] @ torch.from_numpy(vector)))
            hook.remove()
        slopes[at] = (scores[1] - scores[0]) / 0.04
    np.testing.assert_allclose(found, slopes.clip(min=0), atol=5e-2 * float(np.abs(slopes).max()))
    assert not towers.model.visual.layer4._forward_hooks


# --- the built-in model -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image carries the photos")
def test_mini_finds_photos_in_composed_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short form of ``benchmarks/heatmap.py``: what mini tells apart it finds, five times as often as chance at least."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("heatmap", None)
    import heatmap as benchmark

    from mmsearch import models

    photos, captions = benchmark.demo()
    encoder = models.resolve("mini")
    asked = [one for one in benchmark.questions(encoder, photos, captions, 5, 3) if one.known]
    found = benchmark.measure(benchmark.by_method(encoder, "windows"), asked)
    assert found["chance"] < 0.12
    assert found["hit"] >= 5 * found["chance"], found
