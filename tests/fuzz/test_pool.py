"""A folder of damaged pictures, bombs, pipes and links through the decode workers, as ``mmsearch index`` runs them."""

from __future__ import annotations

from pathlib import Path

import psutil

from mmsearch.collection import Collection
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.files import Reason
from mmsearch.ingest import IngestOptions
from mmsearch.sources import Folder
from mmsearch.types import ImageInfo
from tests.fuzz import pictures

COUNT = 150


def test_the_run_ends_and_each_failure_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    made = pictures.fill(folder, COUNT, seed=4)
    files = {path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    before = psutil.Process().memory_info().rss
    with Collection.open(tmp_path / "c", create=True, model=ToyEncoder(dim=32)) as collection:
        report = collection.sync(Folder(folder), options=IngestOptions(workers=2))
        failures = {one.path: one for one in collection.failures()}
        with collection._store.snapshot() as snapshot:
            items = {one.path: one for one in snapshot.records(snapshot.live().vids)}
        assert report.added == len(items)
        assert files <= items.keys() | failures.keys(), "a file is neither indexed nor named"
        assert not items.keys() & failures.keys()
        assert {one.reason for one in failures.values()} <= set(map(str, Reason))
        assert all(one.detail for one in failures.values())
        assert sum(path.startswith("good-") for path in items) == made["good"]
        assert failures["strange-fifo.jpg"].reason == "not_regular"
        assert "strange-folder.png" not in items.keys() | failures.keys()
        for name in ("huge.jpg", "huge.png", "huge.bmp", "huge.gif", "huge.webp", "huge.ppm"):
            assert failures[f"harmful-{name}"].reason == "too_large", name
        for name, size in (("bomb-9000x9000.png", (9000, 9000)), ("thin-1x60000.png", (1, 60_000)), ("frames-100k.gif", (1, 1))):
            assert (items[f"harmful-{name}"].width, items[f"harmful-{name}"].height) == size
        assert not [one for one in collection.verify() if one.level != "ok"]
        again = collection.sync(Folder(folder), options=IngestOptions(workers=2))
        assert (again.added, again.updated, again.removed) == (0, 0, 0)
    assert psutil.Process().memory_info().rss - before < 200 << 20, "the pictures were decoded in this process"


def test_what_is_known_of_harmful_files_is_little() -> None:
    """One in a hundred thousand entries counts: the block of EXIF that claims gigabytes is looked at, and not read."""
    from mmsearch.images import open_image

    info: ImageInfo
    _, info = open_image(pictures.harmful()["exif-100k-entries.jpg"])
    assert (info.width, info.height, dict(info.exif)) == (48, 32, {})
