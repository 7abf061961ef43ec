"""A table of images and texts: CSV, JSONL or Parquet, one product, photo or document in each row."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mmsearch.errors import SourceError
from mmsearch.sources.files import FilesBelow, item_id
from mmsearch.sources.records import Problems, below_root, digest63, image_asset, text_asset
from mmsearch.sources.tables import Row, as_text, columns_of, format_of, guess, rows
from mmsearch.sources.values import plain, strings_of, well_formed
from mmsearch.types import Asset, Failure, Json

__all__ = ["Manifest"]

_DEFAULTS = {
    "image": ("image", "image_path", "path", "file", "filename", "file_name", "img", "images", "image_paths"),
    "text": ("text", "caption", "captions", "texts"),
    "id": ("id", "sku"),
    "group": ("group",),
}


_PARTS = ("title", "description")
"""Columns that are texts of their own beside the captions: a product is found by its title and by its description."""


class _Roles(NamedTuple):
    """The columns that hold images, texts, id and group; all others are meta."""

    image: tuple[str, ...]
    text: tuple[str, ...]
    id: str | None
    group: str | None


class Manifest(FilesBelow):
    """The rows of a CSV, JSONL or Parquet file.

    ``path``, ``format``
        The file, and ``csv`` (also with tabs, semicolons or bars), ``jsonl`` or ``parquet``; by default what its suffix
        says. Parquet needs the extra ``mmsearch[parquet]``.
    ``image``, ``text``
        The columns of image paths (relative to the file's folder) and texts; by default the first that is there of
        ``image image_path path file filename file_name img images image_paths``, and the first of
        ``text caption captions texts`` with ``title`` and ``description``. A cell may hold several, as a list (in a CSV a
        JSON list).
    ``id``, ``group``
        The columns of the id (by default ``id`` or ``sku``) and the group (``group``).
    ``root``
        A folder above all images, by default the file's. Paths are below it.

    All other columns become ``meta`` of all the row's items; cells of a CSV that can only be a number or a boolean become
    one (``007`` and ``1e5`` stay text), empty ones nothing.

    A row without an id is called after its first image's path, or by a hash of its text. Its image has the row's id, several
    are ``id#photo-1``, ``id#photo-2``; captions of a row with images are ``id#caption-0`` …, without images the text has the
    row's id or they are ``id#0`` …. Texts of other columns are named by these: ``id#title``, ``id#description``, several of one
    cell ``id#title-1`` …; a title is in the meta of all the row's items as well. Items of one row share a group: the group
    column, else the row's id. Rows without ids that name the same image again (one caption in each) add captions to it.

    ``problems`` holds broken lines, names used twice and images outside ``root``, each as ``file:line``; the scan goes on.
    ``complete`` is false after a broken line, since nothing says whose it was, and when no row could be used.

    Picklable. Streams: it keeps no rows, but a hash of each id (70 bytes an item). One ``stat`` for each image.

    >>> [asset.id for asset in Manifest("products.csv").scan()]      # doctest: +SKIP
    ['sku-1', 'sku-1#caption-0']
    """

    scope = ""
    own_ids = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        image: str | Sequence[str] | None = None,
        text: str | Sequence[str] | None = None,
        id: str | None = None,
        group: str | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> None:
        self.path = os.path.abspath(path)
        self.format = format_of(self.path, format)
        self.root = os.path.dirname(self.path) if root is None else os.path.abspath(root)
        try:
            self.name = below_root(self.root, "/", self.path)
        except ValueError as error:
            raise SourceError(str(error), hint="give a root that holds the manifest and its images") from None
        self.complete = False
        self.problems: list[Failure] = []
        self._given = _Roles(_several(image), _several(text), id, group)

    def __repr__(self) -> str:
        return f"Manifest({self.path!r})"

    def scan(self) -> Iterator[Asset]:
        """The assets, row by row, an image before its texts. Raises :class:`SourceError` for the file as a whole."""
        self.complete = False
        self.problems = problems = Problems()
        try:
            columns = columns_of(self.path, self.format)
            roles = None if columns is None else self._roles(columns)
            if roles is not None and not (roles.image or roles.text):
                known = _listed(columns or ())
                raise SourceError(
                    f"{self.path}: no column is known to hold images or texts",
                    hint=f"name it, as in Manifest(path, text=…); columns: {known}",
                )
            reading = _Reading(self, problems)
            for row in rows(self.path, self.format):
                yield from reading.assets(row, self._roles(list(row.values)) if roles is None else roles)
        except OSError as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"cannot read the manifest {self.path}: {error.strerror or error}") from error
        problems.close(self.name)
        if not reading.used:
            problems.note(self.name, "empty", "no row of it could be used")
        self.complete = reading.used and not reading.broken

    def _roles(self, columns: Sequence[str]) -> _Roles:
        given = self._given
        if self.format != "jsonl":
            for name in (*given.image, *given.text, given.id, given.group):
                if name is not None and name not in columns:
                    raise SourceError(f"{self.path} has no column {name!r}", hint=f"columns: {_listed(columns)}")
        lower = {column.lower(): column for column in reversed(columns)}
        taken = {*given.image, *given.text, given.id, given.group}

        def default(role: str) -> str | None:
            names = (lower.get(name) for name in _DEFAULTS[role])
            return next((name for name in names if name is not None and name not in taken), None)

        parts = [lower[name] for name in _PARTS if name in lower and lower[name] not in taken]
        return _Roles(
            given.image or _several(default("image")),
            given.text or (*_several(default("text")), *parts),
            given.id or default("id"),
            given.group or default("group"),
        )


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(" ".join(column.split()) for column in columns)[:200]  # a quoted cell may hold line breaks


def _several(columns: str | Sequence[str] | None) -> tuple[str, ...]:
    if columns is None:
        return ()
    return (columns,) if isinstance(columns, str) else tuple(columns)


class _Reading:
    """One scan: which ids there were, and whether a row was used or broken."""

    def __init__(self, manifest: Manifest, problems: Problems) -> None:
        self.used = self.broken = False
        self._manifest = manifest
        self._folder = os.path.dirname(manifest.path)
        self._problems = problems
        self._is_csv = manifest.format == "csv"
        self._seen: set[int] = set()  # hashes of ids: one collision in a million rows has a probability of 1e-7
        self._captions: Counter[int] = Counter()

    def assets(self, row: Row, roles: _Roles) -> list[Asset]:
        """The assets of one row; what is wrong with it goes to the problems."""
        where = f"{self._manifest.name}:{row.line}"
        if row.error is not None:
            self.broken = True
            self._problems.note(where, "bad_line", row.error)
            return []
        try:
            found = self._assets(row.values, roles, where)
        except ValueError as error:
            self.broken = True
            self._problems.note(where, "bad_line", str(error))
            return []
        self.used = self.used or bool(found)
        return found

    def _assets(self, values: Mapping[str, Any], roles: _Roles, where: str) -> list[Asset]:
        images = self._images([name for column in roles.image for name in self._cell(values, column)], where)
        column_of: dict[str, str] = {}
        for column in roles.text:
            for text in self._cell(values, column):
                column_of.setdefault(well_formed(as_text(text)), column)
        texts = list(column_of)
        if not images and not texts:
            self._problems.note(where, "no_content", "neither an image nor a text in this row")
            return []
        own = self._scalar(values, roles.id)
        base = own or (item_id(images[0]) if images else f"text-{digest63(texts[0].encode()):016x}")
        again = hash(base) in self._seen and own is None and bool(images and texts)  # another caption of that image
        if not again and not self._is_new(base, where):
            return []
        group = self._scalar(values, roles.group) or (base if images or len(texts) > 1 else None)
        meta = self._meta(values, roles)
        ids = [base] if len(images) == 1 else [f"{base}#photo-{n}" for n in range(1, len(images) + 1)]
        out = [] if again else [self._image(id, name, group, meta) for id, name in zip(ids, images, strict=True)]
        names = self._names(base, column_of, bool(images), own is None)
        path = self._manifest.name
        out += [text_asset(id, text, path, group, meta) for id, text in zip(names, texts, strict=True)]
        return [asset for asset in out if asset.id == base or self._is_new(asset.id, where)]

    def _names(self, base: str, column_of: Mapping[str, str], has_images: bool, may_come_again: bool) -> list[str]:
        """The ids of a row's texts, in their order."""
        columns = [column.lower() for column in column_of.values()]
        captions = sum(column in _DEFAULTS["text"] for column in columns)
        if not has_images and len(columns) == 1:
            return [base]
        at = self._captions[hash(base)] if has_images and may_come_again else 0
        if has_images and may_come_again:
            self._captions[hash(base)] += captions
        nth: Counter[str] = Counter()
        names = []
        for column in columns:
            nth[column] += 1
            if column in _DEFAULTS["text"]:
                names.append(f"{base}#caption-{at}" if has_images else f"{base}#{at}")
                at += 1
            else:
                names.append(f"{base}#{column}" if columns.count(column) == 1 else f"{base}#{column}-{nth[column]}")
        return names

    def _image(self, id: str, name: str, group: str | None, meta: Mapping[str, Json]) -> Asset:
        return image_asset(id, self._manifest.root, name, group, meta)

    def _is_new(self, id: str, where: str) -> bool:
        if hash(id) in self._seen:
            self._problems.note(where, "duplicate_id", f"{id[:80]!r} is there already, this one is left out")
            return False
        self._seen.add(hash(id))
        return True

    def _images(self, names: Sequence[str], where: str) -> list[str]:
        found: list[str] = []
        for name in names:
            try:
                found.append(below_root(self._manifest.root, self._folder, name))
            except ValueError as error:
                self._problems.note(where, "bad_image", str(error))
        return list(dict.fromkeys(found))

    def _cell(self, values: Mapping[str, Any], column: str) -> list[str]:
        value = values.get(column)
        if self._is_csv and isinstance(value, str) and value.startswith("["):
            try:
                listed = json.loads(value)
            except ValueError:
                listed = value
            value = listed
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        try:
            return strings_of(value)
        except ValueError as error:
            raise ValueError(f"the column {column!r} holds {error}") from None

    def _scalar(self, values: Mapping[str, Any], column: str | None) -> str | None:
        value = None if column is None else values.get(column)
        if value is None or value == "":
            return None
        if isinstance(value, list | dict | bytes):
            raise ValueError(f"the column {column!r} holds neither a text nor a number")
        return well_formed(as_text(str(value))).strip() or None

    def _meta(self, values: Mapping[str, Any], roles: _Roles) -> dict[str, Json]:
        used = {*roles.image, *roles.text, roles.id, roles.group} - ({"title"} if roles.image or len(roles.text) > 1 else set())
        if self._is_csv:
            return {name: guess(cell) for name, cell in values.items() if name not in used}
        return {well_formed(name): plain(value) for name, value in values.items() if name not in used and value is not None}
