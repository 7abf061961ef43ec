"""The other contenders of ``search.py``. Runs by itself in an environment of its own that has them installed.

    PEERS/bin/python benchmarks/_peers.py VECTORS.npz [NAME …]

Reads ``rows images texts truth_image truth_text``, prints one JSON line for each setting of each contender. Times are
CPU seconds of the whole process, all its threads: on a machine that others use too, that is what can be compared.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np

K, TIMED, BATCH = 10, 200, 64
Search = Callable[[np.ndarray], np.ndarray]


def main(path: str, names: list[str]) -> None:
    data = dict(np.load(path))
    data["rows"] = data["rows"].astype(np.float32)
    for name, contender in CONTENDERS.items():
        if names and name not in names:
            continue
        try:
            for setting, search, facts in contender(data):
                print(json.dumps({"name": name, "setting": setting, **facts, **measure(search, data)}), flush=True)
        except Exception as error:  # noqa: BLE001 - whatever keeps a peer from running is told, and the others go on
            print(json.dumps({"name": name, "failed": f"{type(error).__name__}: {error}"[:300]}), flush=True)


def measure(search: Search, data: dict[str, np.ndarray]) -> dict[str, float]:
    """Recall of both kinds of query, and queries per CPU second: one by one, and 64 at a time."""
    found = {}
    for kind in ("image", "text"):
        queries, truth = data[kind + "s"], data["truth_" + kind]
        got = np.concatenate([search(queries[at : at + BATCH]) for at in range(0, len(queries), BATCH)])
        found[f"recall_{kind}"] = float(np.mean([np.isin(t, g).mean() for t, g in zip(truth, got, strict=True)]))
    texts = data["texts"]
    return found | {"single": rate(search, texts, 1), "batched": rate(search, texts, BATCH)}


def rate(search: Search, queries: np.ndarray, size: int) -> float:
    """The best of three rounds."""
    search(queries[:size])
    best = 0.0
    count = min(TIMED if size == 1 else 4 * size, len(queries) // size * size)
    for _ in range(3):
        began = time.process_time()
        for at in range(0, count, size):
            search(queries[at : at + size])
        best = max(best, count / max(time.process_time() - began, 1e-9))
    return best


# --- the contenders: (setting, search, facts) for each setting ------------------------------------------------------


def scann_(data: dict[str, np.ndarray]) -> Iterator[tuple[str, Search, dict]]:
    import scann

    rows, n = data["rows"], len(data["rows"])
    for leaves in (int(1.6 * n**0.5), int(3.2 * n**0.5)):
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
        for share in (0.02, 0.03, 0.04, 0.06, 0.1):
            visit, reorder = max(int(share * leaves), 2), 60

            def search(queries: np.ndarray, visit: int = visit, reorder: int = reorder, made=made) -> np.ndarray:
                if len(queries) == 1:
                    return made.search(queries[0], K, leaves_to_search=visit, pre_reorder_num_neighbors=reorder)[0][None]
                return made.search_batched(queries, K, leaves_to_search=visit, pre_reorder_num_neighbors=reorder)[0]

            yield f"{leaves} leaves, {visit} visited, reorder {reorder}", search, facts


def hnswlib_(data: dict[str, np.ndarray]) -> Iterator[tuple[str, Search, dict]]:
    import hnswlib

    rows = data["rows"]
    began = time.process_time()
    made = hnswlib.Index("ip", rows.shape[1])
    made.init_index(len(rows), M=16, ef_construction=200)
    made.set_num_threads(1)
    made.add_items(rows)
    facts = {"build": time.process_time() - began, "bytes": rows.shape[1] * 4 + 16 * 2 * 4 + 20, "version": version("hnswlib")}
    for ef in (20, 40, 60, 80, 120, 200):
        made.set_ef(ef)
        yield f"M16, ef {ef}", lambda queries: made.knn_query(queries, K, num_threads=1)[0], facts


def usearch_(data: dict[str, np.ndarray]) -> Iterator[tuple[str, Search, dict]]:
    from usearch.index import Index

    rows = data["rows"]
    began = time.process_time()
    made = Index(ndim=rows.shape[1], metric="ip", dtype="bf16", connectivity=16, expansion_add=128)
    made.add(np.arange(len(rows)), rows, threads=1)
    facts = {"build": time.process_time() - began, "bytes": made.memory_usage / len(rows), "version": version("usearch")}
    for ef in (20, 40, 80, 120, 200, 320):
        made.expansion_search = ef

        def search(queries: np.ndarray) -> np.ndarray:
            return np.asarray(made.search(queries, K, threads=1).keys).reshape(len(queries), K)

        yield f"bf16, M16, ef {ef}", search, facts


def faiss_(data: dict[str, np.ndarray]) -> Iterator[tuple[str, Search, dict]]:
    import faiss

    faiss.omp_set_num_threads(1)
    rows, dim = data["rows"], data["rows"].shape[1]
    lists = 2 ** round(np.log2(2 * len(rows) ** 0.5))
    recipes = {
        f"IVF{lists},Flat": (dim * 4 + 8, (8, 12, 16, 24, 36)),
        f"IVF{lists},SQ8": (dim + 8, (8, 12, 16, 24, 36)),
        "HNSW32,SQ8": (dim + 272, (20, 40, 60, 80, 120)),
    }
    for key, (size, settings) in recipes.items():
        if key.startswith("HNSW") and len(rows) > 300_000:
            continue
        began = time.process_time()
        made = faiss.index_factory(dim, key, faiss.METRIC_INNER_PRODUCT)
        made.train(rows[:: max(len(rows) // 100_000, 1)])
        made.add(rows)
        facts = {"build": time.process_time() - began, "bytes": size, "version": faiss.__version__}
        for setting in settings:
            faiss.ParameterSpace().set_index_parameter(made, "efSearch" if key[0] == "H" else "nprobe", setting)
            yield f"{key} at {setting}", lambda queries, made=made: made.search(queries, K)[1], facts


def lancedb_(data: dict[str, np.ndarray]) -> Iterator[tuple[str, Search, dict]]:
    import lancedb
    import pyarrow as pa

    rows, dim = data["rows"], data["rows"].shape[1]
    with tempfile.TemporaryDirectory() as folder:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), dim)
        table = lancedb.connect(folder).create_table("t", pa.table({"vector": vectors, "id": pa.array(np.arange(len(rows)))}))
        began = time.process_time()
        table.create_index(metric="dot", vector_column_name="vector", index_type="IVF_PQ", num_sub_vectors=dim // 4)
        facts = {"build": time.process_time() - began, "bytes": dim * 4 + dim / 4, "version": version("lancedb")}
        for probes, refine in ((10, 5), (20, 10), (40, 20), (80, 20)):

            def search(queries: np.ndarray, probes: int = probes, refine: int = refine) -> np.ndarray:
                def one(query: np.ndarray) -> np.ndarray:
                    asked = table.search(query, vector_column_name="vector").metric("dot").nprobes(probes).refine_factor(refine)
                    return asked.select(["id"]).limit(K).to_arrow()["id"].to_numpy()

                return np.stack([one(query) for query in queries])

            yield f"IVF_PQ, {probes} probes, refine {refine}", search, facts


def chroma(data: dict[str, np.ndarray]) -> Iterator[tuple[str, Search, dict]]:
    import chromadb

    rows = data["rows"]
    for ef in (40, 100, 200):
        client = chromadb.EphemeralClient()
        settings = {"hnsw": {"space": "ip", "ef_search": ef, "max_neighbors": 16, "ef_construction": 100, "num_threads": 1}}
        made = client.create_collection(f"c{ef}", configuration=settings, embedding_function=None)
        began = time.process_time()
        for at in range(0, len(rows), 5000):
            part = rows[at : at + 5000]
            made.add(ids=[str(n) for n in range(at, at + len(part))], embeddings=part)
        facts = {"build": time.process_time() - began, "bytes": rows.shape[1] * 8 + 148, "version": version("chromadb")}

        def search(queries: np.ndarray, made=made) -> np.ndarray:
            found = made.query(query_embeddings=queries, n_results=K, include=[])["ids"]
            return np.array([[int(one) for one in ids] for ids in found])

        yield f"M16, ef {ef}", search, facts
        client.delete_collection(f"c{ef}")


def numpy_(data: dict[str, np.ndarray]) -> Iterator[tuple[str, Search, dict]]:
    rows = data["rows"]

    def search(queries: np.ndarray) -> np.ndarray:
        scores = queries @ rows.T
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), 1), 1)

    yield "float32 matrix product", search, {"build": 0.0, "bytes": rows.shape[1] * 4, "version": np.__version__}


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
    main(sys.argv[1], sys.argv[2:])
