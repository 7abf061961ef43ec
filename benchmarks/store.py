"""What the store and exact search cost: bulk commits, point reads, filters, a filtered and a plain search.

    python benchmarks/store.py [--rows 131072] [--dim 512] [--rich]

No index is built: every allowed row is compared. Times are wall, with ``_cpu`` those of the process (a busy machine stretches
the first only); medians of 15 unless said otherwise.

- ``store.search``: ``ms`` asks the same query within the same filter again, ``new_ms`` another query within a filter that was
  not seen before, on a field that was.
- ``store.filter``: the first condition on a field after opening (median of 3), another one on it, the first after a commit of
  one batch and after one item was replaced (of 5 each); the whole search. Then the field's facets.
- ``store.status``: after opening (of 3), after a commit (of 5), and again.
- ``store.cold``: a process that opens the collection, searches once and ends, with a filter and without (median of 5).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _report import row
from numpy.typing import NDArray

import mmsearch as mm
from mmsearch.encoders.toy import ToyEncoder

SEED = 3
BLOCK = 4096
PRICES = 1000
BRANDS = 300
SELECTED = (1.0, 0.5, 0.1, 0.01, 0.001)
RUNS, FEW, OPENINGS = 15, 5, 3
COLD = """
import sys, numpy as np, mmsearch as mm
with mm.Collection.open(sys.argv[1]) as collection:
    query = mm.vector(np.random.default_rng(0).standard_normal(int(sys.argv[2])).astype(np.float32))
    assert collection.search(query, k=10, where=sys.argv[3] or None)
