from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmsearch.errors import SourceError
from mmsearch.sources import CocoCaptions
from mmsearch.testing.sources import SourceConformance
from mmsearch.types import Kind

WHOLE: dict[str, Any] = {
    "info": {"year": 2017},
    "images": [
        {"id": 139, "file_name": "000139.jpg", "width": 640, "height": 426, "license": 2, "flickr_url": "http://x"},
        {"id": 285, "file_name": "000285.jpg"},
        {"id": 632, "file_name": "000632.jpg"},
    ],
    "annotations": [
        {"id": 1, "image_id": 285, "caption": "A big bear."},
        {"id": 2, "image_id": 139, "caption": "A woman in a room.\n"},
        {"id": 3, "image_id": 285, "caption": "A bear sitting."},
        {"id": 4, "image_id": 285, "caption": "A big bear."},
    ],
}


def write(tmp_path: Path, whole: Any) -> Path:
    path = tmp_path / "annotations" / "captions_val2017.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(whole if isinstance(whole, str) else json.dumps(whole))
    (tmp_path / "val2017").mkdir(exist_ok=True)
    for name in ("000139.jpg", "000285.jpg", "000632.jpg"):
        (tmp_path / "val2017" / name).write_bytes(name.encode())
    return path


class TestConformance(SourceConformance):
    @pytest.fixture
    def source(self, tmp_path: Path) -> CocoCaptions:
        return CocoCaptions(write(tmp_path, WHOLE))

    @pytest.fixture
    def expected(self) -> dict[str, tuple[Kind, bytes]]:
        return {
            "000139.jpg": (Kind.IMAGE, b"000139.jpg"),
            "000139.jpg#caption-0": (Kind.TEXT, b"A woman in a room."),
            "000285.jpg": (Kind.IMAGE, b"000285.jpg"),
            "000285.jpg#caption-0": (Kind.TEXT, b"A big bear."),
            "000285.jpg#caption-1": (Kind.TEXT, b"A bear sitting."),
            "000632.jpg": (Kind.IMAGE, b"000632.jpg"),
        }


def test_order_groups_paths_and_meta(tmp_path: Path) -> None:
    source = CocoCaptions(write(tmp_path, WHOLE))
    assets = list(source.scan())
    assert [asset.id for asset in assets][:3] == ["000139.jpg", "000139.jpg#caption-0", "000285.jpg"]
    assert all(asset.group == asset.id.partition("#")[0] for asset in assets)
    assert {asset.path for asset in assets if asset.text} == {"annotations/captions_val2017.json"}
    assert assets[0].path == "val2017/000139.jpg"
    assert assets[0].meta == {"license": 2, "flickr_url": "http://x", "coco_id": 139}
    assert source.root == str(tmp_path)
    assert source.complete
    assert source.problems == []


def test_where_the_images_are(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    assert CocoCaptions(path).images == str(tmp_path / "val2017")
    (tmp_path / "annotations" / "images").mkdir()
    (tmp_path / "annotations" / "images" / "000139.jpg").touch()
    assert CocoCaptions(path).images == str(tmp_path / "annotations" / "images")
    (tmp_path / "annotations" / "000139.jpg").touch()
    assert CocoCaptions(path).root == str(tmp_path / "annotations")
    assert CocoCaptions(path, images=tmp_path / "val2017").images == str(tmp_path / "val2017")


def test_entries_that_cannot_be_used(tmp_path: Path) -> None:
    whole = {
        "images": [
            {"id": 1},
            "x",
            {"id": 2, "file_name": "/etc/x.jpg"},
            {"id": 139, "file_name": "000139.jpg"},
            {"id": 5, "file_name": 7},
        ],
        "annotations": [{"image_id": 139}, {"image_id": 139, "caption": " "}, 3, {"image_id": 77, "caption": "lost"}],
    }
    source = CocoCaptions(write(tmp_path, whole), images=tmp_path / "val2017")
    assert [asset.id for asset in source.scan()] == ["000139.jpg"]
    assert [(p.path.rpartition(":")[2], p.reason) for p in source.problems] == [
        ("annotations[0]", "bad_line"),
        ("annotations[1]", "bad_line"),
        ("annotations[2]", "bad_line"),
        ("images[0]", "bad_line"),
        ("images[1]", "bad_line"),
        ("images[2]", "bad_line"),
        ("images[4]", "bad_line"),
        ("images", "bad_line"),
    ]
    assert not source.complete


def test_an_image_named_twice(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "000139.jpg"}, {"id": 2, "file_name": "./000139.jpg"}]
    source = CocoCaptions(write(tmp_path, {"images": images, "annotations": []}))
    assert [asset.id for asset in source.scan()] == ["000139.jpg"]
    assert [problem.reason for problem in source.problems] == ["duplicate_id"]
    assert source.complete


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', '{"images": {}, "annotations": []}', "[" * 100_000])
def test_files_that_are_no_use(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError):
        list(CocoCaptions(write(tmp_path, text)).scan())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        list(CocoCaptions(tmp_path / "nowhere.json").scan())


def test_nothing_in_it_is_not_everything_gone(tmp_path: Path) -> None:
    source = CocoCaptions(write(tmp_path, {"images": [], "annotations": []}))
    assert list(source.scan()) == []
    assert not source.complete
