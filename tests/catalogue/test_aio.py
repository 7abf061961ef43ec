"""The same answers, awaited; and the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import inspect
import time

import mmsearch as mm
from mmsearch.aio import AsyncCollection


def test_the_verbs_answer_as_the_collections_own(products, rows):
    query = mm.vector(rows[3, 0])

    async def ask():
        shop = AsyncCollection(products)
        hits, many, facets = await asyncio.gather(
            shop.search(query, k=4), shop.search_many([query, query], k=2), shop.facets(["brand"])
        )
        status = await shop.update_meta({"p3#title": {"price": 1}})
        return hits, many, facets, status

    hits, many, facets, status = asyncio.run(ask())
    assert hits.ids == products.search(query, k=4).ids
    assert [one.ids for one in many] == [products.search(query, k=2).ids] * 2
    assert facets == products.facets(["brand"])
    assert status[0].status == "updated"
    assert products.get("p3#title").meta["price"] == 1


def test_the_loop_goes_on(shop, toy):
    shop.add([mm.Item("a", text="red")])
    toy._delay = 0.3

    async def ask():
        turns = 0
        task = asyncio.create_task(AsyncCollection(shop).search("a new text"))
        began = time.monotonic()
        while not task.done() and time.monotonic() - began < 5:
            await asyncio.sleep(0.01)
            turns += 1
        await task
        return turns

    assert asyncio.run(ask()) >= 5


def test_it_is_told_what_each_verb_does():
    for name, verb in inspect.getmembers(AsyncCollection, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            assert verb.__doc__ == f"As :meth:`Collection.{name}`, awaited."