"""


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU ms of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def medians(name: str, times: Iterable[tuple[float, float]]) -> dict[str, float]:
    wall, cpu = zip(*times, strict=True)
    return {f"{name}_ms": statistics.median(wall), f"{name}_cpu_ms": statistics.median(cpu)}


def median_ms(call: Callable[[], object], runs: int = RUNS) -> float:
    call()
    return statistics.median(timed(call)[0] for _ in range(runs))


class Made:
    """A collection of made items, filled block by block. ``rich``: five fields for each item instead of one."""

    def __init__(self, folder: Path, rows: int, dim: int, *, rich: bool) -> None:
        self.rows, self.dim, self.rich, self.path = rows, dim, rich, folder / "c"
        self.rng = np.random.default_rng(SEED)
        self.base: NDArray[np.float32] = self.rng.standard_normal((BLOCK, dim)).astype(np.float32)

    def open(self) -> mm.Collection:
        return mm.Collection.open(self.path, create=True, model=ToyEncoder(dim=self.dim))

    def items(self, start: int, count: int) -> Iterator[mm.Item]:
        noise = self.rng.standard_normal(self.dim).astype(np.float32)
        for n in range(count):
            yield mm.Item(id=f"item-{start + n}", image=b"-", meta=self.meta(start + n), vector=self.base[n] + noise)

    def meta(self, n: int) -> dict[str, Any]:
        if not self.rich:
            return {"price": n % PRICES}
        mixed = n * 2654435761 % 2**32  # Knuth's: spread out, and the same in each run
        few = {"brand": f"Brand {mixed % BRANDS}", "rating": mixed % 500 / 100, "stock": mixed % 10 < 7}
        return {"price": n % PRICES, **few, "title": f"A thing of number {n}"}


def main(rows: int, dim: int, *, rich: bool) -> None:
    with tempfile.TemporaryDirectory() as tmp:
        made = Made(Path(tmp), rows, dim, rich=rich)
        told = {"seed": SEED, "rows": rows, "dim": dim, "rich": rich}
        with made.open() as collection:
            wall, cpu = time.perf_counter(), time.process_time()
            for start in range(0, rows, BLOCK):
                collection.add(made.items(start, min(BLOCK, rows - start)))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            row("store.add", **told, rows_per_s=rows / wall, rows_per_cpu_s=rows / cpu)
        statuses(made, told)
        with made.open() as collection:
            searches(made, collection, told)
        for name, where in FILTERS[: None if rich else 1]:
            filters(made, name, where, told)
        cold(made, told)


def statuses(made: Made, told: dict[str, Any]) -> None:
    opened = []
    for _ in range(OPENINGS):
        with made.open() as collection:
            opened.append(timed(collection.status))
    with made.open() as collection:
        changed = []
        for _ in range(FEW):
            collection.add(made.items(0, 1))
            changed.append(timed(collection.status))
        again = median_ms(collection.status)
    row("store.status", **told, **medians("opened", opened), **medians("changed", changed), again_ms=again)


def searches(made: Made, collection: mm.Collection, told: dict[str, Any]) -> None:
    query, vids = mm.vector(made.base[7]), made.rng.integers(1, made.rows, 100)
    with collection._store.snapshot() as snapshot:
        fetch, records = median_ms(lambda: snapshot.fetch(vids)), median_ms(lambda: snapshot.records(vids))
    row("store.read", **told, fetch_100_ms=fetch, records_100_ms=records)
    for share in SELECTED:
        wheres = [_where(share, n) for n in range(RUNS)]
        fresh = [None, *wheres]  # the first is not counted
        queries = iter([(mm.vector(made.base[100 + n]), where) for n, where in enumerate(fresh)])
        if share < 1:
            collection.search(query, k=10, where="price < 0")  # the field is known

        def new(queries: Iterator[tuple[mm.Query, str | None]] = queries) -> object:
            asked, where = next(queries)
            return collection.search(asked, k=10, where=where)

        new_ms = median_ms(new)
        ms = median_ms(lambda where=wheres[0]: collection.search(query, k=10, where=where))  # type: ignore[misc]
        row("store.search", **told, selected=share, ms=ms, new_ms=new_ms)


FILTERS: list[tuple[str, Callable[[int], str]]] = [
    ("price", lambda n: f"price >= {n} and price < {n + 10}"),
    ("brand", lambda n: f"brand = 'Brand {n}'"),
    ("rating", lambda n: f"rating > {4 + n / 100}"),
    ("stock", lambda n: f"stock = true and price = {n}"),
    ("title", lambda n: f"title = 'A thing of number {n}'"),
]


def filters(made: Made, name: str, where: Callable[[int], str], told: dict[str, Any]) -> None:
    query, number = mm.vector(made.base[7]), iter(range(1000))

    def search(collection: mm.Collection) -> tuple[float, float]:
        return timed(lambda: collection.search(query, k=10, where=where(next(number))))

    first, facet = [], []
    for _ in range(OPENINGS):
        with made.open() as collection:
            collection.search(query, k=10)
            first.append(search(collection))
            facet.append(timed(lambda: collection.facets([name])))  # noqa: B023 - called at once
    with made.open() as collection:
        search(collection)
        other = [search(collection) for _ in range(RUNS)]
        after_add, after_replace = [], []
        for n in range(FEW):
            collection.add(made.items(made.rows + n * BLOCK, BLOCK))
            after_add.append(search(collection))
        for n in range(FEW):
            collection.add(made.items(n, 1))
            after_replace.append(search(collection))
        collection.delete(f"item-{made.rows + n}" for n in range(FEW * BLOCK))
    figures = {"first": first, "other": other, "after_add": after_add, "after_replace": after_replace, "facets": facet}
    row("store.filter", **told, field=name, **{key: value for one in figures for key, value in medians(one, figures[one]).items()})


def cold(made: Made, told: dict[str, Any]) -> None:
    figures = {}
    for name, where in (("filtered", "price < 50"), ("plain", "")):
        times = []
        for _ in range(FEW):
            wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", COLD, str(made.path), str(made.dim), where], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            times.append(((time.perf_counter() - wall) * 1000, cpu * 1000))
        figures |= medians(name, times)
    row("store.cold", **told, **figures)


def _where(share: float, number: int) -> str | None:
    """A filter that leaves this share; another one for each number."""
    first = number * 7
    return None if share == 1 else f"price >= {first} and price < {first + round(share * PRICES)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=131_072)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rich", action="store_true", help="five fields of metadata for each item, not one")
    args = parser.parse_args()
    main(args.rows, args.dim, rich=args.rich)
