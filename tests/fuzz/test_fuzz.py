"""A small share of ``make fuzz``, with new seeds each time: bad bytes of every kind, and what may happen then."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SHARE, TARGETS


@pytest.mark.parametrize("name", SHARE)
def test_bad_bytes(name: str) -> None:
    ask, count = TARGETS[name], SHARE[name]
    seen: set[str] = set()

    # a seed cannot be made smaller, so that hypothesis only chooses, and remembers those that failed
    @settings(max_examples=count, deadline=None, phases=[Phase.reuse, Phase.generate], suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**32 - 1))
    def run(seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, over rows that have become NaN
            seen.add(ask(seed))

    run()
    assert len(seen) > 1, "all seeds did the same: nothing was damaged, or nothing read"


def test_a_seed_gives_the_same_damage_for_ever() -> None:
    for name in ("pictures", "manifests", "filters"):
        ask = TARGETS[name]
        assert [ask(seed) for seed in range(15)] == [ask(seed) for seed in range(15)]
