"""Random and damaged filters and config files: a typed error, or an answer; and nothing of a filter becomes SQL."""

from __future__ import annotations

import random
import re
import sqlite3
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mmsearch import settings
from mmsearch.errors import FilterError, UsageError
from mmsearch.store.filters import filter_sql
from mmsearch.store.schema import item, metadata
from tests.fuzz.mutate import refused
from tests.fuzz.target_tables import spoiled

FILTERS = (
    'price < 50 and brand = "Acme"',
    "kind = 'image' and (width >= 640 or not height < 480)",
    "attributes.color in ('red', 'blue') and taken between '2023-05' and '2023-12-31 10:30'",
    "path like 'trip/%' and meta.size is not null and id in :ids",
    "not (group = 'g1' or \"odd key\" != 7) and mtime >= '2020-01-01T00:00:00Z' and price <> -1.5e3",
)
WORDS = re.split(
    r"\s+",
    r"""and or not in like between is null true false price id kind group path size mtime taken text meta a.b "q" 'it''s' 1 -1 1e9
    = == != <> < <= > >= ( ) , . : :ids :p -- /* */ ; ? @ $ # ~ | || & ^ ! % + - * / \ [ ] { } :: -> ->> select union from case
    when end cast exists glob regexp match collate escape x'00' 0x1F attach pragma vacuum load_extension( char( '\0 é 😺 \u202e""",
)
VALUES = ("50", "-1.5", "'Acme'", '"Acme"', ":p", "'2023-05'", "true", "'it''s'", "1e300", "'%'")
SENTINEL = "zqx"
_SAFE_WORDS = {
    "item", "and", "or", "not", "in", "is", "null", "like", "between", "case", "when", "then", "else", "end", "cast",
    "as", "text", "json_extract", "json_type", "meta", "id", "kind", "group", "root", "path", "size", "mtime_ns",
    "width", "height", "taken", "true", "false", "select", "where",
}  # fmt: skip
CONFIG = b"""# my settings
collection = "/srv/photos"
model = "mini"
device = "cuda:1"
model_dir = '~/models'
offline = true
token = "hf_secret"
"""


@cache
def _database() -> sqlite3.Connection:
    engine = sa.create_engine("sqlite://")
    pooled = engine.raw_connection()
    database = pooled.driver_connection
    assert isinstance(database, sqlite3.Connection)
    metadata.create_all(engine, tables=[item])
    insert = "INSERT INTO item (vid, id, kind, width, text, taken, meta) VALUES (?, ?, ?, ?, ?, ?, ?)"
    database.execute(insert, (1, "1", "image", 640, None, None, '{"price": 40, "brand": "Acme"}'))
    database.execute(insert, (2, "2", "text", None, "x", 1_700_000_000, "{}"))
    database.commit()
    return database


def _filter(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 14)))
    parts = re.split(r"(\s+)", rng.choice(FILTERS))
    if rng.random() < 0.35:  # still a filter: other values, and other ways of joining
        swaps = {"and": "or", "<": ">=", "=": "!=", ">=": "<", "in": "not in", "like": "not like"}
        parts = [swaps[part] if part in swaps and rng.random() < 0.3 else part for part in parts]
        return "".join(rng.choice(VALUES) if re.fullmatch(r"[-\d.e]+|'.*'|\".*\"", part) else part for part in parts)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(parts))
        what = rng.randrange(5)
        if what == 0:
            parts[at] = rng.choice(WORDS)
        elif what == 1:
            parts.insert(at, f" {rng.choice(WORDS)} ")
        elif what == 2 and len(parts) > 1:
            del parts[at]
        elif what == 3:
            parts[at] = f"'{SENTINEL}' , {SENTINEL}"
        else:
            word = list(parts[at] or "x")
            word[rng.randrange(len(word))] = chr(rng.choice((0, 9, 34, 39, 59, 92, 0x660, 0xD800, rng.randrange(32, 0x3000))))
            parts[at] = "".join(word)
    return "".join(parts)


def where(seed: int) -> str:
    """A filter: refused by name, or it runs; its words and values reach SQLite bound, never as part of the statement."""
    rng = random.Random(seed)
    text = _filter(rng)
    odd = f"{SENTINEL}'; drop table item; --"
    params: dict[str, Any] = {"ids": ["1", odd], "p": rng.choice((1, "x", True, 1e300))}
    try:
        condition, values = filter_sql(text, params)
    except FilterError as error:
        return refused(error)
    bare = re.sub(r"'(integer|real|text|true|false|array|object)'", "", condition)
    assert not re.search(r"['\\;]|--|/\*", bare), condition
    assert all(word.lower() in _SAFE_WORDS for word in re.findall(r"[^\W\d]\w*", bare)), condition
    assert condition.count("?") == len(values)
    found = [vid for (vid,) in _database().execute(f"SELECT vid FROM item WHERE {condition}", values)]
    assert set(found) <= {1, 2}
    return "found" if found else "nothing"


def config(seed: int) -> str:
    """A damaged config file: settings, or UsageError that names the file; never the token in an error."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_bytes(spoiled(CONFIG, rng))
        try:
            found = settings.load(environ={}, file=path)
        except UsageError as error:
            return refused(error, names=str(path), hides="hf_secret")
    assert isinstance(found.offline, bool)
    assert all(value is None or isinstance(value, str) for value in (found.collection, found.model, found.device, found.token))
    return "read"
