"""Names → what ``rerank="deep"`` looks with: ``deep`` is mini's own matching head, ``deep:/path`` a model of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmsearch.cache import Cache
from mmsearch.rerankers.deep import DeepReranker, Matcher
from mmsearch.rerankers.deep_cells import Cells
from mmsearch.store import Snapshot

__all__ = ["deep_reranker", "matcher"]

TOP = 50


def matcher(name: str) -> Matcher:
    """The matcher of ``"deep"`` or ``"deep:/path/to/model"``. Free: nothing is loaded.

    A folder with ``match.json`` holds towers with a head as mini does; any other is read by
    :func:`mmsearch.rerankers.deep_models.open_model`. Raises :class:`ModelNotFound` and :class:`UsageError`.
    """
    _, _, path = name.partition(":")
    from mmsearch.encoders.matching import CARD, OnnxMatcher

    if not path:
        return OnnxMatcher()
    folder = Path(path).expanduser()
    if (folder / CARD).is_file():
        return OnnxMatcher(folder)
    from mmsearch.rerankers.deep_models import open_model

    return open_model(folder)


def deep_reranker(name: str, snapshot: Snapshot, cache: Cache) -> DeepReranker:
    """The reranker for one search. The matcher, and what it made of pictures, stay in ``cache`` for the next ones.

    The built-in head's cells are also kept in the user's cache folder, so that a later run need not open the pictures.
    """

    def made() -> tuple[Matcher, Cells]:
        found = matcher(name)
        return found, Cells(_folder(found))

    with_, cells = cache.get(("deep", name), made)
    return DeepReranker(with_, top=TOP, cells=cells, digests=lambda vids: _digests(snapshot, vids))


def _folder(found: Matcher) -> Path | None:
    from mmsearch.encoders.matching import OnnxMatcher

    if not isinstance(found, OnnxMatcher):
        return None  # a large model's states are megabytes a picture
    import platformdirs

    identity = hashlib.sha256(found.fingerprint.encode()).hexdigest()
    return platformdirs.user_cache_path("mmsearch", appauthor=False) / "cells" / identity[:32]


def _digests(snapshot: Snapshot, vids: Sequence[int]) -> Mapping[int, bytes]:
    return {one.vid: one.digest for one in snapshot.records(list(vids)) if one.digest is not None}
