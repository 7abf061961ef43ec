"""Queries at the same time are answered by one call; the queue has an end; who leaves is not waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from mmsearch.collection import Collection
from mmsearch.server.batching import Batcher, CallerGone
from mmsearch.server.bodies import Caller
from mmsearch.server.errors import Problem
from mmsearch.server.metrics import Metrics
from mmsearch.server.queries import Call
from mmsearch.server.searcher import answer_all
from mmsearch.types import image, text
from tests.server.conftest import picture


class Calls:
    """A slow function that remembers what it was called with; it goes on when ``go`` is set."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.seen: list[list[int]] = []

    def __call__(self, calls: Sequence[int]) -> list[int | Exception]:
        self.seen.append(list(calls))
        self.begun.set()
        assert self.go.wait(10)
        return [ValueError(str(call)) if call < 0 else call * 10 for call in calls]


def forever(left):
    """A caller who stays."""
    return lambda: None


async def until(batcher: Batcher, waiting: int) -> None:
    while len(batcher._waiting) != waiting:
        await asyncio.sleep(0.001)


def run(scenario, *, batch=4, queue=8, workers=1):
    async def whole():
        calls, metrics = Calls(), Metrics()
        batcher = Batcher(calls, batch=batch, queue=queue, workers=workers, metrics=metrics)
        batcher.start()
        try:
            await asyncio.wait_for(scenario(batcher, calls, metrics), 20)
        finally:
            calls.go.set()
            await batcher.stop()

    asyncio.run(whole())


def test_one_goes_at_once_and_those_that_come_meanwhile_go_together():
    async def scenario(batcher, calls, metrics):
        first = asyncio.create_task(batcher.ask(1, forever))
        await asyncio.to_thread(calls.begun.wait)
        rest = [asyncio.create_task(batcher.ask(n, forever)) for n in range(2, 8)]
        await until(batcher, 6)
        calls.go.set()
        assert [answer for answer, _ in await asyncio.gather(first, *rest)] == [10, 20, 30, 40, 50, 60, 70]
        assert calls.seen == [[1], [2, 3, 4, 5], [6, 7]]
        assert (await batcher.ask(9, forever))[1]["batch"] == 1
        assert metrics.registry.get_sample_value("mmsearch_batch_queries_sum") == 8

    run(scenario)


def test_a_full_queue_refuses_with_a_time_to_come_back():
    async def scenario(batcher, calls, metrics):
        tasks = [asyncio.create_task(batcher.ask(0, forever))]
        await asyncio.to_thread(calls.begun.wait)
        tasks += [asyncio.create_task(batcher.ask(n, forever)) for n in range(8)]
        await until(batcher, 8)
        with pytest.raises(Problem) as refused:
            await batcher.ask(99, forever)
        assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "1"})
        assert metrics.registry.get_sample_value("mmsearch_refused_total") == 1
        calls.go.set()
        await asyncio.gather(*tasks)
        assert all(99 not in seen for seen in calls.seen)

    run(scenario)


def test_a_caller_who_leaves_takes_the_query_out_of_the_queue():
    async def scenario(batcher, calls, metrics):
        first = asyncio.create_task(batcher.ask(1, forever))
        await asyncio.to_thread(calls.begun.wait)
        caller = Caller()
        leaves = asyncio.create_task(batcher.ask(2, caller.watch))
        cancelled = asyncio.create_task(batcher.ask(3, forever))
        stays = asyncio.create_task(batcher.ask(4, forever))
        await until(batcher, 3)
        caller.leave()
        cancelled.cancel()
        await until(batcher, 1)
        with pytest.raises(CallerGone):
            await leaves
        calls.go.set()
        assert [(await first)[0], (await stays)[0]] == [10, 40]
        assert calls.seen == [[1], [4]]
        assert metrics.registry.get_sample_value("mmsearch_cancelled_total") == 1

    run(scenario)


def test_an_error_is_the_error_of_its_own_query():
    async def scenario(batcher, calls, metrics):
        calls.go.set()
        results = await asyncio.gather(*(batcher.ask(n, forever) for n in (1, -2, 3)), return_exceptions=True)
        assert [results[0][0], str(results[1]), results[2][0]] == [10, "-2", 30]

    run(scenario)


def test_what_waits_is_answered_before_the_end():
    async def whole():
        calls = Calls()
        batcher = Batcher(calls, batch=1, queue=8, workers=1, metrics=Metrics())
        batcher.start()
        tasks = [asyncio.create_task(batcher.ask(n, forever)) for n in range(4)]
        await asyncio.to_thread(calls.begun.wait)
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        with pytest.raises(Problem):
            await batcher.ask(9, forever)
        calls.go.set()
        assert [answer for answer, _ in await asyncio.gather(*tasks)] == [0, 10, 20, 30]
        await stopping

    asyncio.run(whole())


def test_a_batch_gives_what_single_searches_give_and_encodes_once(library: Collection, monkeypatch):
    options = {"k": 3, "kind": "image"}
    calls = [Call(text(word), options=options) for word in ("red sofa", "blue sofa", "green sofa")]
    calls += [
        Call(image(picture("pink")), options=options),
        Call(None, ("red.png",), options={"k": 2}),
        Call(text("pink sofa"), options={"k": 1, "kind": "text"}),
        Call(text("a"), options={"k": 1, "where": "nonsense <"}),
    ]
    batches = []
    encode = type(library.encoder).encode_texts
    monkeypatch.setattr(
        type(library.encoder), "encode_texts", lambda self, batch: batches.append(list(batch)) or encode(self, batch)
    )
    answers = answer_all(library, calls)
    assert sorted(batches[0]) == ["blue sofa", "green sofa", "red sofa"]
    for call, answer in zip(calls[:4], answers, strict=False):
        assert answer.hits.ids == library.search(call.query, **call.options).ids
    assert answers[4].hits.ids == library.similar("red.png", k=2).ids
    assert answers[5].hits.ids == library.search("pink sofa", kind="text", k=1).ids
    assert "does not read as a condition" in str(answers[6])


def test_one_bad_query_does_not_spoil_its_batch(library: Collection):
    calls = [
        Call(text("red"), options={"k": 1}),
        Call(text("red") - text("red"), options={"k": 1}),
        Call(text("blue"), options={"k": 1}),
    ]
    answers = answer_all(library, calls)
    assert [answers[0].hits.ids, answers[2].hits.ids] == [["red.png"], ["blue.png"]]
    assert "cancel" in str(answers[1])
