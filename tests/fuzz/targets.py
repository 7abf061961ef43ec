"""All targets by name: functions of a seed that return a word for what happened, and raise where a promise is broken."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz import target_images, target_store, target_tables, target_words


def _model(seed: int) -> str:
    from tests.fuzz import target_models  # imports torch

    return target_models.folder(seed)


TARGETS: dict[str, Callable[[int], str]] = {
    "pictures": target_images.picture,
    "exif": target_images.exif,
    "headers": target_images.headers,
    "manifests": target_tables.manifest,
    "captions": target_tables.captions,
    "filters": target_words.where,
    "config": target_words.config,
    "collections": target_store.files,
    "index-files": target_store.crc,
    "models": _model,
}
SHARE = {"pictures": 150, "exif": 150, "headers": 150, "manifests": 60, "captions": 60, "filters": 120, "config": 60,
         "collections": 20, "index-files": 30}  # fmt: skip
"""How many seeds the default tests take of each; models have their own test, beside those that make such folders."""
