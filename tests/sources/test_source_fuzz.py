"""Files that anyone may have written: a scan ends, or raises SourceError, and whatever it yields can be stored."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmsearch.errors import SourceError
from mmsearch.protocols import Source
from mmsearch.sources import CocoCaptions, Folder, Manifest
from mmsearch.sources.captions import parse_sidecar
from mmsearch.types import Kind

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=6), st.just("a.jpg")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "a.jpg").touch()
        yield Path(name)


def check(source: Source) -> None:
    seen = set()
    try:
        for asset in source.scan():
            assert asset.id not in seen
            seen.add(asset.id)
            asset.id.encode()
            (asset.group or "").encode()
            os.fsencode(asset.path)
            assert abs(asset.size) < 2**63
            assert abs(asset.mtime_ns) < 2**63
            json.dumps(asset.meta, allow_nan=False, ensure_ascii=False).encode()
            assert (asset.text is None) == (asset.kind is Kind.IMAGE)
            assert asset.text is None or (asset.text.strip() and source.read(asset) == asset.text.encode())
    except SourceError:
        return


@some
@given(
    st.one_of(
        st.binary(max_size=80),
        st.text('ab1,;|\t"\n\r[]{}é', max_size=80).map(lambda text: f"id,image,text,x\n{text}".encode()),
        st.lists(st.lists(st.text(max_size=8), max_size=5), max_size=4).map(
            lambda rows: "\n".join(["text,id,group,x", *(",".join(row) for row in rows)]).encode("utf-8", "surrogatepass")
        ),
    )
)
@example(b"text\n\x00")
@example(b"text,x\n,\xff")
@example(b"\xff\xfet\x00e\x00x")
def test_csv(folder: Path, data: bytes) -> None:
    (folder / "m.csv").write_bytes(data)
    check(Manifest(folder / "m.csv"))


@some
@given(st.lists(st.one_of(values, st.dictionaries(st.sampled_from(["id", "image", "text", "group", "x"]), values)), max_size=4))
@example([{"text": "x", "group": "\ud800"}, {"text": "\ud800", "id": "\udfff"}])
@example([{"text": "x", "id": 1.5}, {"text": "y", "id": True}, {"images": ["a.jpg", None]}])
@example([{"image": "a.jpg", "id": "a", "text": "y"}, {"text": "x", "id": "a#caption-0"}])
@example([{"text": "x", "id": "a#caption-0"}, {"image": "a.jpg", "id": "a", "text": "y"}])
@example([{"text": ["x", "y"], "id": "a"}, {"text": "x", "id": "a#0"}, {"text": "x", "id": "a"}])
@example([{"image": "a.jpg"}, {"image": "a.jpg", "text": "x"}, {"image": "a.jpg", "text": "x"}])
def test_jsonl(folder: Path, rows: list[Any]) -> None:
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    check(Manifest(folder / "m.jsonl"))


@some
@given(
    st.fixed_dictionaries(
        {
            "images": st.lists(st.one_of(values, st.dictionaries(st.sampled_from(["id", "file_name", "x"]), values)), max_size=3),
            "annotations": st.lists(
                st.one_of(values, st.dictionaries(st.sampled_from(["image_id", "caption"]), values)), max_size=3
            ),
        }
    )
)
def test_coco(folder: Path, whole: Any) -> None:
    (folder / "c.json").write_text(json.dumps(whole))
    check(CocoCaptions(folder / "c.json"))


@some
@given(st.one_of(st.binary(max_size=60), values.map(lambda value: json.dumps(value).encode())))
def test_sidecars(folder: Path, data: bytes) -> None:
    try:
        captions, meta = parse_sidecar("a.json", data)
    except ValueError:
        captions, meta = parse_sidecar("a.txt", data)
    assert all(caption == caption.strip() != "" for caption in captions)
    json.dumps([captions, meta], allow_nan=False, ensure_ascii=False).encode()


@some
@given(data=st.binary(max_size=40))
@example(data=b"\xef\xbb\xbf*.png\r\n")
@example(data=b"[")
@example(data=b"***\n\\\n!\n")
def test_ignore_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / ".mmsearchignore").write_bytes(data)
    assert {asset.id for asset in Folder(tmp_path).scan()} <= {"a.jpg"}
