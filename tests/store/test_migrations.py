"""Formats: how one becomes the next, and what happens when that fails or comes too early."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, select

import mmsearch.store.store as store_module
from mmsearch.errors import FormatTooNew, LockedError, StorageError
from mmsearch.store import Store, migrations, schema
from mmsearch.store.catalog import make_engine
from mmsearch.store.migrations import MIGRATIONS, Migration, applied, migrate, pending
from tests.store.model import DIM, SmallStore, clean, photo


def _colour(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE item ADD COLUMN colour TEXT")
    connection.exec_driver_sql("UPDATE item SET colour = 'red'")


def _broken(connection: Connection) -> None:
    connection.exec_driver_sql("UPDATE item SET colour = 'blue'")
    connection.exec_driver_sql("DROP TABLE failure")
    raise ZeroDivisionError


SECOND = Migration("0002-colour", _colour)
THIRD = Migration("0003-broken", _broken)


def query(store: Store, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(store.path / "catalog.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_the_tables_are_those_of_the_migrations(store: Store) -> None:
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(store.path / "catalog.db"))
    found = inspect(engine)
    tables = {name for name in found.get_table_names() if not name.startswith(("words", "sqlite"))}
    assert tables == set(schema.metadata.tables)
    for name, table in schema.metadata.tables.items():
        columns = {(one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns(name)}
        assert columns == {(one.name, str(one.type), one.nullable) for one in table.columns}, name
        assert found.get_pk_constraint(name)["constrained_columns"] == [one.name for one in table.primary_key]
    engine.dispose()


def test_each_step_is_taken_once(store: Store, put: object) -> None:
    put([photo("a.jpg")])  # type: ignore[operator]
    engine = make_engine(store.path / "catalog.db")
    assert migrate(engine) == []
    assert migrate(engine, [*MIGRATIONS, SECOND]) == ["0002-colour"]
    assert migrate(engine, [*MIGRATIONS, SECOND]) == []
    with engine.connect() as connection:
        assert applied(connection) == {"0001-first", "0002-colour"}
        assert connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "format_version")) == "2"
        assert connection.exec_driver_sql("SELECT id, colour FROM item").all() == [("a.jpg", "red")]
    engine.dispose()


def test_a_step_that_fails_leaves_the_one_before(store: Store, put: object) -> None:
    put([photo("a.jpg")])  # type: ignore[operator]
    engine = make_engine(store.path / "catalog.db")
    with pytest.raises(ZeroDivisionError):
        migrate(engine, [*MIGRATIONS, SECOND, THIRD])
    engine.dispose()
    assert query(store, "SELECT colour FROM item") == [("red",)]
    assert query(store, "SELECT count(*) FROM failure") == [(0,)]
    assert query(store, "SELECT value FROM meta WHERE key = 'format_version'") == [("2",)]
    assert query(store, "SELECT name FROM migration ORDER BY name") == [("0001-first",), ("0002-colour",)]


def test_a_newer_format_is_refused_with_what_to_do(store: Store) -> None:
    engine = make_engine(store.path / "catalog.db")
    migrate(engine, [*MIGRATIONS, SECOND])
    engine.dispose()
    with pytest.raises(FormatTooNew, match=r"format version 2 \(0002-colour\), this mmsearch knows up to 1") as caught:
        Store.open(store.path)
    assert caught.value.hint is not None
    assert "update mmsearch" in caught.value.hint


@pytest.fixture
def newer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later mmsearch, which knows a second step; the store is older."""
    steps = [*MIGRATIONS, SECOND]
    monkeypatch.setattr(store_module, "pending", partial(pending, migrations=steps))
    monkeypatch.setattr(store_module, "migrate", partial(migrate, migrations=steps))


@pytest.mark.usefixtures("newer")
def test_opening_an_older_format_migrates_it(store: Store) -> None:
    with Store.open(store.path) as opened:
        assert opened.info.format_version == 2
        clean(opened)
    with store.writer(), Store.open(store.path) as opened:  # needs no lock any more
        assert opened.info.format_version == 2


@pytest.mark.usefixtures("newer")
def test_an_older_format_waits_for_its_writer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MIGRATION_WAIT", 0.0)
    with store.writer(), pytest.raises(LockedError):
        Store.open(store.path)


@pytest.mark.usefixtures("newer")
def test_an_older_format_on_read_only_media(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "writable", lambda folder: False)
    with pytest.raises(StorageError, match="has format version 1") as caught:
        Store.open(store.path)
    assert caught.value.hint == "open it once where it can be written"


def test_a_new_collection_has_the_newest_format(tmp_path: Path) -> None:
    with SmallStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f") as store:
        assert store.info.format_version == migrations.FORMAT_VERSION == len(MIGRATIONS)
        assert [name for (name,) in query(store, "SELECT name FROM migration")] == [one.name for one in MIGRATIONS]
        assert query(store, "PRAGMA journal_mode") == [("wal",)]
