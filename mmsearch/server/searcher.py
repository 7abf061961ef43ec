"""Runs a batch of searches on one collection; each gets its own answer, or its own error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmsearch.collection import Collection
from mmsearch.server.queries import Call
from mmsearch.types import Hits


class Found(NamedTuple):
    """The hits, and the folders that their paths lie below, each with a slash at its end, the longest first."""

    hits: Hits
    folders: Sequence[str]


def answer_all(collection: Collection, calls: Sequence[Call]) -> list[Found | Exception]:
    """An answer or an exception for each call, in their order. Calls with the same options are searched together."""
    folders = sorted((path.rstrip("/") + "/" for path in collection.roots().values()), key=len, reverse=True)
    together: dict[str, list[int]] = {}
    for at, call in enumerate(calls):
        key = f"{at}" if call.query is None else repr(call.options)
        together.setdefault(key, []).append(at)
    answers: dict[int, Found | Exception] = {}
    for members in together.values():
        answers |= _some(collection, calls, members, folders)
    return [answers[at] for at in range(len(calls))]


def _some(
    collection: Collection, calls: Sequence[Call], members: Sequence[int], folders: Sequence[str]
) -> dict[int, Found | Exception]:
    queries = [call.query for at in members if (call := calls[at]).query is not None]
    if len(queries) > 1:
        try:
            found = collection.search_many(queries, **calls[members[0]].options)
        except Exception:  # what is wrong with one is raised for all: each on its own, then, and only the wrong one fails
            pass
        else:
            return {at: Found(hits, folders) for at, hits in zip(members, found, strict=True)}
    return {at: _one(collection, calls[at], folders) for at in members}


def _one(collection: Collection, call: Call, folders: Sequence[str]) -> Found | Exception:
    try:
        if call.query is None:
            return Found(collection.similar(call.ids, unlike=call.unlike, **call.options), folders)
        return Found(collection.search(call.query, **call.options), folders)
    except Exception as error:
        return error
