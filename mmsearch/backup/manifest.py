"""What an archive says about itself, and the limits that a reader holds every archive to. See ``docs/archive.md``."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmsearch.errors import CollectionCorrupt, FormatTooNew

FORMAT = "mmsearch-archive"
VERSION = 1
MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"
"""Its checksum in the form of ``sha256sum``; those of all others stand in the manifest."""
PART_ROWS = 32_768
"""Items in one part: what a reader and a writer hold in memory, 16 MiB of vectors at 256 dimensions, 64 at 1,024."""
MAX_DIM = 65_536
MAX_MANIFEST = 64 << 20
MAX_TABLE = 512 << 20
"""Bytes of a member in the file, and of a table's cells when they are unpacked."""
MAX_HEADER = 65_536
"""Bytes before the numbers in a part of vectors."""
UNIT = 0.005
"""How far from 1 the length of a stored row may be: rounding to float16 moves it by 0.0005 at most."""

_NAME = re.compile(r"(items|failures)/[0-9]{5,9}\.parquet|vectors/[0-9]{5,9}\.safetensors")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive: its checksum, its size in bytes, and the rows in it."""

    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The archive's description. ``members`` are in the order of the file, without the manifest itself."""

    model: str
    fingerprint: str
    dim: int
    items: int
    failures: int
    roots: Mapping[str, str]
    values: Mapping[str, str]
    members: Mapping[str, Member]

    def dump(self) -> bytes:
        """As it stands in the archive: the same bytes for equal content."""
        value = {"format": FORMAT, "version": VERSION, "dtype": "float16", **asdict(self)}
        return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()

    @staticmethod
    def checksum(data: bytes) -> bytes:
        """The content of :data:`CHECKSUM` for a manifest."""
        return f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n".encode()

    def parts(self, folder: str) -> list[str]:
        """The names of the members below a folder, in order. Raises :class:`CollectionCorrupt` where one is missing."""
        found = sorted(name for name in self.members if name.startswith(folder + "/"))
        ending = "safetensors" if folder == "vectors" else "parquet"
        if found != [part_name(folder, at, ending) for at in range(len(found))]:
            raise CollectionCorrupt(f"parts of {folder}/ are missing in the archive", hint=DAMAGED)
        return found

    @classmethod
    def load(cls, data: bytes) -> Manifest:
        """Raises :class:`CollectionCorrupt`, or :class:`FormatTooNew` for an archive of a later version."""
        try:
            value = json.loads(data)
            if not isinstance(value, dict) or value.get("format") != FORMAT:
                raise ValueError(f"the format is not {FORMAT}")
            if value["version"] != VERSION:
                _refuse(value["version"])
            members = {_name(name): _member(one) for name, one in value["members"].items()}
            made = cls(
                model=_text(value["model"]),
                fingerprint=_text(value["fingerprint"]),
                dim=_number(value["dim"]),
                items=_number(value["items"]),
                failures=_number(value["failures"]),
                roots=_texts(value["roots"]),
                values=_texts(value["values"]),
                members=members,
            )
            made._check(value.get("dtype"))
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            said = " ".join(str(error).split())[:120]
            raise CollectionCorrupt(f"{MANIFEST} of the archive cannot be read: {said}", hint=DAMAGED) from None
        return made

    def _check(self, dtype: object) -> None:
        if dtype != "float16" or not 1 <= self.dim <= MAX_DIM:
            raise ValueError(f"rows of {self.dim} numbers as {dtype}")
        for name, one in self.members.items():
            if not 1 <= one.rows <= PART_ROWS or one.bytes > self.limit(name):
                raise ValueError(f"{name} has {one.bytes} bytes and {one.rows} rows, which is not allowed")
        for folder, wanted in (("items", self.items), ("vectors", self.items), ("failures", self.failures)):
            found = sum(one.rows for name, one in self.members.items() if name.startswith(folder + "/"))
            if found != wanted:
                raise ValueError(f"{folder}/ has {found} rows, not {wanted}")
        for name, path in self.roots.items():
            if not os.path.isabs(path) or "\0" in path or not name:
                raise ValueError(f"the root {name!r} has no absolute path")

    def limit(self, name: str) -> int:
        """The most bytes that a member may have."""
        whole = self.members[name].rows * self.dim * 2 + MAX_HEADER
        return min(whole, MAX_TABLE) if name.startswith("vectors/") else MAX_TABLE


DAMAGED = "it is damaged, or no archive of mmsearch export: take another copy of it"


def part_name(folder: str, at: int, ending: str) -> str:
    """The name of a part, counted from 0."""
    return f"{folder}/{at:05d}.{ending}"


def _refuse(version: object) -> None:
    if isinstance(version, int) and version > VERSION:
        raise FormatTooNew(
            f"the archive has format version {version}, this mmsearch knows up to {VERSION}",
            hint="update mmsearch: pip install -U mmsearch",
        )
    raise ValueError(f"version {version!r}")


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"a member is called {name[:80]!r}")
    return name


def _member(value: Mapping[str, Any]) -> Member:
    made = Member(_text(value["sha256"]), _number(value["bytes"]), _number(value["rows"]))
    if not re.fullmatch(r"[0-9a-f]{64}", made.sha256):
        raise ValueError(f"{made.sha256[:80]!r} is no SHA-256")
    return made


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:80]!r} is no text")
    return value


def _texts(value: Mapping[str, object]) -> dict[str, str]:
    return {key: _text(one) for key, one in value.items()}


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError(f"{str(value)[:80]!r} is no count")
    return value
