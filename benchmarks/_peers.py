"""The other contenders of ``search.py``. Runs by itself in an environment of its own that has them installed.

    PEERS/bin/python benchmarks/_peers.py VECTORS.npz NAME

Reads ``rows images texts truth_image truth_text``, prints one JSON line for each setting, and then ``{"ready": …}``. From then
on it answers each line ``SETTING SIZE`` on its input with queries per CPU second of that setting, ``SIZE`` queries at a time: so
it can take turns with others. Times are CPU seconds of the whole process, all its threads: on a machine that others use too,
that is what can be compared.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version

import numpy as np

K, BATCH = 10, 64
SLOW, FEW = 0.003, 100
"""A contender that takes so many seconds a query is asked so few queries."""
Search = Callable[[np.ndarray], np.ndarray]
Setting = tuple[str, Callable[[], None], Search, dict]
"""Its name, what to call before it is used, the search ``(q, dim)`` → ``(q, K)``, and facts about the index."""


def main(path: str, name: str) -> None:
    data = dict(np.load(path))
    data["rows"] = data["rows"].astype(np.float32)
    kept: list[Setting] = []
    try:
        for one in CONTENDERS[name](data):
            one[1]()
            kept.append(one)
            print(json.dumps({"name": name, "setting": one[0], **one[3], **measure(one[2], data)}), flush=True)
    except Exception as error:  # noqa: BLE001 - whatever keeps a peer from running is told, and the others go on
        print(json.dumps({"name": name, "failed": f"{type(error).__name__}: {error}"[:300]}), flush=True)
    print(json.dumps({"ready": len(kept)}), flush=True)
    for line in sys.stdin:
        setting, size = map(int, line.split())
        kept[setting][1]()
        print(rate(kept[setting][2], data["texts"], size), flush=True)


def measure(search: Search, data: dict[str, np.ndarray]) -> dict[str, float]:
    """Recall of both kinds of query, and queries per CPU second: one by one, and 64 at a time."""
    found = {}
    for kind in ("image", "text"):
        queries, truth = data[kind + "s"], data["truth_" + kind]
        if _is_slow(search, queries):
            queries, truth = queries[:FEW], truth[:FEW]
        got = np.concatenate([search(queries[at : at + BATCH]) for at in range(0, len(queries), BATCH)])
        found[f"recall_{kind}"] = float(np.mean([np.isin(t, g).mean() for t, g in zip(truth, got, strict=True)]))
    texts = data["texts"]
    return found | {"single": rate(search, texts, 1), "batched": rate(search, texts, BATCH)}


def rate(search: Search, queries: np.ndarray, size: int) -> float:
    """Queries per CPU second, the median of three rounds."""
    if _is_slow(search, queries):
        queries = queries[:FEW]
    count = len(queries) // size * size
    rounds = []
    for _ in range(3):
        began = time.process_time()
        for at in range(0, count, size):
            search(queries[at : at + size])
        rounds.append(count / max(time.process_time() - began, 1e-9))
    return float(np.median(rounds))


def _is_slow(search: Search, queries: np.ndarray) -> bool:
    search(queries[:1])
    began = time.process_time()
    for at in range(3):
        search(queries[at : at + 1])
    return time.process_time() - began > 3 * SLOW


def _nothing() -> None:
    """What has to be done before a setting is used, where that is nothing."""


# --- the contenders: (setting, search, facts) for each setting ------------------------------------------------------


def scann_(data: dict[str, np.ndarray]) -> Iterator[Setting]:
    import scann

    rows, n = data["rows"], len(data["rows"])
    for leaves in [int(1.6 * n**0.5), int(3.2 * n**0.5)][: 1 if n > 300_000 else 2]:  # the first has won wherever both were tried
        began = time.process_time()
        made = (
            scann.scann_ops_pybind.builder(rows, K, "dot_product")
            .tree(leaves, leaves, training_sample_size=min(n, 250_000))
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(100)
            .set_n_training_threads(1)
            .build()
        )
        facts = {"build": time.process_time() - began, "bytes": rows.shape[1] * 4 + rows.shape[1] / 4, "version": version("scann")}
        for share, reorder in ((0.02, 60), (0.025, 60), (0.03, 40), (0.03, 60), (0.03, 100), (0.04, 60), (0.06, 60), (0.1, 60)):
            visit = max(int(share * leaves), 2)

            def search(queries: np.ndarray, visit: int = visit, reorder: int = reorder, made=made) -> np.ndarray:
                if len(queries) == 1:
                    return made.search(queries[0], K, leaves_to_search=visit, pre_reorder_num_neighbors=reorder)[0][None]
                return made.search_batched(queries, K, leaves_to_search=visit, pre_reorder_num_neighbors=reorder)[0]

            yield f"{leaves} leaves, {visit} visited, reorder {reorder}", _nothing, search, facts


def hnswlib_(data: dict[str, np.ndarray]) -> Iterator[Setting]:
    import hnswlib

    rows = data["rows"]
    began = time.process_time()
    made = hnswlib.Index("ip", rows.shape[1])
    made.init_index(len(rows), M=16, ef_construction=200 if len(rows) <= 300_000 else 100)
    made.set_num_threads(1)
    made.add_items(rows)
    facts = {"build": time.process_time() - began, "bytes": rows.shape[1] * 4 + 16 * 2 * 4 + 20, "version": version("hnswlib")}
    for ef in (20, 40, 50, 60, 80, 120, 200):
        yield f"M16, ef {ef}", partial(made.set_ef, ef), lambda queries: made.knn_query(queries, K, num_threads=1)[0], facts


def usearch_(data: dict[str, np.ndarray]) -> Iterator[Setting]:
    from usearch.index import Index

    rows = data["rows"]
    began = time.process_time()
    made = Index(ndim=rows.shape[1], metric="ip", dtype="bf16", connectivity=16, expansion_add=128 if len(rows) <= 300_000 else 64)
    made.add(np.arange(len(rows)), rows, threads=1)
    facts = {"build": time.process_time() - began, "bytes": made.memory_usage / len(rows), "version": version("usearch")}

    def search(queries: np.ndarray) -> np.ndarray:
        return np.asarray(made.search(queries, K, threads=1).keys).reshape(len(queries), K)

    for ef in (20, 40, 60, 80, 120, 200, 320):
        yield f"bf16, M16, ef {ef}", partial(setattr, made, "expansion_search", ef), search, facts


def faiss_(data: dict[str, np.ndarray]) -> Iterator[Setting]:
    import faiss

    faiss.omp_set_num_threads(1)
    rows, dim = data["rows"], data["rows"].shape[1]
    lists = 2 ** round(np.log2(2 * len(rows) ** 0.5))
    recipes = {
        f"IVF{lists},Flat": (dim * 4 + 8, (8, 12, 16, 24, 36, 64)),
        f"IVF{lists},SQ8": (dim + 8, (8, 12, 16, 24, 36, 64)),
        "HNSW32,SQ8": (dim + 272, (20, 40, 60, 80, 120)),
    }
    for key, (size, settings) in recipes.items():
        if len(rows) > 300_000 and not key.endswith(",SQ8"):
            continue
        began = time.process_time()
        made = faiss.index_factory(dim, key, faiss.METRIC_INNER_PRODUCT)
        made.train(rows[:: max(len(rows) // 100_000, 1)])
        made.add(rows)
        facts = {"build": time.process_time() - began, "bytes": size, "version": faiss.__version__}
        for setting in settings:
            name = "efSearch" if key[0] == "H" else "nprobe"
            prepare = partial(faiss.ParameterSpace().set_index_parameter, made, name, setting)
            yield f"{key} at {setting}", prepare, lambda queries, made=made: made.search(queries, K)[1], facts


def lancedb_(data: dict[str, np.ndarray]) -> Iterator[Setting]:
    import lancedb
    import pyarrow as pa

    rows, dim = data["rows"], data["rows"].shape[1]
    with tempfile.TemporaryDirectory() as folder:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), dim)
        table = lancedb.connect(folder).create_table("t", pa.table({"vector": vectors, "id": pa.array(np.arange(len(rows)))}))
        kinds = {
            "IVF_HNSW_SQ": {"m": 16, "ef_construction": 150},
            "IVF_PQ": {"num_sub_vectors": dim // 8},
        }
        sizes = {"IVF_PQ": dim / 8, "IVF_HNSW_SQ": dim + 128}
        for kind, options in kinds.items():
            began = time.process_time()
            table.create_index(metric="dot", vector_column_name="vector", index_type=kind, replace=True, **options)
            facts = {"build": time.process_time() - began, "bytes": dim * 4 + sizes[kind], "version": version("lancedb")}
            for probes, refine in ((5, 5), (10, 5), (20, 10), (40, 20)):

                def search(queries: np.ndarray, probes: int = probes, refine: int = refine) -> np.ndarray:
                    def one(query: np.ndarray) -> np.ndarray:
                        asked = table.search(query, vector_column_name="vector").metric("dot").nprobes(probes)
                        found = asked.refine_factor(refine).select(["id"]).limit(K).to_arrow()
                        return found["id"].to_numpy()

                    return np.stack([one(query) for query in queries])

                yield f"{kind}, {probes} probes, refine {refine}", _nothing, search, facts


def chroma(data: dict[str, np.ndarray]) -> Iterator[Setting]:
    import chromadb

    rows = data["rows"]
    client = chromadb.EphemeralClient()
    for ef in (60, 100):  # a collection each: changed afterwards, the width has no effect before it is opened again
        settings = {"hnsw": {"space": "ip", "ef_search": ef, "max_neighbors": 16, "ef_construction": 100, "num_threads": 1}}
        made = client.create_collection(f"ef-{ef}", configuration=settings, embedding_function=None)
        began = time.process_time()
        for at in range(0, len(rows), 5000):
            part = rows[at : at + 5000]
            made.add(ids=[str(n) for n in range(at, at + len(part))], embeddings=part)
        facts = {"build": time.process_time() - began, "bytes": rows.shape[1] * 8 + 148, "version": version("chromadb")}

        def search(queries: np.ndarray, made=made) -> np.ndarray:
            found = made.query(query_embeddings=queries, n_results=K, include=[])["ids"]
            return np.array([[int(one) for one in ids] for ids in found])

        yield f"M16, ef {ef}", _nothing, search, facts


def numpy_(data: dict[str, np.ndarray]) -> Iterator[Setting]:
    rows = data["rows"]

    def search(queries: np.ndarray) -> np.ndarray:
        scores = queries @ rows.T
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), 1), 1)

    yield "float32 matrix product", _nothing, search, {"build": 0.0, "bytes": rows.shape[1] * 4, "version": np.__version__}


CONTENDERS = {
    "ScaNN": scann_,
    "hnswlib": hnswlib_,
    "usearch": usearch_,
    "FAISS": faiss_,
    "LanceDB": lancedb_,
    "numpy": numpy_,
    "Chroma": chroma,
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
