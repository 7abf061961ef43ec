"""Images and captions as COCO writes them: one JSON file with ``images`` and ``annotations``."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from mmsearch.errors import SourceError
from mmsearch.sources.files import FilesBelow, item_id
from mmsearch.sources.records import Problems, below_root, image_asset, text_asset
from mmsearch.sources.values import plain, well_formed
from mmsearch.texts import decode_loosely
from mmsearch.types import Asset, Failure, Json

__all__ = ["CocoCaptions"]

_NOT_META = ("id", "file_name", "width", "height")


class CocoCaptions(FilesBelow):
    """The images that a COCO caption file names, each followed by its captions as text items.

    ``path``
        The JSON file: ``{"images": [{"id", "file_name", …}], "annotations": [{"image_id", "caption"}]}``.
    ``images``
        The folder that ``file_name`` is relative to. By default the first of these that holds the first image: the file's
        folder, ``images`` in it, and beside that folder the one that the file is named for (``val2017`` for
        ``annotations/captions_val2017.json``) and ``images``.

    The id of an image is its ``file_name``; its captions are ``file_name#caption-0`` … in the group of that id. What else
    COCO says of an image becomes ``meta``, its number ``coco_id``. ``root`` is the folder that holds both the JSON and the images.

    Entries that cannot be used go to ``problems``, and make the scan incomplete. The file is read whole (COCO's own, of 90 MB,
    takes 5 s and 0.6 GB).
    """

    scope = ""
    own_ids = True

    def __init__(self, path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None) -> None:
        self.path = os.path.abspath(path)
        self.images = _folder_of(self.path) if images is None else os.path.abspath(images)
        self.root = os.path.commonpath([os.path.dirname(self.path), self.images])
        self.name = os.path.relpath(self.path, self.root)
        self.complete = False
        self.problems: list[Failure] = []

    def __repr__(self) -> str:
        return f"CocoCaptions({self.path!r})"

    def scan(self) -> Iterator[Asset]:
        """The assets in the order of ``images``. Raises :class:`SourceError` where the file is not of this kind."""
        self.complete = False
        self.problems = problems = Problems()
        whole = _load(self.path)
        captions = self._captions(whole, problems)
        seen: set[str] = set()
        for at, entry in enumerate(whole["images"]):
            try:
                name = entry["file_name"]
                below = below_root(self.root, self.images, name)
                id = item_id(os.path.normpath(name))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                problems.note(f"{self.name}:images[{at}]", "bad_line", f"no image that can be used: {error}")
                continue
            if id in seen:
                problems.note(f"{self.name}:images[{at}]", "duplicate_id", f"{id[:80]!r} is there already")
                continue
            seen.add(id)
            yield image_asset(id, self.root, below, id, _meta(entry))
            for n, text in enumerate(captions.pop(str(entry.get("id")), ())):
                yield text_asset(f"{id}#caption-{n}", text, self.name, id, {})
        for image_id in captions:
            problems.note(f"{self.name}:images", "bad_line", f"captions of an image that is not listed: {image_id[:80]}")
        broken = any(one.reason == "bad_line" for one in problems)
        problems.close(self.name)
        self.complete = bool(seen) and not broken

    def _captions(self, whole: dict[str, Any], problems: Problems) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for at, entry in enumerate(whole["annotations"]):
            try:
                text, key = str(plain(entry["caption"])).strip(), str(entry["image_id"])
            except (KeyError, TypeError):
                text = key = ""
            if not text:
                problems.note(f"{self.name}:annotations[{at}]", "bad_line", "no caption that can be used")
            elif text not in found[key]:
                found[key].append(text)
        return found


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            whole = json.loads(decode_loosely(stream.read()))
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON: {error}") from error
    keys = ("images", "annotations")
    if not isinstance(whole, dict) or not all(isinstance(whole.get(key), list) for key in keys):
        raise SourceError(f"{path} is no COCO caption file: it needs the lists 'images' and 'annotations'")
    return whole


def _meta(entry: dict[str, Any]) -> dict[str, Json]:
    meta = {well_formed(str(key)): plain(value) for key, value in entry.items() if key not in _NOT_META}
    return {**meta, **({"coco_id": plain(entry["id"])} if "id" in entry else {})}


def _folder_of(path: str) -> str:
    """The folder of the images of a COCO file: where the first of them is."""
    folder, name = os.path.split(path)
    split = re.sub(r"^captions_|\.json$", "", name)
    above = os.path.dirname(folder)
    candidates = [folder, *(os.path.join(*pair) for pair in ((folder, "images"), (above, split), (above, "images")))]
    try:
        first = next((e["file_name"] for e in _load(path)["images"] if isinstance(e, dict) and e.get("file_name")), "")
    except (SourceError, TypeError):
        return folder
    return next((c for c in candidates if isinstance(first, str) and os.path.exists(os.path.join(c, first))), folder)
