"""What the fuzzing has found, each as the smallest input that shows it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmsearch import settings
from mmsearch.encoders._batches import Batches
from mmsearch.encoders._identity import Preprocessing, dimension
from mmsearch.encoders._tokenize import ClipTokenizer, tokenizer_for
from mmsearch.errors import (
    CollectionCorrupt,
    FilterError,
    ImageError,
    ModelCorrupt,
    ModelError,
    SourceError,
    StorageError,
    UsageError,
)
from mmsearch.images import open_image
from mmsearch.images.exif import read_exif
from mmsearch.models import canonical
from mmsearch.sources import CocoCaptions, Folder, Manifest
from mmsearch.store import Change, IndexInfo, Store
from mmsearch.store.filters import filter_sql
from tests.fuzz import pictures
from tests.images.image_samples import ascii_entry, long_entry, rational_entry, tiff_block
from tests.store.model import DIM, MEMORY, caption, photo, vectors

# --- images -----------------------------------------------------------------------------------------------------------


def test_entries_that_claim_the_same_numbers_again_and_again() -> None:
    block = pictures.exif_bomb(2000)  # with all of its 65,535 entries it took 11 GB and 40 s
    tracemalloc.start()
    assert dict(read_exif(block).fields) == {}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6


@pytest.mark.parametrize("entry", [ascii_entry(0xFE, b"ab"), rational_entry(0xFE, (1, 1))])
def test_a_tag_of_another_type_than_it_should_have(entry: Any) -> None:
    with pytest.raises(ImageError):  # was a ValueError, a TypeError
        open_image(tiff_block([long_entry(0x14A, 8), entry]))


# --- sources, settings, filters ---------------------------------------------------------------------------------------


def test_a_range_that_runs_backward_in_an_ignore_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / ".mmsearchignore").write_text("[z-a].jpg\n")  # was a re.error, and ended the run
    source = Folder(tmp_path)
    assert [asset.id for asset in source.scan()] == ["a.jpg"]
    assert [one.reason for one in source.problems] == ["bad_pattern"]
    with pytest.raises(UsageError):
        Folder(tmp_path, exclude=["[z-a]"])


def test_names_of_columns_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"text": "x", "a\\ud800": 1}\n')
    (tmp_path / "c.json").write_text('{"images": [{"file_name": "a.jpg", "b\\ud800": 1}], "annotations": []}')
    for source in (Manifest(tmp_path / "m.jsonl"), CocoCaptions(tmp_path / "c.json")):
        for asset in source.scan():
            str(asset.meta).encode()  # the catalogue and every reader of JSON want UTF-8


def test_a_cell_of_four_hundred_digits(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("text,price\nx," + "9" * 400 + ".5\n")
    (asset,) = Manifest(tmp_path / "m.csv").scan()
    assert asset.meta == {"price": "9" * 400 + ".5"}  # was infinity, which no JSON can say and the catalogue refused


def test_a_text_in_parquet_that_is_not_utf8(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = pa.array([b"good", b"\xff\xfe"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    pq.write_table(pa.table({"text": text}), tmp_path / "m.parquet")
    with pytest.raises(SourceError, match="broken after row"):  # was a UnicodeDecodeError
        list(Manifest(tmp_path / "m.parquet").scan())
    whole = (tmp_path / "m.parquet").read_bytes()
    (tmp_path / "m.parquet").write_bytes(whole.replace(b"text", b"te\xfft"))
    with pytest.raises(SourceError, match="not a Parquet file"):
        list(Manifest(tmp_path / "m.parquet").scan())


def test_a_line_break_in_the_name_of_a_column(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('"a\nb","c\nd"\n1,2\n')
    with pytest.raises(Exception, match="no column is known") as caught:
        list(Manifest(tmp_path / "m.csv").scan())
    assert len(f"{caught.value}\n{caught.value.hint}".splitlines()) == 2  # type: ignore[attr-defined]


def test_the_home_of_somebody_who_does_not_exist(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('model_dir = "~nobody-of-this-name/models"\n')  # was a RuntimeError
    assert settings.load(environ={}, file=file).model_dir == str(tmp_path / "~nobody-of-this-name/models")
    file.write_text('model = "a\\u0000b"\n')
    with pytest.raises(UsageError, match="NUL"):
        settings.load(environ={}, file=file)


def test_a_name_that_no_file_can_have() -> None:
    from mmsearch.cli._app import program

    with pytest.raises(Exception, match="no model is called"):  # was "File name too long"
        canonical("x" * 5000)
    assert not Store.exists(Path("x" * 5000))
    result = CliRunner().invoke(program, ["-c", "x" * 5000, "status"], standalone_mode=False)
    assert type(result.exception).__name__ == "CollectionNotFound"


def test_a_pattern_longer_than_sqlite_takes() -> None:
    filter_sql("text like :p", {"p": "%" * 50_000})
    with pytest.raises(FilterError, match="50,001"):  # was sqlite3.OperationalError
        filter_sql("text like :p", {"p": "%" * 50_001})


def test_a_field_whose_name_is_not_utf8(place: Path) -> None:
    with Store.open(place) as store:
        with store.writer() as writer:
            writer.commit(Change([caption("c", "words", meta={"odd\udcffkey": 7})], vectors(["c"])))
        with store.snapshot() as snapshot:  # was a UnicodeEncodeError; a terminal hands on such bytes
            assert len(snapshot.select('"odd\udcffkey" = 7')) == 1
            assert len(snapshot.select('"other\udcff" = 7')) == 0


# --- collections ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where the system has such, where a sync costs nothing."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-") as folder:
        yield Path(folder)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A collection of two items, closed."""
    with Store.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f") as store, store.writer() as writer:
        writer.add_root("photos", "/pictures")
        writer.commit(Change([photo("a.jpg"), caption("b", "words", meta={"price": 1})], vectors(["a.jpg", "b"])))
        writer.set_meta("key", "value")
    return tmp_path / "c"


