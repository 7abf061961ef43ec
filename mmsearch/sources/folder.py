"""A folder of images and texts, and the captions beside them."""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Literal

from mmsearch.errors import InputError, SourceError
from mmsearch.files import read_file
from mmsearch.sources.captions import Captioner
from mmsearch.sources.files import (
    KINDS,
    MAX_TEXT_BYTES,
    FilesBelow,
    by_name,
    item_id,
    list_folder,
    os_problem,
    problem,
    reason_of,
)
from mmsearch.sources.ignore import IGNORE_FILE, Layer, compile_patterns, is_ignored, layer_of
from mmsearch.types import Asset, Failure, Kind

__all__ = ["Folder"]

_Entries = list[os.DirEntry[str]]
_FILE_TYPE = 0o170000
_FOLDER_OR_LINK = (stat.S_IFDIR, stat.S_IFLNK)


class Folder(FilesBelow):
    """The images and texts below a folder; the id of each is its path below ``root``.

    ``path``
        The folder to walk. Hidden files, and folders that hold a collection, are passed over.
    ``root``
        A folder above ``path`` (or ``path`` itself, the default): paths and ids are relative to it, while only
        ``path`` is walked; ``scope`` is then where ``path`` lies below it.
    ``include``, ``exclude``
        Patterns as in ``.gitignore``, relative to ``path``: only files that match an include pattern, and none that
        match an exclude pattern. Files named ``.mmsearchignore`` at any level leave out more; the exclude patterns
        beat them.
    ``follow_symlinks``
        Links are passed over unless this is set. Then every folder is walked once, under its real name where it has one
        below ``path``, so that loops end.
    ``texts``
        Whether each ``.txt`` and ``.md`` file is an item.
    ``captions``
        ``"sidecar"``: ``cat.txt``, ``cat.json``, ``cat.jpg.txt`` and ``cat.jpg.json`` beside ``cat.jpg`` are its
        captions (:mod:`mmsearch.sources.captions`).

    After a scan, ``problems`` holds what could not be listed or used, and ``complete`` says whether all there is was
    seen: not after a folder failed to open, nor when there is nothing at all in ``path`` (which is what a disk that
    is not mounted looks like).

    Picklable. A scan costs little more than ``os.scandir`` with ``stat`` (``benchmarks/scan.py``), and holds the
    entries of one folder at a time.

    >>> [asset.id for asset in Folder("photos", exclude=["*.png"]).scan()]      # doctest: +SKIP
    ['cat.jpg', 'trip/beach.jpg']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        hidden: bool = False,
        follow_symlinks: bool = False,
        texts: bool = True,
        captions: Literal["sidecar"] | bool = False,
    ) -> None:
        self.path = os.path.abspath(path)
        self.root = self.path if root is None else os.path.abspath(root)
        self.scope = _below(self.path, self.root)
        self.include: tuple[str, ...] = (include,) if isinstance(include, str) else tuple(include)
        self.exclude: tuple[str, ...] = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        compile_patterns(self.include, "include")
        compile_patterns(self.exclude, "exclude")
        self.hidden = hidden
        self.follow_symlinks = follow_symlinks
        self.texts = texts
        self.captions = captions in ("sidecar", True)
        self.complete = False
        self.problems: list[Failure] = []

    def __repr__(self) -> str:
        return f"Folder({self.path!r})"

    def rooted(self, root: str | os.PathLike[str]) -> Folder:
        """The same walk as a part of ``root``, a folder above: only paths, ids and ``scope`` differ."""
        other = copy(self)
        other.root = os.path.abspath(root)
        other.scope = _below(other.path, other.root)
        other.complete, other.problems = False, []
        return other

    def scan(self) -> Iterator[Asset]:
        """The assets, each folder's files in the order of their names, then its folders.

        Raises :class:`SourceError` where the folder is missing or cannot be opened.
        """
        self.complete, self.problems = False, []
        try:
            entries = list_folder(self.path)
        except OSError as error:
            raise SourceError(
                f"cannot read the folder {self.path}: {error.strerror or error}",
                hint="is the disk mounted, and the path spelled right?",
            ) from error
        walk = _Walk(self)
        yield from walk.run(entries)
        self.complete = walk.saw_all


def _below(path: str, root: str) -> str:
    if path == root:
        return ""
    prefix = root.rstrip("/") + "/"
    if not path.startswith(prefix):
        raise SourceError(f"{path} is not below {root}", hint="give a root that holds the folder")
    return path[len(prefix) :]


class _Walk:
    """One scan of a :class:`Folder`: what is in force in which folder, and what is still to be walked."""

    def __init__(self, folder: Folder) -> None:
        self.problems = folder.problems
        self.saw_all = True
        self._folder = folder
        self._top = folder.root.rstrip("/") + "/"
        self._kinds = KINDS if folder.texts else {s: k for s, k in KINDS.items() if k is Kind.IMAGE}
        self._include = compile_patterns(folder.include, "include") if folder.include else None
        self._exclude = compile_patterns(folder.exclude, "exclude") if folder.exclude else None
        self._strip = len(folder.scope) + 1 if folder.scope else 0
        self._captioner = Captioner(self._top, self.problems) if folder.captions else None
        self._seen: set[tuple[int, int]] = set()
        # Links are walked after all real folders, so that what is reachable both ways gets its real name.
        self._links: deque[tuple[str, Layer]] = deque()

    def run(self, entries: _Entries) -> Iterator[Asset]:
        folder = self._folder
        if not any(folder.hidden or not entry.name.startswith(".") for entry in entries):
            self._incomplete(problem(folder.scope, "empty", "nothing in the folder: is its disk mounted?"))
        if folder.follow_symlinks:
            self._is_new(folder.scope)
        stack: list[tuple[str, Layer]] = []
        yield from self._visit(folder.scope, entries, self._layers_above(), stack)
        while stack or self._links:
            path, layers = stack.pop() if stack else self._links.popleft()
            if folder.follow_symlinks and not self._is_new(path):
                continue
            try:
                entries = list_folder(self._top + path)
            except OSError as error:
                self._incomplete(os_problem(path, error))
                continue
            yield from self._visit(path, entries, layers, stack)

    def _visit(self, path: str, entries: _Entries, layers: Layer, stack: list[tuple[str, Layer]]) -> Sequence[Asset]:
        """The assets of one folder; its folders go onto ``stack``, first name on top, or to the links."""
        folder, kinds, prefix = self._folder, self._kinds, f"{path}/" if path else ""
        hidden, follow = folder.hidden, folder.follow_symlinks
        at = bisect_left(entries, IGNORE_FILE, key=by_name)
        if at < len(entries) and entries[at].name == IGNORE_FILE:
            layers = self._with_ignore_file(path, layers)
        make = Asset._make  # half the time of Asset(...), which is a Python function
        filtered = layers is not None or self._include is not None or self._exclude is not None
        plain = not filtered and not follow
        assets: list[Asset] = []
        folders: list[tuple[str, Layer]] = []
        for entry in entries:
            name = entry.name
            if name[0] == "." and (not hidden or name in (IGNORE_FILE, ".mmsearch")):
                continue
            below = prefix + name
            kind = kinds.get(name[-4:]) or kinds.get(name[name.rfind(".") :].lower())
            try:
                if kind is not None and plain:  # nearly every entry of most trees: one stat, and little else
                    found = entry.stat(follow_symlinks=False)
                    if found.st_mode & _FILE_TYPE not in _FOLDER_OR_LINK:
                        id = below if below.isascii() else item_id(below)
                        assets.append(make((id, kind, below, found.st_size, found.st_mtime_ns, None, None, None)))
                        continue
                elif name == "catalog.db" and _is_collection(entries):
                    return ()
                if entry.is_dir(follow_symlinks=False):
                    if not filtered or not self._left_out(below + "/", layers):
                        folders.append((below, layers))
                elif kind is not None or follow:
                    assets += self._slowly(entry, below, kind, layers)
            except OSError as error:
                self._unreadable(below, entry, error)
        folders.reverse()
        stack += folders
        if self._captioner is not None and assets:
            return self._captioner.attach(assets, entries, lambda entry: self._may_be_sidecar(prefix, entry, layers))
        return assets

    def _slowly(self, entry: os.DirEntry[str], below: str, kind: Kind | None, layers: Layer) -> Sequence[Asset]:
        """The asset that an entry is, if it is one, where there are patterns or links to think of. Raises OSError."""
        is_link = entry.is_symlink()
        if (is_link and not self._folder.follow_symlinks) or not (is_link or kind) or self._left_out(below, layers):
            return ()
        if is_link and entry.is_dir():
            self._links.append((below, layers))
            return ()
        found = entry.stat()
        return () if kind is None else (Asset(item_id(below), kind, below, found.st_size, found.st_mtime_ns),)

    def _left_out(self, path: str, layers: Layer) -> bool:
        if self._excluded(path, layers):
            return True
        return self._include is not None and path[-1] != "/" and not self._include.match_file(path[self._strip :])

    def _excluded(self, path: str, layers: Layer) -> bool:
        if self._exclude is not None:
            verdict = self._exclude.check_file(path[self._strip :]).include
            if verdict is not None:
                return verdict
        return is_ignored(path, layers)

    def _may_be_sidecar(self, prefix: str, entry: os.DirEntry[str], layers: Layer) -> bool:
        if entry.name[0] == "." and not self._folder.hidden:
            return False
        if entry.is_dir() or (entry.is_symlink() and not self._folder.follow_symlinks):
            return False
        return not self._excluded(prefix + entry.name, layers)

    def _layers_above(self) -> Layer:
        """The ignore files above the folder that is walked, from the root down."""
        layers: Layer = None
        parts = self._folder.scope.split("/") if self._folder.scope else []
        for depth in range(len(parts)):
            above = "/".join(parts[:depth])
            if os.path.lexists(f"{self._top}{above}/{IGNORE_FILE}"):
                layers = self._with_ignore_file(above, layers)
        return layers

    def _with_ignore_file(self, path: str, layers: Layer) -> Layer:
        name = f"{path}/{IGNORE_FILE}" if path else IGNORE_FILE
        try:
            text = os.fsdecode(read_file(self._top + name, max_bytes=MAX_TEXT_BYTES)).removeprefix("\ufeff")
            return layer_of(text, path, layers)
        except InputError as error:
            self.problems.append(problem(name, error.reason, error.message))
        except ValueError as error:
            self.problems.append(problem(name, "bad_pattern", f"the whole file is passed over: {error}"))
        return layers

    def _is_new(self, path: str) -> bool:
        try:
            found = os.stat(self._top + path)
        except OSError:
            return True  # listing it fails as well, and says why
        key = (found.st_dev, found.st_ino)
        new = key not in self._seen
        self._seen.add(key)
        return new

    def _unreadable(self, path: str, entry: os.DirEntry[str], error: OSError) -> None:
        # A plain file that is gone between listing and stat is simply gone; behind a link, a whole disk may be.
        if reason_of(error) == "vanished" and not entry.is_symlink():
            return
        self._incomplete(os_problem(path, error))

    def _incomplete(self, failure: Failure) -> None:
        self.saw_all = False
        self.problems.append(failure)


def _is_collection(entries: _Entries) -> bool:
    names = {entry.name for entry in entries}
    return "LOCK" in names and "vectors" in names
