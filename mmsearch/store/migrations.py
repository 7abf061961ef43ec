"""How the catalogue came to its present shape: named steps, each run once and in a transaction of its own.

The format version is the number of steps. A released step is never edited: a change of the format is a new step at
the end, ``schema.py`` changed along, and a golden collection of the version before in ``data/golden``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mmsearch.errors import FormatTooNew
from mmsearch.store.sqlite import AnyConnection, raw
from mmsearch.store.words import CREATE_WORDS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: ``run`` changes tables and data by the connection, inside a transaction that is open."""

    name: str
    run: Callable[[Connection], None]


# The SQL of a step is frozen text, not schema.py's tables: those will have moved on when an old collection takes the
# step.
_FIRST = (
    "CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE migration (name TEXT NOT NULL PRIMARY KEY, applied TEXT NOT NULL)",
    """CREATE TABLE segment (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, base_vid INTEGER NOT NULL, nrows INTEGER NOT NULL,
        has_ids INTEGER NOT NULL, sealed INTEGER NOT NULL, ids_crc32 INTEGER)""",
    """CREATE TABLE batch (
        segment INTEGER NOT NULL, start INTEGER NOT NULL, n INTEGER NOT NULL, crc32 INTEGER NOT NULL,
        PRIMARY KEY (segment, start)) WITHOUT ROWID""",
    """CREATE TABLE item (
        vid INTEGER NOT NULL PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, root TEXT, path BLOB, size
        INTEGER, mtime_ns INTEGER, digest BLOB, "group" TEXT, width INTEGER, height INTEGER, taken INTEGER, text TEXT,
        meta TEXT NOT NULL)""",
    "CREATE INDEX item_kind ON item (kind)",
    "CREATE INDEX item_path ON item (root, path) WHERE path IS NOT NULL",
    # Digests are random, so each batch changes most pages of this index: eight bytes of them are enough, and
    # adding 400k items writes 0.9 GB instead of 1.4.
    "CREATE INDEX item_digest ON item (substr(digest, 1, 8)) WHERE digest IS NOT NULL",
    """CREATE TABLE failure (
        root TEXT NOT NULL, path BLOB NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL, tries INTEGER NOT NULL, PRIMARY KEY (root, path)) WITHOUT ROWID""",
    """CREATE TABLE "index" (
        kind TEXT NOT NULL PRIMARY KEY, file TEXT NOT NULL, bytes INTEGER NOT NULL, crc32 INTEGER NOT NULL,
        upto_vid INTEGER NOT NULL, recipe TEXT NOT NULL, faiss_version TEXT NOT NULL)""",
    "CREATE TABLE root (name TEXT NOT NULL PRIMARY KEY, path BLOB NOT NULL)",
    CREATE_WORDS,
    "INSERT INTO meta VALUES ('next_vid', '0'), ('generation', '0')",
)


def _first(connection: Connection) -> None:
    for statement in _FIRST:
        connection.exec_driver_sql(statement)


MIGRATIONS: tuple[Migration, ...] = (Migration("0001-first", _first),)
FORMAT_VERSION = len(MIGRATIONS)


def applied(connection: AnyConnection) -> set[str]:
    """Names of the steps that this catalogue has taken; none for an empty file."""
    database = raw(connection)
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'migration'").fetchone() is None:
        return set()
    return {name for (name,) in database.execute("SELECT name FROM migration")}


def pending(connection: AnyConnection, migrations: Sequence[Migration] = MIGRATIONS) -> list[Migration]:
    """The steps still to take, in order. Raises :class:`FormatTooNew` if the catalogue took one that is not known here."""
    done = set(map(str, applied(connection)))
    unknown = sorted(done - {step.name for step in migrations})
    if unknown:
        raise FormatTooNew(
            f"the collection has format version {len(done)} ({', '.join(unknown)}), this mmsearch knows up to {len(migrations)}",
            hint="update mmsearch: pip install -U mmsearch",
        )
    return [step for step in migrations if step.name not in done]


def migrate(engine: Engine, migrations: Sequence[Migration] = MIGRATIONS) -> list[str]:
    """Takes the pending steps, each in one transaction; returns their names. The caller holds the lock.

    A step that fails leaves the catalogue as the step before it made it.
    """
    with engine.connect() as connection:
        steps = pending(connection, migrations)
    known = [step.name for step in migrations]
    for step in steps:
        with engine.begin() as connection:
            step.run(connection)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            database = raw(connection)
            database.execute("INSERT INTO migration (name, applied) VALUES (?, ?)", (step.name, now))
            version = ("format_version", str(known.index(step.name) + 1))
            database.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", version)
    return [step.name for step in steps]
