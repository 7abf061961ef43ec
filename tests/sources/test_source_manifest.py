from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import mmsearch.sources.records as records
import mmsearch.sources.tables as tables
from mmsearch.errors import InputError, MissingExtra, SourceError
from mmsearch.sources import Manifest
from mmsearch.testing.sources import SourceConformance
from mmsearch.types import Asset, Kind

IMAGE, TEXT = Kind.IMAGE, Kind.TEXT


def images(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def csv(tmp_path: Path, content: str | bytes, name: str = "m.csv", **options: Any) -> Manifest:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Manifest(path, **options)


def jsonl(tmp_path: Path, *rows: Any, **options: Any) -> Manifest:
    return csv(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "m.jsonl", **options)


def brief(source: Manifest) -> list[tuple[Any, ...]]:
    return [(a.id, a.kind, a.path, a.group, a.text, a.meta) for a in source.scan()]


def problems(source: Manifest) -> list[tuple[str, str]]:
    return [(problem.path, problem.reason) for problem in source.problems]


class TestConformance(SourceConformance):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Manifest:
        images(tmp_path, "img/a.jpg", "img/b.jpg", "c.jpg")
        lines = ["sku,image,title,price", "A,img/a.jpg,Red dress,40", "B,img/b.jpg,,", "C,,just words,1", ",c.jpg,see,2"]
        return csv(tmp_path, "\n".join(lines))

    @pytest.fixture
    def expected(self) -> dict[str, tuple[Kind, bytes]]:
        return {
            "A": (IMAGE, b"img/a.jpg"),
            "A#title": (TEXT, b"Red dress"),
            "B": (IMAGE, b"img/b.jpg"),
            "C": (TEXT, b"just words"),
            "c.jpg": (IMAGE, b"c.jpg"),
            "c.jpg#title": (TEXT, b"see"),
        }


class TestConformanceOfParquet(SourceConformance):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Manifest:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        images(tmp_path, "a.jpg", "b.jpg")
        columns = {"id": [1, 2], "images": [["a.jpg", "b.jpg"], None], "texts": [["x", "y"], ["z"]]}
        pq.write_table(pa.table(columns), tmp_path / "m.parquet")
        return Manifest(tmp_path / "m.parquet")

    @pytest.fixture
    def expected(self) -> dict[str, tuple[Kind, bytes]]:
        return {
            "1#photo-1": (IMAGE, b"a.jpg"),
            "1#photo-2": (IMAGE, b"b.jpg"),
            "1#caption-0": (TEXT, b"x"),
            "1#caption-1": (TEXT, b"y"),
            "2": (TEXT, b"z"),
        }


def test_rows_become_items(tmp_path: Path) -> None:
    source = csv(tmp_path, 'sku,image,title,price,in stock,size\nA,a.jpg,"Red, ""dress""",40,true,\nB,,two,1.50,FALSE,007\n')
    meta = {"title": 'Red, "dress"', "price": 40, "in stock": True}
    assert brief(source) == [
        ("A", IMAGE, "a.jpg", "A", None, meta),
        ("A#title", TEXT, "m.csv", "A", 'Red, "dress"', meta),
        ("B", TEXT, "m.csv", None, "two", {"title": "two", "price": 1.5, "in stock": False, "size": "007"}),
    ]
    assert source.complete
    assert source.problems == []
    assert source.own_ids
    assert source.name == "m.csv"


def test_cells_that_are_numbers_only_if_they_can_be_nothing_else() -> None:
    texts = ["", "01", "1e5", "1,5", "+1", ".5", "5.", "NaN", "yes", " 1", "1234567890123456789012"]
    cells = ["0", "-7", "123456789012345678", "1.5", "-0.25", "True", "false", *texts]
    expected = [0, -7, 123456789012345678, 1.5, -0.25, True, False, *texts]
    assert [tables.guess(cell) for cell in cells] == expected
    assert [type(tables.guess(cell)) for cell in cells] == [type(value) for value in expected]


def test_one_caption_in_each_row(tmp_path: Path) -> None:
    source = csv(tmp_path, "image|caption\na.jpg|one\na.jpg|two\nb.jpg|three\na.jpg|four\na.jpg|\n", "captions.txt")
    assert [(a.id, a.group, a.text) for a in source.scan()] == [
        ("a.jpg", "a.jpg", None),
        ("a.jpg#caption-0", "a.jpg", "one"),
        ("a.jpg#caption-1", "a.jpg", "two"),
        ("b.jpg", "b.jpg", None),
        ("b.jpg#caption-0", "b.jpg", "three"),
        ("a.jpg#caption-2", "a.jpg", "four"),
    ]
    assert problems(source) == [("captions.txt:6", "duplicate_id")]


def test_a_product_has_photos_a_title_and_a_description(tmp_path: Path) -> None:
    row = {"sku": "A", "images": ["a.jpg", "b.jpg"], "title": "Red shoe", "description": ["Light.", "Cool."], "price": 9}
    meta = {"title": "Red shoe", "price": 9}
    assert brief(jsonl(tmp_path, row, {"sku": "B", "image": "c.jpg", "title": "Same", "description": "Same"})) == [
        ("A#photo-1", IMAGE, "a.jpg", "A", None, meta),
        ("A#photo-2", IMAGE, "b.jpg", "A", None, meta),
        ("A#title", TEXT, "m.jsonl", "A", "Red shoe", meta),
        ("A#description-1", TEXT, "m.jsonl", "A", "Light.", meta),
        ("A#description-2", TEXT, "m.jsonl", "A", "Cool.", meta),
        ("B", IMAGE, "c.jpg", "B", None, {"title": "Same"}),
        ("B#title", TEXT, "m.jsonl", "B", "Same", {"title": "Same"}),
    ]


def test_several_in_one_row(tmp_path: Path) -> None:
    source = jsonl(
        tmp_path,
        {"id": "A", "images": ["a.jpg", "b.jpg", "a.jpg"], "captions": ["one", " ", "two", "one"], "group": "g"},
        {"id": "B", "captions": ["three", "four"]},
        {"id": 7, "text": "five"},
    )
    assert [(a.id, a.kind, a.group, a.text or a.path) for a in source.scan()] == [
        ("A#photo-1", IMAGE, "g", "a.jpg"),
        ("A#photo-2", IMAGE, "g", "b.jpg"),
        ("A#caption-0", TEXT, "g", "one"),
        ("A#caption-1", TEXT, "g", "two"),
        ("B#0", TEXT, "B", "three"),
        ("B#1", TEXT, "B", "four"),
        ("7", TEXT, None, "five"),
    ]
    listed = csv(tmp_path, 'images,captions\n"[""a.jpg"", ""b.jpg""]","[""x"", ""y""]"\n[c].jpg,[no list\n')
    assert [asset.text or asset.path for asset in listed.scan()] == ["a.jpg", "b.jpg", "x", "y", "[c].jpg", "[no list"]


def test_meta_keeps_the_types_of_jsonl(tmp_path: Path) -> None:
    source = csv(
        tmp_path,
        b'{"text": "x", "price": 40, "ok": true, "none": null, "a": {"b": [1, "2"]}, "nan": NaN, "bad": "\\ud800"}\n',
        "m.jsonl",
    )
    [asset] = source.scan()
    assert asset.meta == {"price": 40, "ok": True, "a": {"b": [1, "2"]}, "nan": None, "bad": "?"}
    assert asset.meta is not None
    json.dumps(asset.meta, allow_nan=False).encode()


def test_meta_of_parquet_becomes_json(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    columns = {
        "text": ["x", "y"],
        "when": [dt.datetime(2023, 5, 1, 10), None],
        "day": [dt.date(2023, 5, 1), None],
        "price": [Decimal("1.25"), None],
        "raw": [b"\xff", None],
        "tags": [["a", "b"], []],
        "nested": [{"a": 1}, {"a": None}],
    }
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    first, second = Manifest(tmp_path / "m.parquet").scan()
    assert first.meta == {
        "when": "2023-05-01T10:00:00",
        "day": "2023-05-01",
        "price": 1.25,
        "raw": "/w==",
        "tags": ["a", "b"],
        "nested": {"a": 1},
    }
    assert second.meta == {"tags": [], "nested": {"a": None}}


def test_columns_by_default_and_by_name(tmp_path: Path) -> None:
    text = "Filename,Caption,alt,SKU,group\na.jpg,one,two,A,g\n"
    assert brief(csv(tmp_path, text)) == [
        ("A", IMAGE, "a.jpg", "g", None, {"alt": "two"}),
        ("A#caption-0", TEXT, "m.csv", "g", "one", {"alt": "two"}),
    ]
    source = csv(tmp_path, text, image="Filename", text=["alt", "Caption"], id="Caption", group="SKU")
    assert brief(source) == [
        ("one", IMAGE, "a.jpg", "A", None, {"group": "g"}),
        ("one#alt", TEXT, "m.csv", "A", "two", {"group": "g"}),
        ("one#caption-0", TEXT, "m.csv", "A", "one", {"group": "g"}),
    ]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n", {}, "no column is known"),
        ("image,b\n1,2\n", {"text": "nope"}, "no column 'nope'"),
        ("image,image\n1,2\n", {}, "twice"),
        ("", {}, "no header"),
        ('"image\n', {}, "header line cannot be read|no column is known"),
    ],
)
def test_a_header_that_is_no_use(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        list(csv(tmp_path, text, **options).scan())


def test_files_that_are_no_use(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        list(Manifest(tmp_path / "nowhere.csv").scan())
    with pytest.raises(SourceError, match="format") as caught:
        Manifest(tmp_path / "m.xlsx")
    assert caught.value.hint == "formats: csv, jsonl, parquet"
    with pytest.raises(SourceError, match="not below"):
        Manifest(tmp_path / "m.csv", root=tmp_path / "sub")
    pytest.importorskip("pyarrow")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match="not a Parquet file"):
        list(Manifest(tmp_path / "m.parquet").scan())


def test_parquet_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "m.parquet").touch()
    with pytest.raises(MissingExtra) as caught:
        list(Manifest(tmp_path / "m.parquet").scan())
    assert caught.value.hint == "pip install 'mmsearch[parquet]'"


