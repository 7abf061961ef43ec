"""What the store and exact search cost: bulk commits, point reads, a filtered and a plain search.

    python benchmarks/store.py [--rows 131072] [--dim 512]

No index is built: every allowed row is compared. Searches and reads are medians of 15, wall time: ``ms`` asks the same query
within the same filter again, ``new_ms`` another query within a filter that was not seen before.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from _report import row

import mmsearch as mm
from mmsearch.encoders.toy import ToyEncoder

SEED = 3
BLOCK = 4096
PRICES = 1000
SELECTED = (1.0, 0.5, 0.1, 0.01, 0.001)
RUNS = 15


def median_ms(call: Callable[[], object], runs: int = RUNS) -> float:
    call()
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def main(rows: int, dim: int) -> None:
    rng = np.random.default_rng(SEED)
    base = rng.standard_normal((BLOCK, dim)).astype(np.float32)
    with (
        tempfile.TemporaryDirectory() as tmp,
        mm.Collection.open(Path(tmp) / "c", create=True, model=ToyEncoder(dim=dim)) as collection,
    ):
        wall, cpu = time.perf_counter(), time.process_time()
        for start in range(0, rows, BLOCK):
            noise = rng.standard_normal(dim).astype(np.float32)
            collection.add(
                mm.Item(id=f"item-{start + n}", image=b"-", meta={"price": (start + n) % PRICES}, vector=base[n] + noise)
                for n in range(min(BLOCK, rows - start))
            )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        row("store.add", seed=SEED, rows=rows, dim=dim, rows_per_s=rows / wall, rows_per_cpu_s=rows / cpu)
        query = mm.vector(base[7])
        vids = rng.integers(0, rows, 100)
        with collection._store.snapshot() as snapshot:
            fetch, records = median_ms(lambda: snapshot.fetch(vids)), median_ms(lambda: snapshot.records(vids))
        row("store.read", seed=SEED, rows=rows, fetch_100_ms=fetch, records_100_ms=records, status_ms=median_ms(collection.status))
        for share in SELECTED:
            wheres = [_where(share, n) for n in range(RUNS)]
            fresh = [None, *wheres]  # the first is not counted
            queries = iter([(mm.vector(base[100 + n]), where) for n, where in enumerate(fresh)])

            def new(queries: Iterator[tuple[mm.Query, str | None]] = queries) -> object:
                asked, where = next(queries)
                return collection.search(asked, k=10, where=where)

            new_ms = median_ms(new)
            ms = median_ms(lambda where=wheres[0]: collection.search(query, k=10, where=where))  # type: ignore[misc]
            row("store.search", seed=SEED, rows=rows, dim=dim, selected=share, ms=ms, new_ms=new_ms)


def _where(share: float, number: int) -> str | None:
    """A filter that leaves this share; another one for each number."""
    first = number * 7
    return None if share == 1 else f"price >= {first} and price < {first + round(share * PRICES)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=131_072)
    parser.add_argument("--dim", type=int, default=512)
    args = parser.parse_args()
    main(args.rows, args.dim)
