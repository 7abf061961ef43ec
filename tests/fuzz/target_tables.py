"""Damaged manifests, caption files, lists and ignore files: a scan ends, or raises SourceError; what it yields can be stored."""

from __future__ import annotations

import io
import json
import os
import random
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from mmsearch.errors import SourceError
from mmsearch.protocols import Source
from mmsearch.sources import CocoCaptions, Folder, Manifest
from mmsearch.sources.captions import parse_sidecar
from mmsearch.types import Kind
from tests.fuzz.mutate import blind, refused

ROWS: list[dict[str, Any]] = [
    {"id": "sku-1", "image": "a.jpg", "text": "a red dress", "price": 40, "in_stock": True, "group": "g1"},
    {"id": "sku-2", "image": "b/b.jpg", "text": 'quoted "text", with comma', "price": 60.5, "in_stock": False, "group": "g1"},
    {"id": "sku-3", "image": "a.jpg", "text": "Größe 42\nline", "price": -1, "in_stock": True, "group": "é"},
]
CSV = (
    "id,image,text,price,in_stock,group\n"
    + "\n".join(",".join('"' + str(value).replace('"', '""') + '"' for value in row.values()) for row in ROWS)
).encode()
JSONL = "\n".join(json.dumps(row | {"meta": {"deep": [1, {"x": None}]}}) for row in ROWS).encode()
COCO = json.dumps(
    {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 4, "license": 1} for n in range(3)],
        "annotations": [{"image_id": n // 2, "id": n, "caption": f"caption {n}"} for n in range(6)],
    }
).encode()
SIDECAR = json.dumps({"captions": ["a cat", "ein Kätzchen"], "price": 40, "tags": ["x"]}).encode()
IGNORE = b"# comment\n*.png\n!keep.png\n/raw/\n**/tmp/*\n[a-c]?.jpg\n\\#odd\n"
SCRAPS = (b"\0", b'"', b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\r", b"NaN", b"1e999", b"\\ud800", b"[" * 40, b"../../etc/passwd",
          b"file:///x", b"\xed\xa0\x80", b"9" * 400, b"{}", b"null", b",,,,", b"\t", b"\x1b[2J", b"\xe2\x80\xae")  # fmt: skip


@cache
def parquet() -> bytes:
    """The rows as Parquet, dictionary-encoded text and a nested column included."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    table = pa.Table.from_pylist([row | {"nested": {"a": [1, 2]}} for row in ROWS] * 5)
    pq.write_table(table, out, compression="zstd", row_group_size=6)
    return out.getvalue()


def spoiled(data: bytes, rng: random.Random) -> bytes:
    """Blind damage, or something odd put in between."""
    if rng.random() < 0.5:
        return blind(data, rng)
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.choice(SCRAPS) + data[at + rng.choice((0, 0, 1, 5)) :]
    return data


def manifest(seed: int) -> str:
    """A damaged CSV, JSONL or Parquet manifest."""
    rng = random.Random(seed)
    ending = rng.choice(("csv", "csv", "jsonl", "jsonl", "parquet"))
    data = parquet() if ending == "parquet" else CSV if ending == "csv" else JSONL
    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        path = Path(name) / f"m.{ending}"
        path.write_bytes(blind(data, rng) if ending == "parquet" else spoiled(data, rng))
        return f"{ending} {scanned(Manifest(path))}"


def captions(seed: int) -> str:
    """A damaged COCO file, sidecar or ignore file."""
    rng = random.Random(seed)
    what = rng.choice(("coco", "sidecar", "ignore"))
    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        folder = Path(name)
        (folder / "a.jpg").touch()
        if what == "coco":
            (folder / "c.json").write_bytes(spoiled(COCO, rng))
            try:
                source: Source = CocoCaptions(folder / "c.json")
            except SourceError as error:
                return f"coco {refused(error)}"
            return f"coco {scanned(source)}"
        if what == "ignore":
            (folder / ".mmsearchignore").write_bytes(spoiled(IGNORE, rng))
            return f"ignore {scanned(Folder(folder))}"
        ending = rng.choice(("json", "txt"))
        data = spoiled(SIDECAR, rng)
        (folder / f"a.{ending}").write_bytes(data)
        with suppress(ValueError):
            parse_sidecar(f"a.{ending}", data)
        return f"sidecar {scanned(Folder(folder, captions='sidecar'))}"


def scanned(source: Source) -> str:
    """Asserts what the ingest takes for granted of assets and problems."""
    seen: set[str] = set()
    try:
        for asset in source.scan():
            assert asset.id not in seen
            seen.add(asset.id)
            asset.id.encode()
            (asset.group or "").encode()
            os.fsencode(asset.path)
            assert not os.path.isabs(asset.path)
            assert ".." not in asset.path.split("/")
            assert abs(asset.size) < 2**63
            assert abs(asset.mtime_ns) < 2**63
            json.dumps(asset.meta, allow_nan=False, ensure_ascii=False).encode()
            assert (asset.text is None) == (asset.kind is Kind.IMAGE)
    except SourceError as error:
        return refused(error)
    for problem in source.problems:
        assert problem.reason
        assert problem.detail
        os.fsencode(problem.path)
    return "read" if not source.problems else "read in part"


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
