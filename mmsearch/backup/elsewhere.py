"""Vectors that another program has made, taken in as a collection on the user's word for the model.

Three forms are read: the folder of clip-retrieval (``img_emb/img_emb_0.npy``, ``text_emb/text_emb_0.npy``,
``metadata/metadata_0.parquet``), an ``.npz`` file, and a Parquet file with a column of vectors. See ``docs/archive.md``.
"""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.backup.exporting import Told
from mmsearch.backup.restoring import ImportReport
from mmsearch.backup.tables import pyarrow
from mmsearch.backup.taking import taking
from mmsearch.errors import SourceError, UsageError
from mmsearch.store import Change, Store
from mmsearch.types import Draft, Json, Kind, Vectors

CLAIM = "vectors_from"
"""Name of the stored value that says where vectors came from and which model they are claimed to be of."""
_BATCH = 4096
_VECTORS = ("vector", "vectors", "embedding", "embeddings", "image_embeddings")
_IDS = ("id", "ids", "image_path", "path", "paths", "filename", "key", "url")
_TEXTS = ("text", "caption")
_LAYOUTS = "a folder with img_emb/img_emb_0.npy and metadata/metadata_0.parquet, an .npz file, or a Parquet file"


@dataclass(frozen=True, slots=True)
class Claim:
    """What the user says of the vectors: the model's name and fingerprint, whether they are of images, where those lie.

    ``root`` is an absolute folder: ids are then paths below it, and items know their files. ``values`` are kept with the
    collection.
    """

    model: str
    fingerprint: str
    kind: Kind = Kind.IMAGE
    root: tuple[str, str] | None = None  # name and folder
    values: Mapping[str, str] | None = None


class _Block(NamedTuple):
    where: str
    kind: Kind
    rows: Sequence[Mapping[str, Any]]
    vectors: NDArray[np.floating[Any]]


def import_vectors(source: Path, folder: Path, claim: Claim, *, dim: int | None = None, told: Told | None = None) -> ImportReport:
    """Makes a collection in ``folder`` of the vectors in ``source``; they are normalised, and ``dim`` numbers long if given.

    Nothing is seen of it before all of it is there. Raises :class:`SourceError` naming the first row that is not finite, has no
    length, or whose id came before; else as :func:`mmsearch.backup.restoring.restore`. Memory holds 4,096 rows, for an
    ``.npz`` file all of them.
    """
    blocks = _blocks(source, claim.kind)
    first = next(blocks, None)
    if first is None:
        raise SourceError(f"{source} holds no vectors", hint=f"what can be read: {_LAYOUTS}")
    width = first.vectors.shape[1] if first.vectors.ndim == 2 else 0
    if width < 1 or (dim is not None and width != dim):
        raise SourceError(f"the vectors in {source} have {width} numbers; {claim.model} makes {dim}", hint="name the right --model")
    with (
        taking(folder, claim.fingerprint) as made,
        closing(Store.create(made, dim=width, model=claim.model, fingerprint=claim.fingerprint)) as store,
    ):
        done = 0
        with store.writer() as writer:
            if claim.root:
                writer.add_root(*claim.root)
            for name, value in (claim.values or {}).items():
                writer.set_meta(name, value)
            said = {"source": source.name, "model": claim.model, "fingerprint": claim.fingerprint}
            writer.set_meta(CLAIM, json.dumps(said, sort_keys=True))
            block: _Block | None = first
            while block is not None:
                drafts = [_draft(block, at, row, claim) for at, row in enumerate(block.rows)]
                writer.commit(Change(upserts=drafts, vectors=unit(block, width)))
                done += len(drafts)
                if told:
                    told(done, 0)
                block = next(blocks, None)
        with store.snapshot() as snapshot:
            items = snapshot.count()
        if items != done:
            raise SourceError(f"{done - items} ids in {source} are there twice", hint="every item needs an id of its own")
    return ImportReport(items, 0, claim.model, dict([claim.root]) if claim.root else {})


def unit(block: _Block, dim: int) -> Vectors:
    """A block's vectors as ``(n, dim)`` float32 of length 1. Raises :class:`SourceError` naming the first that cannot be."""
    found = np.asarray(block.vectors, dtype=np.float64)
    if found.shape != (len(block.rows), dim):
        raise SourceError(f"{block.where}: {len(block.rows)} rows of meta for vectors of shape {found.shape}, not {dim} wide")
    lengths = np.linalg.norm(found, axis=1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 1e-12)))
    if len(bad):
        raise SourceError(f"{block.where}: row {int(bad[0])} is no direction: not finite, or all zeros")
    return np.asarray(found / lengths[:, None], dtype=np.float32)


# --- rows -------------------------------------------------------------------------------------------------------


