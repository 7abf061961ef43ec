"""A collection that has everything the format can say, and ways to spoil an archive."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmsearch.backup import export
from mmsearch.backup.manifest import Manifest
from mmsearch.store import Store
from tests.store.model import MEMORY

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "v1" / "collection"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where the system has such: an fsync is free there."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-") as folder:
        yield Path(folder)


@pytest.fixture
def golden(tmp_path: Path) -> Iterator[Store]:
    """Compacted and open segments, dead rows, an update, names that are not UTF-8, texts, meta, failures, roots."""
    shutil.copytree(GOLDEN, tmp_path / "golden")
    with Store.open(tmp_path / "golden") as store:
        yield store


@pytest.fixture
def archive(golden: Store, tmp_path: Path) -> Path:
    """Its archive."""
    with golden.snapshot() as snapshot:
        export(snapshot, golden.info, tmp_path / "a.mmsearch")
    return tmp_path / "a.mmsearch"


def members(archive: Path) -> dict[str, bytes]:
    """What is in an archive, read by Python's own tar."""
    with tarfile.open(archive) as file:
        return {one.name: file.extractfile(one).read() for one in file}  # type: ignore[union-attr]


def pack(path: Path, content: dict[str, bytes], *, honest: bool = True) -> Path:
    """Writes an archive with Python's own tar; an honest one has a manifest that fits its members."""
    if honest:
        manifest: dict[str, Any] = json.loads(content["manifest.json"])
        for name, one in manifest["members"].items():
            one.update(sha256=hashlib.sha256(content[name]).hexdigest(), bytes=len(content[name]))
        content = {**content, "manifest.json": json.dumps(manifest).encode()}
    if "manifest.json" in content:
        content = {**content, "manifest.sha256": Manifest.checksum(content["manifest.json"])}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def edited(content: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """With other values in the manifest."""
    return {**content, "manifest.json": json.dumps({**json.loads(content["manifest.json"]), **changes}).encode()}
