"""Captions beside images: ``cat.txt``, ``cat.json``, ``cat.jpg.txt``, ``cat.jpg.json`` for ``cat.jpg``.

A text file holds one caption on each line. A JSON file holds a string, a list of strings, or an object whose
``caption``, ``captions``, ``text`` or ``texts`` is one of these; what else is in the object becomes the image's
``meta``. The caption number ``n`` of ``cat.jpg`` is the text item ``cat.jpg#caption-n`` with the image's id as its
group. Each image is in the group of its own id, with or without captions, so that the ingest compares group and meta
also after a sidecar has gone. Where two images share a sidecar (``cat.jpg``, ``cat.png``), each gets the captions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from mmsearch.errors import InputError
from mmsearch.files import read_file
from mmsearch.sources.files import MAX_TEXT_BYTES, os_problem, problem, suffix
from mmsearch.sources.values import parse_json, strings_of
from mmsearch.texts import decode_loosely
from mmsearch.types import Asset, Failure, Json, Kind

CAPTION_KEYS = ("caption", "captions", "text", "texts")


def parse_sidecar(name: str, data: bytes) -> tuple[list[str], dict[str, Json]]:
    """The captions and the meta in a sidecar file. Raises :class:`ValueError` for JSON that cannot be used.

    >>> parse_sidecar("cat.json", b'{"caption": "a cat", "price": 40}')
    (['a cat'], {'price': 40})
    """
    text = decode_loosely(data)
    if suffix(name) != ".json":
        return strings_of(text.splitlines()), {}
    value = parse_json(text)
    if not isinstance(value, dict):
        return strings_of(value), {}
    captions: list[str] = []
    for key in CAPTION_KEYS:
        if key in value:
            captions += strings_of(value.pop(key))
    return list(dict.fromkeys(captions)), value


class Captioner:
    """Finds the sidecars of one scan's images. ``top`` is the root with a slash behind it."""

    def __init__(self, top: str, problems: list[Failure]) -> None:
        self._top = top
        self._problems = problems

    def attach(
        self, assets: list[Asset], entries: Iterable[os.DirEntry[str]], usable: Callable[[os.DirEntry[str]], bool]
    ) -> list[Asset]:
        """The assets of one folder with captions behind their images, and without the text items that are captions.

        ``usable`` says which entries may be sidecars (not hidden, not ignored). Reads every sidecar: one small file
        each.
        """
        sidecars = {
            entry.name[:-len(ending)] + ending: entry
            for entry in entries
            if (ending := suffix(entry.name)) in (".txt", ".json") and usable(entry)
        }
        out: list[Asset] = []
        taken: set[str] = set()
        for asset in assets:
            if asset.kind is Kind.TEXT:
                out.append(asset)
                continue
            folder, _, name = asset.path.rpartition("/")
            stem = name[: name.rfind(".")]
            keys = (base + end for base in (stem, name) for end in (".txt", ".json"))
            found = [sidecars[key] for key in keys if key in sidecars]
            prefix = folder + "/" if folder else ""
            taken.update(prefix + entry.name for entry in found)
            out += self._with_captions(asset, prefix, found)
        return [asset for asset in out if asset.text is not None or asset.path not in taken]

    def _with_captions(self, image: Asset, prefix: str, found: list[os.DirEntry[str]]) -> list[Asset]:
        captions: list[Asset] = []
        meta: dict[str, Json] = {}
        for entry in found:
            path = prefix + entry.name
            try:
                stat = entry.stat()
                texts, more = parse_sidecar(entry.name, read_file(self._top + path, max_bytes=MAX_TEXT_BYTES))
            except OSError as error:
                self._problems.append(os_problem(path, error))
                continue
            except InputError as error:
                self._problems.append(problem(path, error.reason, error.message))
                continue
            except ValueError as error:
                self._problems.append(problem(path, "bad_captions", str(error)))
                continue
            meta.update(more)
            known = {caption.text for caption in captions}
            for text in texts:
                if text not in known:
                    id = f"{image.id}#caption-{len(captions)}"
                    captions.append(
                        Asset(id, Kind.TEXT, path, stat.st_size, stat.st_mtime_ns, group=image.id, text=text)
                    )
        return [image._replace(group=image.id, meta=meta or None), *captions]