WORDS = "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'porter', ?) WHERE name = 'words'"
DAMAGE = {
    "text that is not UTF-8": "UPDATE item SET id = CAST(x'ff41' AS TEXT) WHERE vid = 0",
    "an unknown kind": "UPDATE item SET kind = 'imbge' WHERE vid = 0",
    "meta that is no JSON": "UPDATE item SET meta = '{\"price\"' WHERE vid = 1",
    "meta that is no object": "UPDATE item SET meta = '[1]' WHERE vid = 1",
    "no id": "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'id TEXT NOT NULL', 'id TEXT') "
             "WHERE name = 'item'; PRAGMA writable_schema = RESET; UPDATE item SET id = NULL WHERE vid = 0",
    "words of a tokenizer that there is not": WORDS.replace("?", "'porker'"),
    "words of a tokenizer that is no text": WORDS.replace("?", "CAST(x'70f372' AS TEXT)"),
    "a column of another name": "ALTER TABLE item RENAME COLUMN taken TO tbken",
    "a segment of minus one row": "UPDATE segment SET nrows = -1",
    "a segment of some rows": "UPDATE segment SET nrows = 'some'",
    "a checksum that is none": "UPDATE batch SET crc32 = 'abc'",
    "a generation that is none": "UPDATE meta SET value = 'x' WHERE key = 'generation'",
    "no dimension": "UPDATE meta SET value = '0' WHERE key = 'dim'",
    "less than no dimension": "UPDATE meta SET value = '-8' WHERE key = 'dim'",
    "other numbers": "UPDATE meta SET value = 'float64' WHERE key = 'dtype'",
    "a root without a path": "UPDATE root SET path = 7",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_catalogue_that_holds_nonsense_is_named_and_never_raises_what_nobody_expects(place: Path, name: str) -> None:
    database = sqlite3.connect(place / "catalog.db")
    database.executescript(DAMAGE[name])
    database.close()
    raised: list[Exception] = []
    try:
        with Store.open(place) as store:
            levels = {one.level for one in store.verify()}
            assert "error" in levels, "verify found nothing"
            raised += list(_use(store))
    except CollectionCorrupt as error:
        raised.append(error)
    assert raised or "checksum" in name, "it was read as if nothing were wrong"
    assert {type(error) for error in raised} <= {CollectionCorrupt}
    assert all(len(f"{error}\n{error.hint}".splitlines()) <= 3 for error in raised)  # type: ignore[attr-defined]


FOREIGN = (sqlite3.Error, UnicodeDecodeError)


def _use(store: Store) -> list[Exception]:
    raised: list[Exception] = []
    try:
        with store.snapshot() as snapshot:
            asks = (
                lambda: snapshot.records([0, 1]), lambda: list(snapshot.stats("photos")), snapshot.fields, snapshot.roots,
                lambda: snapshot.select("price = 1 and taken is null"), lambda: snapshot.fetch([0, 1]),
                lambda: snapshot.meta("key"), lambda: snapshot.by_id(["a.jpg"]),
                lambda: snapshot.search_text("words", 5),
            )  # fmt: skip
            for ask in asks:
                try:
                    ask()
                except Exception as error:  # noqa: BLE001 -- which it is, is what is tested
                    raised.append(error)
            if foreign := [error for error in raised if isinstance(error, FOREIGN)]:  # turned into ours where the snapshot ends
                raise foreign[0]
    except CollectionCorrupt as error:
        return [*(one for one in raised if not isinstance(one, FOREIGN)), error]
    return raised


def test_the_file_of_an_index_lies_in_its_folder(place: Path) -> None:
    """A prepared catalogue may name any file: it is neither read nor, when the next index comes, removed."""
    precious = place.parent / "precious"
    precious.write_text("mine")
    with Store.open(place) as store, store.writer() as writer:
        for name in ("../../precious", str(precious), "..", ""):
            writer.put_index(IndexInfo("image", "", 0, 0, 2, "Flat", "1"), lambda path: path.write_bytes(b"x") and None)
            database = sqlite3.connect(place / "catalog.db")
            with database:
                database.execute('UPDATE "index" SET file = ?, bytes = 4', (name,))
            database.close()
            assert ("warning", "index") in [(one.level, one.what) for one in store.verify()]
            writer.drop_index("image")
            assert precious.read_text() == "mine"


@pytest.mark.parametrize("name", ["LOCK", "vectors/00000001.f16", "vectors/00000002.f16"])
def test_a_link_in_place_of_a_file_is_not_written_through(place: Path, name: str) -> None:
    precious = place.parent / "precious"
    precious.write_bytes(b"mine" * 100)
    (place / name).unlink(missing_ok=True)
    os.symlink(precious, place / name)
    if name.startswith("vectors/00000002"):
        database = sqlite3.connect(place / "catalog.db")
        with database:
            database.execute("UPDATE segment SET sealed = 1")
        database.close()
    with Store.open(place) as store, pytest.raises(StorageError), store.writer() as writer:
        writer.commit(Change([caption("c", "words")], vectors(["c"])))
    assert precious.read_bytes() == b"mine" * 100


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((1, 4), np.nan, np.float32), "not finite"),
        (np.zeros((1, 4), np.float32), "not unit vectors"),
        (np.full((1, 3), 3**-0.5, np.float32), "returned \\(1, 3\\) numbers"),
        (RuntimeError("index out of range\nin self"), "cannot encode this: index out of range$"),
    ],
    ids=["nan", "zeros", "shape", "raises"],
)
def test_what_a_damaged_model_returns_is_not_stored(rows: Any, message: str) -> None:
    def encode(_: Any) -> Any:
        if isinstance(rows, Exception):
            raise rows
        return rows

    with pytest.raises(ModelError, match=message):
        Batches(1, is_full=lambda error: False).run(["a"], 4, encode)


@pytest.mark.parametrize("value", [None, 0, -1, True, "512", 1.5, 2**70])
def test_a_length_that_no_row_has(value: object) -> None:
    with pytest.raises(ModelCorrupt, match="length"):
        dimension(value)


@pytest.mark.parametrize("size", [0, -3, [3], 10**9, "big", {}])
def test_a_size_that_no_input_has(size: object) -> None:
    with pytest.raises(ModelCorrupt, match="cannot be used"):
        Preprocessing.of({"vision_cfg": {"image_size": size}}, {})


def test_a_tokenizer_out_of_nonsense(tmp_path: Path) -> None:
    for merges, length in ((-1, 24), (10**30, 24), (200, 1)):
        with pytest.raises(ModelCorrupt):
            ClipTokenizer(length, merges)
    for text in ([], {"context_length": "x"}, {"context_length": None}, {"tokenizer_kwargs": 3}):
        with pytest.raises(ModelCorrupt):
            tokenizer_for("local-dir:x", {"text_cfg": text}, folder=tmp_path)
    (tmp_path / "mini.json").write_text('{"bpe_merges": "many"}')
    with pytest.raises(ModelCorrupt):
        tokenizer_for("local-dir:x", {"text_cfg": {}}, folder=tmp_path)
