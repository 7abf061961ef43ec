"""What a person types, as a query: ``2:cat``, ``./cat.jpg``, ``horse + stripes``, ``-i photo.jpg --not dog``."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mmsearch.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.types import Query, Term

_WEIGHT = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)):(.+)", re.DOTALL)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_LIKE_PATH = re.compile(r"(\.{1,2}|~)?/")


def build(words: Sequence[str], *, images: Sequence[str] = (), texts: Sequence[str] = (), nots: Sequence[str] = (),
          like: Sequence[str] = (), unlike: Sequence[str] = (), crop: str | None = None) -> Query:
    """All parts of a query, summed. A bad one is a :class:`click.UsageError` that names it."""
    from mmsearch.types import Query, Term

    terms: list[Term] = [*_positional(words)]
    terms += [_image_option(value) for value in images]
    terms += [Term("text", *_split(value)) for value in texts]
    terms += [_negated(_word(value)) for value in nots]
    terms += [Term("item", value) for value in like]
    terms += [Term("item", value, -1.0) for value in unlike]
    if not terms:
        raise click.UsageError("say what to look for: a text, an image (-i), or an item (--like)")
    for term in terms:
        if term.what == "text" and not term.value.strip():
            raise click.UsageError("the text to search for is empty")
    return Query(tuple(_cropped(terms, crop) if crop else terms))


def _positional(words: Sequence[str]) -> list[Term]:
    """Words in a row are one text; ``+``, ``-``, a weight or an image's name begin a new term."""
    terms: list[Term] = []
    open_text = False
    sign = 1.0
    for word in words:
        if word in ("+", "-"):
            open_text, sign = False, 1.0 if word == "+" else -1.0
            continue
        term = _word(word)
        if open_text and term.what == "text" and term.value == word:
            last = terms.pop()
            terms.append(type(last)("text", f"{last.value} {word}", last.weight))
            continue
        terms.append(type(term)(term.what, term.value, term.weight * sign))
        open_text, sign = term.what == "text", 1.0
    return terms


def _word(word: str) -> Term:
    """One word: an image if a file with an image's suffix has this name, else a text. ``2:`` in front is a weight."""
    from mmsearch.types import Term

    for value, weight in ((word, 1.0), _split(word)):
        if _URL.match(value):
            raise _no_url(value)
        if _is_image_name(value):
            path = os.path.expanduser(value)
            if os.path.isfile(path):
                return Term("image", path, weight)
            if _LIKE_PATH.match(value):
                raise click.UsageError(f"there is no image {value!r}")
    value, weight = _split(word)
    return Term("text", value, weight)


def _is_image_name(value: str) -> bool:
    ending = os.path.splitext(value)[1].lower()
    if not ending:
        return False
    from mmsearch.sources.files import KINDS  # imported late: most words are no file names
    from mmsearch.types import Kind

    return KINDS.get(ending) is Kind.IMAGE


def _image_option(value: str) -> Term:
    from mmsearch.types import Term

    if value == "-":
        data = sys.stdin.buffer.read()
        if not data:
            raise click.UsageError("-i - reads an image from stdin, and nothing came")
        return Term("image", data)
    for name, weight in ((value, 1.0), _split(value)):
        if _URL.match(name):
            raise _no_url(name)
        path = os.path.expanduser(name)
        if os.path.isfile(path):
            return Term("image", path, weight)
        if os.path.isdir(path):
            raise click.UsageError(f"{name!r} is a folder, and -i takes an image")
    raise click.UsageError(f"there is no image {value!r}")


def _split(value: str) -> tuple[str, float]:
    """``2:cat`` → ``("cat", 2.0)``."""
    found = _WEIGHT.fullmatch(value)
    return (found[2], float(found[1])) if found else (value, 1.0)


def _negated(term: Term) -> Term:
    return type(term)(term.what, term.value, -term.weight)


def _no_url(value: str) -> click.UsageError:
    return click.UsageError(f"{value!r} is an address, and nothing is fetched: save the image, then give its path")


def _cropped(terms: Sequence[Term], crop: str) -> list[Term]:
    pictures = [term for term in terms if term.what == "image"]
    if len(pictures) != 1:
        raise click.UsageError(f"--crop needs exactly one query image, and there are {len(pictures)}")
    cut = crop_image(pictures[0].value, crop)
    return [type(term)("image", cut, term.weight) if term.what == "image" else term for term in terms]


def crop_image(source: str | bytes, crop: str) -> Image:
    """The part ``X,Y,W,H`` of an image, in pixels of the upright image or, if none exceeds 1, in fractions of it."""
    from mmsearch.errors import QueryError
    from mmsearch.images.region import cut

    try:
        box = [float(part) for part in crop.split(",")]
    except ValueError:
        box = []
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise click.UsageError(f"--crop takes four numbers X,Y,W,H, not {crop!r}")
    picture = _opened(source)
    try:
        return cut(picture, box)
    except QueryError:
        raise click.UsageError(f"--crop {crop} leaves nothing of an image of {picture.width}×{picture.height} pixels") from None


def parameters(pairs: Sequence[str]) -> dict[str, str | float | bool | None]:
    """``--param price=50``: numbers, ``true``, ``false`` and ``null`` become what they say, all else stays text."""
    import json

    values: dict[str, str | float | bool | None] = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found or not name.isidentifier():
            raise click.UsageError(f"--param takes NAME=VALUE, not {pair!r}")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        values[name] = parsed if parsed is None or isinstance(parsed, str | int | float | bool) else value
    return values


def named(error: InputError, query: Query) -> InputError:
    """The error of a query's picture, with the picture's name."""
    for term in query.terms:
        if term.what == "image" and isinstance(term.value, str | bytes):
            try:
                _opened(term.value)
            except InputError as found:
                return found
    return error


def _opened(source: str | bytes) -> Image:
    """The upright picture; an error says which it is of."""
    from mmsearch import images

    try:
        return images.open_image(images.read_file(source) if isinstance(source, str) else source)[0]
    except InputError as error:
        name = source if isinstance(source, str) else "on stdin"
        raise InputError(error.reason, f"the picture {name}: {error.message}", hint=error.hint) from error