class TestBroken:
    def test_lines_of_csv(self, tmp_path: Path) -> None:
        source = csv(tmp_path, 'id,text\nA,one\nB,two,extra\n\nA,again\nC\nD,"two\nlines"\nE,five\nF,"never closed\nG,six\n')
        assert [(a.id, a.text) for a in source.scan()] == [("A", "one"), ("D", "two\nlines"), ("E", "five")]
        assert problems(source) == [
            ("m.csv:3", "bad_line"),
            ("m.csv:5", "duplicate_id"),
            ("m.csv:6", "no_content"),
            ("m.csv:10", "bad_line"),
        ]
        assert not source.complete

    def test_lines_of_jsonl(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tables, "MAX_LINE_BYTES", 5_000)
        lines = [b'\xef\xbb\xbf{"text": "one"}', b"{", b"[1]", b"", b"[" * 4_000]
        lines += [b'{"text": "' + b"x" * 12_000 + b'"}', b'{"text": "two"}']
        source = csv(tmp_path, b"\n".join(lines), "m.jsonl")
        assert [asset.text for asset in source.scan()] == ["one", "two"]
        assert problems(source) == [(f"m.jsonl:{line}", "bad_line") for line in (2, 3, 5, 6)]
        assert not source.complete

    def test_values(self, tmp_path: Path) -> None:
        rows = [{"text": {"a": 1}}, {"image": 1.5}, {"text": ["a", 3]}, {"id": ["x"], "text": "a"}, {"text": "fine"}, {}]
        source = jsonl(tmp_path, *rows)
        assert [asset.text or asset.path for asset in source.scan()] == ["1.5", "fine"]
        assert problems(source) == [*((f"m.jsonl:{line}", "bad_line") for line in (1, 3, 4)), ("m.jsonl:6", "no_content")]

    @pytest.mark.parametrize("name", ["../out.jpg", "/etc/passwd", "https://x.org/a.jpg", "a\x00.jpg", "\ud800.jpg", "."])
    def test_images_elsewhere(self, tmp_path: Path, name: str) -> None:
        source = jsonl(tmp_path, {"image": name}, {"image": "a.jpg"})
        assert [asset.path for asset in source.scan()] == ["a.jpg"]
        assert problems(source) == [("m.jsonl:1", "bad_image"), ("m.jsonl:1", "no_content")]

    def test_a_huge_field(self, tmp_path: Path) -> None:
        big = "x" * 300_000
        source = csv(tmp_path, f'id,text\nA,"{big}"\nB,y\n')
        assert [asset.text for asset in source.scan()] == [big, "y"]

    def test_nothing_of_use(self, tmp_path: Path) -> None:
        source = csv(tmp_path, "id,text\n")
        assert list(source.scan()) == []
        assert not source.complete
        assert problems(source) == [("m.csv", "empty")]

    def test_problems_do_not_grow_without_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(records, "MAX_PROBLEMS", 3)
        source = csv(tmp_path, "id,text\n" + "A,x\n" * 10)
        assert len(list(source.scan())) == 1
        assert [problem.detail for problem in source.problems][-1] == "and 6 more problems"
        assert len(source.problems) == 4


