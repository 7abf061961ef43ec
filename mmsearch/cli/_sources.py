"""What ``mmsearch index`` was given, as sources."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mmsearch.errors import SourceError

if TYPE_CHECKING:
    from mmsearch.protocols import Source


ROLES = ("image", "text", "id", "group")
"""What a manifest's columns can be; all others become meta."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of ``index`` that say what to read.

    ``captions`` holds ``sidecar``, or the path of a COCO file, whose images then lie in the one folder of ``paths``;
    ``columns`` holds ``ROLE=NAME`` for manifests.
    """

    paths: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    files_from: str | None = None
    null: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    follow_symlinks: bool = False


def build(wanted: Wanted, roots: Sequence[str]) -> Iterator[tuple[str, Source]]:
    """(title, source) of each thing to index. ``roots`` are those that the collection knows already.

    A file below a known root is read as a part of that root, so that it gets the same id as before.
    """
    from mmsearch.sources import CocoCaptions, FileList, Folder, Manifest

    files: list[str] = []
    coco = [path for path in wanted.captions if path != "sidecar"]
    for path in coco:
        yield path, CocoCaptions(os.path.expanduser(path), images=wanted.paths[0] if wanted.paths else None)
    for path in () if coco else wanted.paths:
        full = os.path.abspath(os.path.expanduser(path))
        if not os.path.isdir(full):
            files.append(full)
            continue
        yield path, Folder(
            full,
            include=wanted.include,
            exclude=wanted.exclude,
            hidden=wanted.hidden,
            follow_symlinks=wanted.follow_symlinks,
            captions="sidecar" if "sidecar" in wanted.captions else False,
        )
    if wanted.files_from is not None:
        files += [os.path.abspath(name) for name in read_names(wanted.files_from, null=wanted.null)]
    by_root: dict[str | None, list[str]] = {}
    for name in files:
        by_root.setdefault(_root_of(os.path.dirname(name), roots), []).append(name)
    for root, names in by_root.items():
        yield names[0] if len(names) == 1 else f"{len(names):,} files", FileList(names, root=root)
    columns = dict(column.split("=", 1) for column in wanted.columns)
    for path in wanted.manifests:
        yield path, Manifest(os.path.expanduser(path), **columns)


def check(wanted: Wanted) -> None:
    """Refuse what makes no sense before anything is opened."""
    if not (wanted.paths or wanted.manifests or wanted.files_from or set(wanted.captions) - {"sidecar"}):
        raise click.UsageError("say what to index: a folder, files, --manifest, --captions FILE or --files-from")
    if wanted.null and wanted.files_from is None:
        raise click.UsageError("-0 says how --files-from is read, and that was not given")
    if "sidecar" in wanted.captions and not any(map(os.path.isdir, map(os.path.expanduser, wanted.paths))):
        raise click.UsageError("--captions sidecar looks beside the images of a folder, and no folder was given")
    if set(wanted.captions) - {"sidecar"} and (len(wanted.paths) > 1 or not all(map(os.path.isdir, wanted.paths))):
        raise click.UsageError("with --captions FILE, PATH is the one folder that its images lie in")
    for column in wanted.columns:
        if not wanted.manifests or column.partition("=")[0] not in ROLES or not column.partition("=")[2]:
            raise click.UsageError(f"--column goes with --manifest and takes ROLE=NAME (roles: {', '.join(ROLES)}), "
                                   f"not {column!r}")
    for path in wanted.paths:
        if not os.path.exists(os.path.expanduser(path)):
            raise click.UsageError(f"there is no file or folder {path!r}")


def read_names(origin: str, *, null: bool) -> list[str]:
    """File names, one a line or each ended by NUL, from a file or (``-``) from stdin."""
    try:
        if origin == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(origin, "rb") as stream:
                data = stream.read()
    except OSError as error:
        raise SourceError(f"the list of files {origin} cannot be read: {error.strerror}") from error
    names = data.split(b"\0") if null else data.split(b"\n")
    return [os.fsdecode(name) for name in names if name]


def _root_of(path: str, roots: Sequence[str]) -> str | None:
    """The longest known root that holds the folder."""
    holding = [root for root in roots if path == root or path.startswith(root.rstrip("/") + "/")]
    return max(holding, key=len, default=None)
