"""Small facts worth remembering between runs: a file's hash, whether bf16 is close enough, where a tag's weights live.

Each is one JSON file in the user's cache folder (platformdirs), written whole by rename: any number of processes may
share it, and deleting it costs only time. A cache that cannot be written or read is no error.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

import platformdirs

from mmsearch.types import Json

__all__ = ["file_sha256", "recall", "remember"]


def _file(key: str) -> Path:
    return platformdirs.user_cache_path("mmsearch") / "facts" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def recall(key: str) -> Json | None:
    """The value remembered under ``key``, or ``None``. One small file is read, ~0.1 ms."""
    try:
        entry = json.loads(_file(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return entry.get("value") if isinstance(entry, dict) and entry.get("key") == key else None


def remember(key: str, value: Json) -> None:
    """Keep ``value`` (plain JSON, not ``None``) under ``key`` for later runs."""
    target = _file(key)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=target.parent, suffix=".tmp", delete=False, encoding="utf-8") as out:
            json.dump({"key": key, "value": value}, out)
        os.replace(out.name, target)
    except OSError:
        return  # a read-only home only makes the next run slower


def file_sha256(path: Path, *, again: bool = False) -> str:
    """Hex SHA-256 of a file's bytes, remembered by (path, size, mtime): ~0.5 s per GB the first time, then ~0.1 ms.

    ``again`` reads the file even if its hash is remembered. Raises :class:`OSError`.
    """
    stat = path.stat()
    key = f"sha256 {os.path.realpath(path)} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
    known = None if again else recall(key)
    if isinstance(known, str):
        return known
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    remember(key, digest.hexdigest())
    return digest.hexdigest()
