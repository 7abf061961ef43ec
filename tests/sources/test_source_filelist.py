from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmsearch.errors import SourceError
from mmsearch.sources import FileList
from mmsearch.testing.sources import SourceConformance
from mmsearch.types import Kind


def fill(root: Path, *names: str) -> list[str]:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return [str(root / name) for name in names]


class TestConformance(SourceConformance):
    prunes = False

    @pytest.fixture
    def source(self, tmp_path: Path) -> FileList:
        return FileList(fill(tmp_path, "b/x.jpg", "a.txt", "no-suffix", ".hidden.png"))

    @pytest.fixture
    def expected(self) -> dict[str, tuple[Kind, bytes]]:
        return {
            "b/x.jpg": (Kind.IMAGE, b"b/x.jpg"),
            "a.txt": (Kind.TEXT, b"a.txt"),
            "no-suffix": (Kind.IMAGE, b"no-suffix"),
            ".hidden.png": (Kind.IMAGE, b".hidden.png"),
        }


def test_keeps_the_order_and_drops_repetitions(tmp_path: Path) -> None:
    b, a = fill(tmp_path, "b.jpg", "a.jpg")
    source = FileList([b, a, b, f"{tmp_path}/./x/../a.jpg"])
    assert [asset.id for asset in source.scan()] == ["b.jpg", "a.jpg"]


def test_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = fill(tmp_path, "a/b/1.jpg", "a/c/2.jpg")
    assert FileList(paths).root == str(tmp_path / "a")
    assert FileList(paths[:1]).root == str(tmp_path / "a" / "b")
    above = FileList(paths, root=tmp_path)
    assert [asset.id for asset in above.scan()] == ["a/b/1.jpg", "a/c/2.jpg"]
    assert [asset.id for asset in FileList(paths).rooted(str(tmp_path)).scan()] == ["a/b/1.jpg", "a/c/2.jpg"]
    monkeypatch.chdir(tmp_path / "a")
    assert [asset.path for asset in FileList(["b/1.jpg", Path("c/2.jpg")]).scan()] == ["b/1.jpg", "c/2.jpg"]


def test_what_cannot_be_used_is_reported(tmp_path: Path) -> None:
    paths = fill(tmp_path, "in/a.jpg", "out.jpg")
    (tmp_path / "in/folder.jpg").mkdir()
    names = [*paths, f"{tmp_path}/in/gone.jpg", f"{tmp_path}/in/folder.jpg", f"{tmp_path}/in/a.jpg/x"]
    source = FileList(names, root=tmp_path / "in")
    assert [asset.id for asset in source.scan()] == ["a.jpg"]
    assert [(p.path, p.reason) for p in source.problems] == [
        (f"{tmp_path}/out.jpg", "outside_root"),
        ("gone.jpg", "vanished"),
        ("folder.jpg", "not_regular"),
        ("a.jpg/x", "vanished"),
    ]
    assert source.complete is False
    list(source.scan())
    assert len(source.problems) == 4


def test_links_are_followed_and_strange_names_survive(tmp_path: Path) -> None:
    [real] = fill(tmp_path, "real.jpg")
    (tmp_path / "link.jpg").symlink_to(real)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.jpg")
    Path(odd).write_bytes(b"odd")
    source = FileList([str(tmp_path / "link.jpg"), odd])
    link, strange = source.scan()
    assert source.read(link) == b"real.jpg"
    assert source.read(strange) == b"odd"
    assert source.locate(strange) == odd
    strange.id.encode()


def test_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="empty"):
        FileList([])
    assert list(FileList([], root=tmp_path).scan()) == []
