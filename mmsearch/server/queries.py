"""A request's terms → a query and its options, within the limits. Pictures come as bytes, never as a path or a name."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmsearch.collection.searching import UNLIKE
from mmsearch.server.asking import Filtered, SearchIn, TermIn
from mmsearch.server.errors import Problem
from mmsearch.server.options import Limits, Options
from mmsearch.types import Query, Term

ToPicture = Callable[[bytes], Awaitable[Any]]
Fetch = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Call:
    """One search, ready to run: ``Collection.search(query, **options)``, or ``similar(ids, unlike=…, **options)``."""

    query: Query | None
    ids: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def options_of(asked: Filtered, options: Options) -> dict[str, Any]:
    """The keyword arguments of a search. Raises :class:`Problem` 422 where the service allows less."""
    limits = options.limits
    _within("k", asked.k, limits.k)
    _within("offset", asked.offset, limits.offset)
    _within("candidates", asked.candidates or 0, limits.candidates)
    _within("params", len(asked.params), limits.params)
    _within("the length of where", len(asked.where or ""), limits.where_chars)
    for value in asked.params.values():
        _within("the length of a parameter", len(value) if isinstance(value, str) else 0, limits.text_chars)
    rerank = None if asked.rerank in (None, "none") else asked.rerank
    if rerank is not None and rerank not in options.rerankers:
        # "model:NAME" would load whatever a caller names
        raise Problem(422, "this service does not allow that reranker", hint=f"it allows: none, {', '.join(options.rerankers)}")
    names = (
        "kind",
        "k",
        "offset",
        "where",
        "params",
        "group_by",
        "boost",
        "collapse",
        "diversity",
        "cutoff",
        "relevance",
        "lexical",
    )
    found = {name: getattr(asked, name) for name in names} | {"rerank": rerank}
    if asked.fields is not None:
        found["fields"] = asked.fields
    later = ("candidates", "exact", "judged")  # left to the collection where the caller does not say
    found |= {name: value for name in later if (value := getattr(asked, name)) is not None}
    return found


def _within(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise Problem(422, f"{name} is {value}, and this service allows {limit} at most")


async def terms_of(asked: SearchIn, limits: Limits, to_picture: ToPicture, fetch: Fetch) -> tuple[Term, ...]:
    """All terms of a search, pictures decoded. Raises :class:`Problem`."""
    count = (asked.text is not None) + len(asked.terms) + len(asked.like) + len(asked.unlike)
    _within("the number of terms", count, limits.terms)
    terms = [] if asked.text is None else [_words(asked.text, 1.0, limits)]
    terms += [await _term(term, limits, to_picture, fetch) for term in asked.terms]
    terms += [Term("item", id, 1.0 / len(asked.like)) for id in asked.like]
    terms += [Term("item", id, -UNLIKE / len(asked.unlike)) for id in asked.unlike]
    if not terms:
        raise Problem(422, "the query has no terms", hint='say what to look for: {"text": "red dress"}')
    return tuple(terms)


def _words(text: str, weight: float, limits: Limits) -> Term:
    _within("the length of a text", len(text), limits.text_chars)
    if not text.strip():
        raise Problem(422, "the text to search for is empty")
    return Term("text", text, weight)


async def _term(term: TermIn, limits: Limits, to_picture: ToPicture, fetch: Fetch) -> Term:
    if term.text is not None:
        return _words(term.text, term.weight, limits)
    if term.id is not None:
        return Term("item", term.id, term.weight)
    if term.vector is not None:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            return Term("vector", np.asarray(term.vector, dtype=np.float32), term.weight)
    data = unbase64(term.image) if term.image is not None else await fetch(str(term.url))
    return Term("image", await to_picture(data), term.weight)


def named(term: Term) -> str:
    """A term as an explanation calls it; pictures and vectors have no name."""
    return str(term.value) if term.what in ("text", "item") else f"the {term.what}"


def unbase64(value: str) -> bytes:
    """The bytes. Raises :class:`Problem` 422."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(422, "a picture is not base64") from None
