"""``tiles``: small things come first, with the box they are in; and the parts of query pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmsearch as mm
from mmsearch.encoders.toy import COLOURS, ToyEncoder
from mmsearch.errors import QueryError
from mmsearch.images.region import cut
from mmsearch.protocols import RerankContext, Reranker
from mmsearch.rerankers.tiles import TilesReranker, tiles
from mmsearch.testing.rerankers import RerankerConformance
from mmsearch.types import Hit, Kind, text


class TestTiles(RerankerConformance):
    def build(self) -> Reranker:
        return TilesReranker(load=lambda hit, encoder: (Image.new("RGB", (8, 8), (hit.vid % 255, 0, 0)), (80, 80)))


@pytest.mark.parametrize("size", [(100, 60), (101, 61), (2, 2), (1, 1), (1, 50)])
def test_tiles_lie_inside_and_cover_everything(size: tuple[int, int]) -> None:
    covered = np.zeros(size[::-1], dtype=int)
    for x, y, w, h in tiles(*size):
        assert 0 <= x <= x + w <= size[0]
        assert 0 <= y <= y + h <= size[1]
        covered[y : y + h, x : x + w] += 1
    assert covered.min() >= 1
    assert len(tiles(100, 60)) == 9


def street(colour: str, at: tuple[int, int]) -> Image.Image:
    """Gray, with a small thing of this colour."""
    picture = Image.new("RGB", (200, 100), COLOURS["gray"])
    picture.paste(COLOURS[colour], (*at, at[0] + 40, at[1] + 30))
    return picture


def test_a_small_thing_comes_first_with_its_box() -> None:
    toy = ToyEncoder()
    pictures = {1: Image.new("RGB", (200, 100), (200, 110, 110)), 2: street("red", (150, 60)), 3: street("blue", (10, 10))}
    rows = toy.encode_images([toy.preparer(picture) for picture in pictures.values()])
    (target,) = toy.encode_texts(["red"])
    scores = (rows @ target).tolist()
    hits = [Hit(vid, str(vid), Kind.IMAGE, score, vid) for vid, score in zip(pictures, scores, strict=True)]
    loads: list[int] = []

    def load(hit: Hit, encoder: object) -> tuple[Image.Image, tuple[int, int]]:
        loads.append(hit.vid)
        return pictures[hit.vid], (2000, 1000)  # decoded at a tenth

    reranker = TilesReranker(load=load)
    found = reranker.rerank(text("red"), hits, RerankContext(target, rows, toy))
    assert found[0].id == "2"
    assert found[0].box == (1000, 500, 1000, 500)
    for hit in found:  # the value, by brute force
        picture = pictures[hit.vid]
        parts = [picture.crop((x, y, x + w, y + h)) for x, y, w, h in tiles(*picture.size)]
        best = max(float(one @ target) for one in toy.encode_images([toy.preparer(part) for part in parts]))
        assert hit.rerank == pytest.approx(0.5 * hit.score + 0.5 * max(best, hit.score), abs=1e-5)
    before = toy.images_encoded
    assert reranker.rerank(text("red"), hits, RerankContext(target, rows, toy)) == found
    assert (toy.images_encoded, sorted(loads)) == (before, [1, 2, 3])


def test_in_a_collection_hits_have_boxes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    street("red", (150, 60)).save(folder / "right.png")
    street("red", (10, 10)).save(folder / "left.png")
    Image.new("RGB", (200, 100), COLOURS["blue"]).save(folder / "none.png")
    with mm.Collection.open(tmp_path / "c", create=True, model="toy") as collection:
        collection.sync(mm.Folder(folder))
        collection.add([mm.Item("bytes", image=Image.new("RGB", (9, 9), COLOURS["green"]))])
        found = {hit.id: hit for hit in collection.search("red", rerank="tiles")}
        assert found["right.png"].box == (100, 50, 100, 50)
        assert found["left.png"].box == (0, 0, 100, 50)
        assert found["bytes"].box is None
        assert list(found)[:2] in (["right.png", "left.png"], ["left.png", "right.png"])


def test_parts_of_query_pictures(tmp_path: Path) -> None:
    picture = Image.new("RGB", (200, 100), COLOURS["red"])
    picture.paste(COLOURS["blue"], (100, 0, 200, 100))
    picture.save(tmp_path / "q.png")
    with mm.Collection.open(tmp_path / "c", create=True, model="toy") as collection:
        collection.add([mm.Item(name, image=Image.new("RGB", (20, 20), COLOURS[name])) for name in ("red", "blue")])
        for source in (tmp_path / "q.png", (tmp_path / "q.png").read_bytes(), picture):
            for box, name in (((0, 0, 100, 100), "red"), ((0.5, 0, 0.5, 1), "blue"), ((120, 10, 30, 30), "blue")):
                assert collection.search(mm.image(source, box=box))[0].id == name
                assert collection.search(mm.image(source, box=box))[0].score > 0.9
        many = collection.search_many([mm.image(picture, box=(0, 0, 90, 90)), mm.image(picture, box=(110, 0, 90, 90))])
        assert [hits[0].id for hits in many] == ["red", "blue"]
        with pytest.raises(QueryError, match="leaves nothing"):
            collection.search(mm.image(picture, box=(300, 0, 10, 10)))
    with pytest.raises(QueryError, match="four numbers"):
        cut(picture, (1, 2, 3))
    assert cut(picture, (150, 50, 500, 500)).size == (50, 50)
