"""Runs a batch of searches on one collection; each gets its own answer, or its own error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmsearch.collection import Collection
from mmsearch.server.queries import Call
from mmsearch.types import Hits


class Found(NamedTuple):
    """The hits, and the roots that their paths lie below."""

    hits: Hits
    roots: Mapping[str, str]


def answer_all(collection: Collection, calls: Sequence[Call]) -> list[Found | Exception]:
    """An answer or an exception for each call, in their order. Calls with the same options are searched together."""
    roots = collection.roots()
    together: dict[str, list[int]] = {}
    for at, call in enumerate(calls):
        key = f"{at}" if call.query is None else repr(call.options)
        together.setdefault(key, []).append(at)
    answers: dict[int, Found | Exception] = {}
    for members in together.values():
        answers |= _some(collection, calls, members, roots)
    return [answers[at] for at in range(len(calls))]


def _some(
    collection: Collection, calls: Sequence[Call], members: Sequence[int], roots: Mapping[str, str]
) -> dict[int, Found | Exception]:
    queries = [call.query for at in members if (call := calls[at]).query is not None]
    if len(queries) > 1:
        try:
            found = collection.search_many(queries, **calls[members[0]].options)
        except Exception:  # what is wrong with one is raised for all: each on its own, then, and only the wrong one fails
            pass
        else:
            return {at: Found(hits, roots) for at, hits in zip(members, found, strict=True)}
    return {at: _one(collection, calls[at], roots) for at in members}


def _one(collection: Collection, call: Call, roots: Mapping[str, str]) -> Found | Exception:
    try:
        if call.query is None:
            return Found(collection.similar(call.ids, unlike=call.unlike, **call.options), roots)
        return Found(collection.search(call.query, **call.options), roots)
    except Exception as error:
        return error
