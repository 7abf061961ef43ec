"""JSON merge patch (RFC 7386): the part of an object that changes, ``None`` for what goes."""

from __future__ import annotations

from collections.abc import Mapping

from mmsearch.errors import UsageError
from mmsearch.types import Json


def merged(target: Json, patch: Json) -> Json:
    """``target`` with ``patch`` applied, both left as they are.

    >>> merged({"price": 40, "size": {"s": 1, "m": 2}}, {"price": 35, "size": {"s": None}})
    {'price': 35, 'size': {'m': 2}}
    """
    if not isinstance(patch, Mapping):
        return patch
    out = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def checked(patches: Mapping[str, Json]) -> dict[str, Mapping[str, Json]]:
    """The patches, each known to be an object with string keys. Raises :class:`UsageError`."""
    for id, patch in patches.items():
        if not isinstance(patch, Mapping) or not all(isinstance(key, str) for key in patch):
            raise UsageError(f"the patch of {id!r} is not an object", hint='as in {"sku-1": {"price": 35, "old": None}}')
    return dict(patches)
