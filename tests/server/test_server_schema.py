"""The documentation is true: requests made from it, valid and not, get answers as it describes them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from mmsearch.collection import Collection
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.server import Options, Tokens, create_app
from tests.server.conftest import READ, WRITE, on_a_port

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

schemathesis.checks.load_all_checks()
acceptance = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
EXAMPLES = int(os.environ.get("MMSEARCH_SCHEMA_EXAMPLES", "2"))
"""For each operation and mode; a thorough run takes 200."""
UNENDING = "/v1/status/events"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, template) -> Iterator[tuple[str, dict]]:
    folder = tmp_path_factory.mktemp("schema") / "shop"
    shutil.copytree(template / "shop", folder)
    with Collection.open(folder, model=ToyEncoder(dim=32)) as collection:
        app = create_app(collection, Options(tokens=Tokens(write=WRITE, read=READ)))
        with on_a_port(app) as address:
            yield address, app.openapi()


@pytest.fixture(scope="module")
def operations(service):
    address, document = service
    schema = schemathesis.openapi.from_dict(
        {**document, "paths": {p: one for p, one in document["paths"].items() if p != UNENDING}}
    )
    schema.config.update(base_url=address)
    return [found.ok() for found in schema.get_all_operations()]


def is_ambiguous(case) -> bool:
    """Whether what is wrong is not sent: a list of one is written as its element, and the token is always there."""
    parameters = case.operation.definition.raw.get("parameters", [])
    lists = {one["name"] for one in parameters if one["in"] == "query" and one["schema"].get("type") == "array"}
    alone = any(name in lists and not isinstance(value, list) for name, value in (case.query or {}).items())
    return alone or "Authorization" not in (case.headers or {})


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_operation_does_what_it_says(operations, mode):
    """All checks of schemathesis but one: status, content type, schema, headers, no server error, wrong data refused …"""
    mode = schemathesis.GenerationMode(mode)
    tried, wrong = set(), []
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # the first failure says enough; to shrink it takes minutes
            database=None,
        )
        @given(case=operation.as_strategy(mode))
        def check(case):
            tried.add(case.operation.label)
            assume(not (mode.is_negative and is_ambiguous(case)))
            # what a filter or a picture means is beyond any schema: such requests may be refused, but not for their form
            answer = case.call_and_validate(headers={"Authorization": f"Bearer {WRITE}"}, excluded_checks=[acceptance])
            if mode.is_positive:
                assert b"does not have the form" not in answer.content, answer.text

        try:
            check()
        except Exception as error:
            if type(error).__name__ not in ("Unsatisfiable", "InvalidSchema"):  # nothing wrong can be sent to /healthz
                wrong.append(f"{operation.label}: {error}")
    assert not wrong, "\n".join(wrong)
    assert len(tried) >= (len(operations) if mode.is_positive else 12)
