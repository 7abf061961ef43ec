"""A list of files, each named by the caller."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from mmsearch.errors import SourceError
from mmsearch.sources.files import KINDS, FilesBelow, item_id, os_problem, patiently, problem, suffix
from mmsearch.types import Asset, Failure, Kind

__all__ = ["FileList"]


class FileList(FilesBelow):
    """The named files; the id of each is its path below ``root``.

    ``root`` is by default the folder that all of them have in common. A file that is named is taken whatever its
    suffix: ``.txt`` and ``.md`` are texts, all else is tried as an image. Links are followed; a name given twice
    counts once.

    A missing file, a folder, and one outside ``root`` go to ``problems``. A list says nothing of what it does not name:
    ``complete`` is always false, so that nothing is ever taken for gone.

    Raises :class:`SourceError` for an empty list without a root.

    >>> FileList(["/photos/cat.jpg", "/photos/trip/beach.jpg"]).root
    '/photos'
    """

    complete = False
    scope = ""

    def __init__(
        self, paths: Iterable[str | os.PathLike[str]], *, root: str | os.PathLike[str] | None = None
    ) -> None:
        self.paths = list(dict.fromkeys(os.path.abspath(path) for path in paths))
        if root is None and not self.paths:
            raise SourceError("the list of files is empty")
        self.root = (
            os.path.commonpath([os.path.dirname(path) for path in self.paths]) if root is None else
            os.path.abspath(root)
        )
        self.problems: list[Failure] = []

    def __repr__(self) -> str:
        return f"FileList({len(self.paths)} files below {self.root!r})"

    def rooted(self, root: str | os.PathLike[str]) -> FileList:
        """The same files with paths and ids below another root."""
        return FileList(self.paths, root=root)

    def scan(self) -> Iterator[Asset]:
        """The assets in the order of the list. One ``stat`` each."""
        self.problems = []
        prefix = self.root.rstrip("/") + "/"
        for path in self.paths:
            if not path.startswith(prefix):
                self.problems.append(problem(path, "outside_root", f"not below {self.root}"))
                continue
            below = path[len(prefix) :]
            try:
                stat = patiently(lambda path=path: os.stat(path))  # type: ignore[misc]
            except OSError as error:
                self.problems.append(os_problem(below, error))
                continue
            if os.path.isdir(path):
                self.problems.append(problem(below, "not_regular", "this is a folder"))
                continue
            kind = KINDS.get(suffix(path), Kind.IMAGE)
            yield Asset(item_id(below), kind, below, stat.st_size, stat.st_mtime_ns)