def _draft(block: _Block, at: int, row: Mapping[str, Any], claim: Claim) -> Draft:
    named = next((row[name] for name in _IDS if row.get(name) not in (None, "")), None)
    if named is None:
        raise SourceError(f"{block.where}: row {at} has no id", hint=f"one of these is needed: {', '.join(_IDS)}")
    id = str(named)
    text = next((str(row[name]) for name in _TEXTS if row.get(name)), None)
    meta = {name: plain for name, value in row.items() if name not in ("id", "ids") and (plain := _plain(value)) is not None}
    if block.kind is Kind.TEXT:
        if text is None:
            raise SourceError(f"{block.where}: row {at} has no text", hint="a column text or caption is needed")
        meta = {name: value for name, value in meta.items() if name not in _TEXTS}
        return Draft(id=f"{id}#text", kind=Kind.TEXT, group=id, text=text, meta=meta)
    path = size = mtime_ns = None
    root = None
    if claim.root is not None:
        root, path = claim.root[0], _below(id, claim.root[1], f"{block.where}: row {at}")
        id = path
        try:
            status = os.stat(os.path.join(claim.root[1], path))
            size, mtime_ns = status.st_size, status.st_mtime_ns
        except OSError:  # elsewhere: the next index run says so
            size = mtime_ns = 0
    return Draft(id=id, kind=Kind.IMAGE, root=root, path=path, size=size, mtime_ns=mtime_ns, group=id, meta=meta)


def _below(id: str, folder: str, where: str) -> str:
    path = os.path.normpath(os.path.relpath(id, folder) if os.path.isabs(id) else id)
    if path.startswith("..") or "\0" in path:
        raise SourceError(f"{where}: {id!r} does not lie below {folder}", hint="give another --root, or none")
    return path


def _plain(value: Any) -> Json:
    """A value as JSON can say it; ``None`` for what says nothing."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, bytes) else str(value)


# --- forms ------------------------------------------------------------------------------------------------------


def _blocks(source: Path, kind: Kind) -> Iterator[_Block]:
    if source.is_dir():
        return _folder(source)
    if not source.is_file():
        raise SourceError(f"there is no file or folder {source}")
    if source.suffix == ".npz":
        return _npz(source, kind)
    if source.suffix == ".parquet":
        return _parquet(source, kind)
    raise UsageError(f"{source} is no archive, and no vectors that can be read", hint=f"what can be read: {_LAYOUTS}")


def _folder(folder: Path) -> Iterator[_Block]:
    for prefix, kind in (("img_emb", Kind.IMAGE), ("text_emb", Kind.TEXT)):
        shards = [path for place in (folder / prefix, folder) for path in place.glob(f"{prefix}_*.npy")]
        for shard in sorted(shards, key=lambda path: (len(path.name), path.name)):
            number = re.sub(r"\D", "", shard.stem)
            places = [place / f"metadata_{number}.parquet" for place in (folder / "metadata", folder)]
            about = next((place for place in places if place.is_file()), None)
            if about is None:
                raise SourceError(f"{shard}: there is no metadata_{number}.parquet for it", hint=f"expected in {folder}/metadata")
            try:
                vectors = np.load(shard, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise SourceError(f"{shard} cannot be read: {error}") from error
            yield from _paired(shard, about, vectors, kind)


def _paired(shard: Path, about: Path, vectors: NDArray[Any], kind: Kind) -> Iterator[_Block]:
    done = 0
    for rows in _rows(about):
        yield _Block(f"{shard} from row {done}", kind, rows, vectors[done : done + len(rows)])
        done += len(rows)
    if done != len(vectors):
        raise SourceError(f"{shard} has {len(vectors)} rows, {about.name} has {done}")


def _rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    pa = pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                yield batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _parquet(path: Path, kind: Kind) -> Iterator[_Block]:
    done = 0
    for rows in _rows(path):
        name = next((one for one in _VECTORS if one in rows[0]), None)
        if name is None:
            raise SourceError(f"{path} has no column of vectors", hint=f"it may be called {', '.join(_VECTORS)}")
        try:
            vectors = np.array([row.pop(name) for row in rows], dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise SourceError(f"{path} from row {done}: the vectors differ in length, or one is missing") from error
        yield _Block(f"{path} from row {done}", kind, rows, vectors)
        done += len(rows)


def _npz(path: Path, kind: Kind) -> Iterator[_Block]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path} cannot be read: {error}", hint="arrays of objects are refused") from error
    name = next((one for one in _VECTORS if one in arrays), None)
    if name is None:
        raise SourceError(f"{path} has no array of vectors", hint=f"it may be called {', '.join(_VECTORS)}")
    vectors = arrays.pop(name)
    columns = {one: values for one, values in arrays.items() if values.ndim == 1 and len(values) == len(vectors)}
    for start in range(0, len(vectors), _BATCH):
        some = vectors[start : start + _BATCH]
        rows = [{_single(one): values[start + at] for one, values in columns.items()} for at in range(len(some))]
        yield _Block(f"{path} from row {start}", kind, rows, some)


def _single(name: str) -> str:
    return {"ids": "id", "paths": "path", "texts": "text", "captions": "caption"}.get(name, name)
