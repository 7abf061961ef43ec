"""An approximate index as one file: a header of JSON, the vids, FAISS's own bytes.

It is mapped, and what FAISS can use where it lies is not copied. The 4-bit codes of inverted lists are: about 2 GB a second.
"""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.indexes._library import library
from mmsearch.indexes.asking import Entry
from mmsearch.indexes.recipes import RECIPES, Recipe, widest
from mmsearch.types import Vids

MAGIC = b"MMSIDX1\n"
_ALIGN = 64
_SLACK = 1.25
"""So much deeper than it was measured a setting may be used: recall hardly changes, and a few deletions cost nothing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How to search so that ``depth`` rows are found: lists to visit (or beam width), candidates to re-score.

    ``recall`` by kind of query and ``ms`` are what was measured for it, empty and 0 where nothing was.
    """

    depth: int
    probe: int
    candidates: int
    recall: dict[str, float] = field(default_factory=dict)
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe with its settings, ascending in depth; up to ``exact_below`` wanted rows are compared one by one instead."""

    recipe: str
    settings: tuple[Setting, ...]
    exact_below: int = 2048

    def setting(self, depth: int) -> Setting | None:
        """The first that reaches this depth, give or take a quarter; ``None`` where none does."""
        return next((one for one in self.settings if one.depth * _SLACK >= depth), None)

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def load(cls, value: dict[str, Any]) -> Plan:
        """From :meth:`dump`."""
        settings = tuple(Setting(**one) for one in value["settings"])
        return replace(cls(value["recipe"], settings), exact_below=int(value["exact_below"]))


@dataclass(frozen=True, eq=False)
class Ann:
    """A FAISS index over positions, the vid of each position (ascending), and how to search it. All vids are below ``upto``."""

    index: Any
    vids: Vids
    upto: int
    plan: Plan
    source: Any = None  # what keeps the mapped file open

    @property
    def recipe(self) -> Recipe:
        """How it was built."""
        return RECIPES[self.plan.recipe]

    @cached_property
    def entry(self) -> Entry:
        """The way into it."""
        return Entry(self.index)

    @cached_property
    def widest(self) -> int:
        """The largest setting of its knob that makes sense."""
        return widest(self.recipe, self.index)


def write(ann: Ann, path: Path) -> None:
    """Writes all of it to ``path``. Raises ``OSError``."""
    faiss = library()

    header = {"format": 1, "upto": ann.upto, "vids": len(ann.vids), "plan": ann.plan.dump(), "faiss": faiss.__version__}
    text = json.dumps(header).encode()
    text += b" " * (-(len(MAGIC) + 8 + len(text)) % _ALIGN)
    with path.open("wb") as file:
        file.write(MAGIC + struct.pack("<Q", len(text)) + text)
        file.write(np.ascontiguousarray(ann.vids, dtype="<i8").data)
        file.write(b"\0" * (-file.tell() % _ALIGN))
        faiss.write_index(ann.index, faiss.PyCallbackIOWriter(file.write, 1 << 24))


def read(path: Path) -> Ann:
    """Maps what :func:`write` has written. Raises ``OSError`` or ``ValueError``.

    Only for files whose checksum has been compared: FAISS accepts damaged ones, and searching those may end the process.
    """
    faiss = library()

    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    start = len(MAGIC) + 8
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{path} is not an index")
    behind = start + int(struct.unpack("<Q", data[len(MAGIC) : start])[0])
    header = json.loads(data[start:behind])
    if header["format"] != 1 or header["plan"]["recipe"] not in RECIPES:
        raise ValueError(f"{path} is of another version of mmsearch")
    vids = np.frombuffer(data, dtype="<i8", count=header["vids"], offset=behind)
    begin = behind + vids.nbytes
    begin += -begin % _ALIGN
    raw = np.frombuffer(data, dtype=np.uint8, offset=begin)
    faiss.set_deserialization_vector_byte_limit(max(len(data), 1 << 20))
    try:
        index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(raw), len(raw)))
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from None
    if int(index.ntotal) != len(vids):
        raise ValueError(f"{path} names {len(vids)} rows and holds {index.ntotal}")
    return Ann(index, vids, int(header["upto"]), Plan.load(header["plan"]), (data, raw))
