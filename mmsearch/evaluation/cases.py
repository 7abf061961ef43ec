"""From judgements to cases: what to ask of a collection, and which of its items are right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.evaluation.readers import Captions, Judgements
from mmsearch.types import Hit, Json, Kind, Query, item, text, vector

if TYPE_CHECKING:
    from mmsearch.collection import Collection

TASKS: dict[str, tuple[str, Kind]] = {
    "text-image": ("text", Kind.IMAGE),
    "image-text": ("image", Kind.TEXT),
    "image-image": ("image", Kind.IMAGE),
}
"""What is asked with and what is found, by the task's name."""


@dataclass(frozen=True, slots=True)
class Case:
    """One query: the ids that answer it with their grades, and the kind of items to be found.

    ``cluster`` names what it shares with other cases (its picture): intervals and tests redraw clusters.
    """

    id: str
    query: Query
    relevant: Mapping[str, int]
    kind: Kind
    cluster: str


def cases(given: Captions | Judgements, collection: Collection, *, task: str = "text-image") -> list[Case]:
    """The cases of ``task`` (``text-image``, ``image-text``, ``image-image``), with the ids that the collection has.

    Captions give text-image (each caption finds its picture) and image-text (each stored picture finds its captions among
    the collection's texts, any picture's caption with the same words counting as well). Judgements give whatever they
    ask; the task says which kind is found. Raises :class:`UsageError` when the collection lacks what is judged.
    """
    if task not in TASKS:
        raise UsageError(f"there is no task {task!r}", hint=f"known: {', '.join(TASKS)}")
    kind = TASKS[task][1]
    if isinstance(given, Judgements):
        return _judged(given, collection, kind)
    if task == "image-image":
        raise UsageError("captions say nothing of pictures that are alike", hint="give judgements, or use --by group")
    ids = _ids_of(given.of, collection)
    if task == "text-image":
        return [
            Case(f"{name}#{n}", text(caption), {ids[name]: 1}, kind, cluster=name)
            for name, captions in given.of.items()
            for n, caption in enumerate(captions)
        ]
    by_text: dict[str, list[str]] = {}
    for hit in everything(collection, Kind.TEXT):
        by_text.setdefault(" ".join((hit.text or "").split()), []).append(hit.id)
    found = [
        Case(name, item(ids[name]), {id: 1 for c in captions for id in by_text.get(" ".join(c.split()), ())}, kind, name)
        for name, captions in given.of.items()
    ]
    if not any(case.relevant for case in found):
        raise UsageError("none of the captions is a text of the collection", hint="index them: mmsearch index --captions")
    return [case for case in found if case.relevant]


def cases_by_group(collection: Collection, field: str = "group", *, kind: Kind = Kind.IMAGE) -> list[Case]:
    """Each item asks for the others with the same ``group``, or the same value of a field of meta (one SKU's photos).

    Items alone in their group are no cases. Reads every item of the kind once. Raises :class:`UsageError` for no cases.
    """
    groups: dict[str, list[str]] = {}
    for hit in everything(collection, kind):
        value: Json = hit.group if field == "group" else hit.meta.get(field)
        if value is not None:
            groups.setdefault(str(value), []).append(hit.id)
    found = [
        Case(id, item(id), {other: 1 for other in ids if other != id}, kind, cluster=name)
        for name, ids in groups.items()
        if len(ids) > 1
        for id in ids
    ]
    if not found:
        raise UsageError(f"no two items of kind {kind} share a value of {field!r}")
    return found


def everything(collection: Collection, kind: Kind) -> Iterable[Hit]:
    """All items of one kind, as hits of a search whose order means nothing. O(n)."""
    return collection.search(vector(np.ones(collection.info.dim)), kind=kind, k=max(1, len(collection)))


def _judged(given: Judgements, collection: Collection, kind: Kind) -> list[Case]:
    relevant = {name: {id: g for id, g in ids.items() if g > 0} for name, ids in given.relevant.items()}
    wanted = {id for ids in relevant.values() for id in ids}
    missing = sorted(id for id in wanted if id not in collection)
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(wanted)} judged items are not in the collection, such as {missing[0]!r}",
            hint="judgements name items by their ids: mmsearch query … --jsonl shows them",
        )
    for name, query in given.queries.items():
        for term in query.terms:
            if term.what == "item" and term.value not in collection:
                raise UsageError(
                    f"the query {name!r} is no item of the collection", hint="say what queries ask with --queries FILE"
                )
    return [Case(name, query, relevant[name], kind, name) for name, query in given.queries.items() if relevant.get(name)]


def _ids_of(names: Iterable[str], collection: Collection) -> dict[str, str]:
    """The id of each picture: its name, or else the one item whose path ends with it."""
    names = list(names)
    ids = {name: name for name in names if name in collection}
    if len(ids) == len(names):
        return ids
    ends: dict[str, list[str]] = {}
    for hit in everything(collection, Kind.IMAGE):
        ends.setdefault((hit.path or hit.id).rsplit("/", 1)[-1], []).append(hit.id)
    for name in names:
        if name not in ids:
            found = ends.get(name.rsplit("/", 1)[-1], [])
            if len(found) != 1:
                how = "no picture" if not found else f"{len(found)} pictures"
                raise UsageError(f"{how} of the collection answer to the name {name!r}", hint="is it all indexed?")
            ids[name] = found[0]
    return ids