def test_an_image_that_is_not_there_is_still_named(tmp_path: Path) -> None:
    source = csv(tmp_path, "id,image\nA,gone.jpg\n")
    [asset] = source.scan()
    assert asset == Asset("A", IMAGE, "gone.jpg", -1, -1, "A", None, {})
    assert source.complete
    with pytest.raises(InputError) as caught:
        source.read(asset)
    assert caught.value.reason == "vanished"


def test_a_root_above_the_manifest(tmp_path: Path) -> None:
    images(tmp_path, "photos/a.jpg")
    (tmp_path / "lists").mkdir()
    source = csv(tmp_path, "image,text\n../photos/a.jpg,x\n", "lists/m.csv", root=tmp_path)
    image, text = source.scan()
    assert (image.id, image.path, text.path) == ("photos/a.jpg", "photos/a.jpg", "lists/m.csv")
    assert source.read(image) == b"photos/a.jpg"
    absolute = csv(tmp_path, f"image\n{tmp_path}/photos/a.jpg\n")
    assert [asset.path for asset in absolute.scan()] == ["photos/a.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    source = csv(tmp_path, "id;text;preis größe\r\n1;café\u201d;ü\r\n".encode(encoding))
    [asset] = source.scan()
    assert (asset.id, asset.text, asset.meta) == ("1", "café\u201d", {"preis größe": "ü"})


def test_names_of_images_may_be_any_bytes(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb") as stream:
        stream.write(b"here")
    source = csv(tmp_path, b"image,text\ncaf\xe9.jpg,caf\xe9\n")
    image, text = source.scan()
    assert source.read(image) == b"here"
    assert text.text == "café"
    assert image.id.startswith("caf\\xe9.jpg#")
    assert text.id == f"{image.id}#caption-0"


def test_a_changed_text_shows_and_another_row_does_not(tmp_path: Path) -> None:
    before = {a.id: a for a in csv(tmp_path, "id,text,price\nA,red dress,1\nB,blue dress,1\nC,green,1\n").scan()}
    after = {a.id: a for a in csv(tmp_path, "id,text,price\nZ,new,1\nA,rad dress,1\nB,blue dress,2\nC,green,1\n").scan()}
    assert (before["A"].size, before["A"].mtime_ns) != (after["A"].size, after["A"].mtime_ns)
    assert (before["B"].size, before["B"].mtime_ns) == (after["B"].size, after["B"].mtime_ns)
    assert before["B"].meta != after["B"].meta
    assert before["C"] == after["C"]
    assert records.digest63(b"green") == before["C"].mtime_ns == 2_771_740_682_484_068_724


def test_texts_without_ids_keep_theirs_when_rows_move(tmp_path: Path) -> None:
    before = {a.text: a.id for a in csv(tmp_path, "text\none\ntwo\n").scan()}
    source = csv(tmp_path, "text\nzero\ntwo\none\ntwo\n")
    after = {a.text: a.id for a in source.scan()}
    assert before.items() <= after.items()
    assert problems(source) == [("m.csv:5", "duplicate_id")]


def test_streams(tmp_path: Path) -> None:
    source = csv(tmp_path, "text\n" + "".join(f"number {n}\n" for n in range(1_000)) + '"broken')
    scan = source.scan()
    assert next(scan).text == "number 0"
    assert source.problems == []
    assert sum(1 for _ in scan) == 999
    assert problems(source) == [("m.csv:1002", "bad_line")]


def test_pickles_after_a_scan(tmp_path: Path) -> None:
    source = csv(tmp_path, "text\none\nbroken,line\n")
    before = list(source.scan())
    copy = pickle.loads(pickle.dumps(source))
    assert list(copy.scan()) == before
    assert copy.problems == source.problems
