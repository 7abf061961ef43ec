"""The power goes: nothing acknowledged is lost, nothing is there by half; and the check sees it when a promise is broken."""

from __future__ import annotations

import random

import pytest

from tests.faults import inject, power, replay, trace
from tests.faults.mutants import MUTANTS
from tests.faults.trace import Event

STATES = 50
LIMIT = 150  # power cuts within which a mutant must be noticed
MUTANT_LIFE = 28  # one with many indexes and compactions

traced = pytest.mark.skipif(not trace.available(), reason="strace is missing, or may not trace here")


@pytest.fixture(scope="module")
def recorded() -> power.Recorded:
    return power.run_life(seed=4, steps=20)


@traced
def test_the_record_is_complete(recorded: power.Recorded) -> None:
    """Replayed without loss it gives the files that the life has left, byte for byte."""
    replayed = replay.everything(recorded.events)
    assert replayed.keys() == recorded.final.keys()
    different = {path for path, content in replayed.items() if content != recorded.final[path]}
    assert different <= {f"{power.lives.PLACE}/catalog.db-shm"}  # memory that processes share; nothing after a power cut
    said = [event.data.decode() for event in recorded.events if event.what == "said"]
    assert said[:20] == [f"ack {number}" for number in range(20)]


@traced
def test_power_cuts_lose_nothing(recorded: power.Recorded) -> None:
    assert [wrong for wrong in power.cuts(recorded, STATES, seed=1) if wrong] == []


@traced
@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_is_noticed(mutant: str) -> None:
    assert power.caught_after(mutant, LIMIT, seed=MUTANT_LIFE, steps=25) is not None


@traced
def test_the_life_of_the_mutants_is_sound() -> None:
    """What was noticed above is the mutants' own fault."""
    assert power.campaign(MUTANT_LIFE, 12, steps=25).bad == []


@traced
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_calls_of_sqlite_may_fail() -> None:
    """Some of each kind that SQLite makes to change its files."""
    steps = 12
    chosen = inject.points(power.run_life(4, steps).events, 40, seed=1)
    assert {call for call, _, _ in chosen} >= {"pwrite64", "fdatasync", "ftruncate"}
    ends = [inject.survives(4, steps, point) for point in chosen]
    assert "StorageError" in ends


SYNCED = [
    Event("create", "a", 0),
    Event("write", "a", 0, 0, b"x" * 10_000),
    Event("sync", "a", 0),
    Event("sync_folder", ""),
]
LATER = [
    Event("write", "a", 0, 4096, b"y" * 8192),
    Event("create", "b", 1),
    Event("write", "b", 1, 0, b"z"),
    Event("sync", "b", 1),
    Event("rename", "b", 1, target="c"),
    Event("unlink", "a", 0),
]


def test_what_is_synced_is_kept() -> None:
    for seed in range(50):
        assert replay.after_power_cut(SYNCED, random.Random(seed)) == {"a": b"x" * 10_000}


def test_what_is_not_synced_is_kept_in_part() -> None:
    contents, names = set(), set()
    for seed in range(300):
        state = replay.after_power_cut(SYNCED + LATER, random.Random(seed))
        names.add(tuple(state))
        if "a" in state:
            content = state["a"]
            assert content is not None
            assert content[:4096] == b"x" * 4096
            assert len(content) in {10_000, 12_288} or len(content) % 512 == 0
            contents.add(content)
        assert state.get("b", b"z") == state.get("c", b"z") == b"z"  # its content was synced, only its name was not
    assert names == {("a",), ("a", "b"), ("a", "c"), ("c",)}
    both = b"x" * 4096 + b"y" * 8192
    second = b"x" * 8192 + b"x" * 1808 + bytes(0)
    assert {both, second, b"x" * 8192 + b"y" * 4096, b"x" * 4096 + b"y" * 4096 + b"x" * 1808} <= contents


def test_a_lost_piece_of_a_new_file_is_zeros_or_missing() -> None:
    events = [Event("create", "a", 0), Event("sync_folder", ""), Event("write", "a", 0, 0, b"y" * 8192)]
    found = {replay.after_power_cut(events, random.Random(seed))["a"] for seed in range(200)}
    assert {b"", b"y" * 8192, b"y" * 4096, bytes(4096) + b"y" * 4096} <= found
