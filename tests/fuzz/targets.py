"""All targets by name: functions of a seed that return a word for what happened, and raise where a promise is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz import target_images, target_index, target_store, target_tables, target_words


def _model(seed: int) -> str:
    from tests.fuzz import target_models  # imports torch

    return target_models.folder(seed)


def _answers(seed: int) -> str:
    """Forty random filters over random rows, against an evaluator in Python: the test of that name, with this seed."""
    import hypothesis
    import sqlalchemy as sa

    from mmsearch.store.schema import item, metadata
    from tests.store_filters import test_filter_oracle as oracle

    inner = oracle.test_sqlite_finds_what_the_evaluator_finds.hypothesis.inner_test  # type: ignore[attr-defined]
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection, tables=[item])

        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=40, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(table=hypothesis.strategies.lists(oracle.rows, min_size=1, max_size=6), condition=oracle.written())
        def run(table: list[dict[str, Any]], condition: tuple[Any, str, dict[str, Any]]) -> None:
            inner(connection, table, condition)

        run()
    engine.dispose()
    return "equal"


TARGETS: dict[str, Callable[[int], str]] = {
    "pictures": target_images.picture,
    "exif": target_images.exif,
    "headers": target_images.headers,
    "manifests": target_tables.manifest,
    "captions": target_tables.captions,
    "filters": target_words.where,
    "filter-answers": _answers,
    "config": target_words.config,
    "collections": target_store.files,
    "index-files": target_store.crc,
    "index-searches": target_index.searches,
    "models": _model,
}
SHARE = {"pictures": 150, "exif": 150, "headers": 150, "manifests": 60, "captions": 60, "filters": 120, "config": 60,
         "collections": 20, "index-files": 120, "index-searches": 10}  # fmt: skip
"""How many seeds the default tests take of each; models have their own test, beside those that make such folders."""
