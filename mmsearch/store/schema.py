"""The catalogue's tables, for building statements. How they come to be, and change, is in ``migrations.py``.

Text that UTF-8 cannot hold (a file name of arbitrary bytes becomes a ``str`` with lone surrogates) is kept as a BLOB,
see :mod:`.strings`: a TEXT and a BLOB are never equal in SQLite, so ids stay unique and are found by an index either
way.
"""

from __future__ import annotations

from sqlalchemy import BLOB, INTEGER, TEXT, Column, MetaData, Table, UniqueConstraint

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", TEXT, primary_key=True),
    Column("value", TEXT, nullable=False),
)
"""Small named values: ``format_version dim dtype model fingerprint created mmsearch_version``, the counters
``next_vid`` and ``generation`` (one more with every commit), ``items_changed`` and ``items_removed`` (see ``tracking.py``), and
those of :meth:`Writer.set_meta` under ``user:<key>``.
"""

segment = Table(
    "segment",
    metadata,
    Column("id", INTEGER, primary_key=True),
    Column("base_vid", INTEGER, nullable=False),
    Column("nrows", INTEGER, nullable=False),
    Column("has_ids", INTEGER, nullable=False),
    Column("sealed", INTEGER, nullable=False),
    Column("ids_crc32", INTEGER),
    sqlite_autoincrement=True,
)
"""The vector files. Row ``i`` is vid ``base_vid + i``, or the ``i``-th of the ``.ids`` file (ascending). The ranges
of vids of two segments never overlap, an id is never given twice, and only ``nrows`` rows of the file exist, whatever
its size.
"""

batch = Table(
    "batch",
    metadata,
    Column("segment", INTEGER, primary_key=True),
    Column("start", INTEGER, primary_key=True),
    Column("n", INTEGER, nullable=False),
    Column("crc32", INTEGER, nullable=False),
)
"""Checksums: of rows ``start`` to ``start + n`` of a segment. They tile each segment from 0 to ``nrows``."""

item = Table(
    "item",
    metadata,
    Column("vid", INTEGER, primary_key=True),
    Column("id", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("root", TEXT),
    Column("path", BLOB),
    Column("size", INTEGER),
    Column("mtime_ns", INTEGER),
    Column("digest", BLOB),
    Column("group", TEXT),
    Column("width", INTEGER),
    Column("height", INTEGER),
    Column("taken", INTEGER),
    Column("text", TEXT),
    Column("meta", TEXT, nullable=False),
    UniqueConstraint("id"),
)
"""The live items, and only these: a vid without a row here is dead."""

failure = Table(
    "failure",
    metadata,
    Column("root", TEXT, primary_key=True),
    Column("path", BLOB, primary_key=True),
    Column("reason", TEXT, nullable=False),
    Column("detail", TEXT, nullable=False),
    Column("size", INTEGER, nullable=False),
    Column("mtime_ns", INTEGER, nullable=False),
    Column("tries", INTEGER, nullable=False),
)

index = Table(
    "index",
    metadata,
    Column("kind", TEXT, primary_key=True),
    Column("file", TEXT, nullable=False),
    Column("bytes", INTEGER, nullable=False),
    Column("crc32", INTEGER, nullable=False),
    Column("upto_vid", INTEGER, nullable=False),
    Column("recipe", TEXT, nullable=False),
    Column("faiss_version", TEXT, nullable=False),
)
"""Derived search structures, one for each kind; vids below ``upto_vid`` are in it."""

root = Table(
    "root",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("path", BLOB, nullable=False),
)

migration = Table(
    "migration",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("applied", TEXT, nullable=False),
)
