"""The HTTP service under load, beside the same work in a plain loop, on this machine alone.

    python benchmarks/serve.py --items 100000                         throughput and latency
    python benchmarks/serve.py --items 100000 --before OTHER_CHECKOUT the service of another checkout in turns with this one's
    python benchmarks/serve.py --items 100000 --only-soak --soak 600  ten minutes of load, watching memory

``loop``     texts encoded and searched 16 at a time, encoder and index called directly: what the machine gives
``batch``    the same through ``Collection.search_many``: with catalogue, hits and all
``serve``    ``mmsearch serve`` asked over HTTP by ``--clients`` connections at once, each the next when it has its answer
``before``   the same of another checkout, ``--before``
``steady``   the same at 80% of the service's own rate, requests sent by the clock: time is counted from when one was due
``chroma``   Chroma's server (``--peers VENV``), asked by vector: it encodes nothing, so ours is asked by vector beside it

All queries are different, so that no cache answers. The load maker runs on the same cores and takes its share of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from _report import row
from _vectors import make

from mmsearch.collection import Collection
from mmsearch.types import Item

HERE = Path(__file__).parent.parent
NOUNS = ["dog", "cat", "car", "tree", "house", "river", "shoe", "dress", "lamp", "chair", "boat", "bird", "horse", "phone", "table"]
ADJECTIVES = [
    "red",
    "blue",
    "green",
    "old",
    "new",
    "small",
    "large",
    "bright",
    "dark",
    "round",
    "wooden",
    "golden",
    "broken",
    "wet",
]
PLACES = ["street", "beach", "forest", "kitchen", "mountain", "field", "room", "city", "park", "lake"]


def words(n: int) -> Iterator[str]:
    """Endlessly different queries, the ``n``-th run's."""
    at = n * 1_000_003
    while True:
        adjective, rest = ADJECTIVES[at % 14], at // 14
        yield f"a {adjective} {NOUNS[rest % 15]} in a {PLACES[rest // 15 % 10]} number {rest // 150}"
        at += 1


def stocked(folder: Path, items: int) -> Collection:
    """A collection of made vectors with the built-in model."""
    shop = Collection.open(folder, create=True, model="mini")
    rows = make(items, dim=shop.info.dim, queries=1, learn=1).rows
    for start in range(0, items, 4096):
        shop.add(
            Item(id=f"i{n}", image=f"/photos/{n}.jpg", vector=rows[n], meta={"price": n % 997, "brand": f"b{n % 50}"})
            for n in range(start, min(items, start + 4096))
        )
    return shop


# --- without HTTP -----------------------------------------------------------------------------------------------------


def loop_rate(shop: Collection, seconds: float, run: int) -> tuple[float, float]:
    """Queries a second, and CPU ms a query: 16 texts to the encoder, 16 vectors to the index, again and again."""
    from mmsearch.indexes.exact import ExactIndex

    texts, done = words(run), 0
    encoder = shop._query_encoder()
    with shop._store.snapshot() as snapshot:
        index, live = ExactIndex(snapshot), snapshot.live()
        began, used = time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            index.search(encoder.encode_texts([next(texts) for _ in range(16)]), 10, within=live)
            done += 16
        return done / (time.perf_counter() - began), (time.process_time() - used) * 1000 / done


def batch_rate(shop: Collection, seconds: float, run: int) -> tuple[float, float]:
    """The same with all that makes hits of rows."""
    texts, done, began, used = words(run), 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        shop.search_many([next(texts) for _ in range(16)], k=10)
        done += 16
    return done / (time.perf_counter() - began), (time.process_time() - used) * 1000 / done


# --- the service ------------------------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, tokens: Path, tree: Path = HERE, more: str = "") -> Iterator[tuple[int, int]]:
    """``mmsearch serve`` of a checkout in a process of its own; its port and process id. ``more`` are options for it."""
    command = [sys.executable, "-m", "mmsearch", "-q", "-c", str(folder.absolute()), "serve", "--port", "0"]
    command += ["--token-file", str(tokens), *more.split()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tree)  # -m looks there first
    assert process.stdout is not None
    told = process.stdout.readline() + process.stdout.readline()
    try:
        yield int(re.search(r":(\d+)/", told)[1]), process.pid  # type: ignore[index]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


class Line:
    """One connection that is kept: bytes in, status and body out."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.head = port, f"Host: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"

    async def ask(self, path: str, body: bytes) -> int:
        """Send one request; its status."""
        if not hasattr(self, "reader"):
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(f"POST {path} HTTP/1.1\r\n{self.head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
        await self.reader.readexactly(length)
        return int(head[9:12])


class Load:
    """What came of a run: latencies in seconds, statuses."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: dict[int, int] = {}
        self.took = 0.0

    def note(self, status: int, seconds: float) -> None:
        """One answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.seconds.append(seconds)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.statuses.get(200, 0) / self.took

    def figures(self) -> dict[str, object]:
        """The rate of good answers, and percentiles in milliseconds."""
        p50, p95, p99 = np.percentile(self.seconds, (50, 95, 99)) * 1000
        return {
            "per_s": self.rate,
            "p50_ms": float(p50),
            "p95_ms": float(p95),
            "p99_ms": float(p99),
            "p99_by_p50": float(p99 / p50),
            "statuses": {str(status): count for status, count in self.statuses.items()},
        }


async def closed(port: int, token: str, path: str, bodies: Iterator[bytes], clients: int, seconds: float) -> Load:
    """``clients`` connections, each sends the next when it has its answer."""
    load, end = Load(), time.perf_counter() + seconds

    async def one() -> None:
        line = Line(port, token)
        while (began := time.perf_counter()) < end:
            load.note(await line.ask(path, next(bodies)), time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    load.took = time.perf_counter() - began
    return load


async def steady(port: int, token: str, path: str, bodies: Iterator[bytes], rate: float, seconds: float) -> Load:
    """Requests by the clock; one that has to wait for a connection waits on its own account."""
    load, lines = Load(), [Line(port, token) for _ in range(64)]
    free: asyncio.Queue[Line] = asyncio.Queue()
    for line in lines:
        free.put_nowait(line)
    rng = np.random.default_rng(1)

    async def one(due: float) -> None:
        line = await free.get()
        try:
            load.note(await line.ask(path, next(bodies)), time.perf_counter() - due)
        finally:
            free.put_nowait(line)

    began = due = time.perf_counter()
    tasks = set()
    while due < began + seconds:
        due += rng.exponential(1 / rate)  # as strangers come: independent of each other
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    load.took = time.perf_counter() - began
    return load


def by_words(run: int) -> Iterator[bytes]:
    """Bodies of searches by words."""
    return (json.dumps({"text": text, "k": 10}).encode() for text in words(run))


def by_vector(rows: np.ndarray, chroma: bool = False) -> Iterator[bytes]:
    """Bodies of searches by vector, as ours or Chroma's."""
    at = 0
    while True:
        vector = [round(float(x), 5) for x in rows[at % len(rows)]]
        yield json.dumps(
            {"query_embeddings": [vector], "n_results": 10, "include": ["metadatas", "distances"]}
            if chroma
            else {"terms": [{"vector": vector}], "k": 10}
        ).encode()
        at += 1


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far: on a busy machine it says more than the clock."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MiB of a process that are its own."""
    return int(re.search(r"Private_Dirty:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())[1]) / 1024  # type: ignore[index]


# --- the peer ---------------------------------------------------------------------------------------------------------


@contextmanager
def chroma(venv: Path, folder: Path) -> Iterator[int]:
    """Chroma's server from another environment."""
    port = 8917
    command = [str(venv / "bin" / "chroma"), "run", "--path", str(folder), "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(150):
            with suppress(OSError), __import__("socket").create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


FILL = """
import sys, numpy as np, chromadb
rows = np.load(sys.argv[2])
client = chromadb.HttpClient(host="127.0.0.1", port=int(sys.argv[1]))
made = client.create_collection("peer", metadata={"hnsw:space": "cosine"}, embedding_function=None)
for start in range(0, len(rows), 4000):
    part = rows[start:start + 4000]
    made.add(ids=[f"i{n}" for n in range(start, start + len(part))], embeddings=part,
             metadatas=[{"price": n % 997, "brand": f"b{n % 50}"} for n in range(start, start + len(part))])
print(made.id)
"""


def against_chroma(args: argparse.Namespace, port: int, token: str, dim: int) -> None:
    """Both servers by vector, in turns."""
    made = make(args.items, dim=dim, queries=2000, learn=1)
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/rows.npy", made.rows)
        with chroma(args.peers, Path(folder) / "chroma") as theirs:
            python = str(args.peers / "bin" / "python")
            filled = subprocess.run(
                [python, "-c", FILL, str(theirs), f"{folder}/rows.npy"], capture_output=True, text=True, check=True
            )
            path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{filled.stdout.strip()}/query"
            rates: dict[str, list[float]] = {"mmsearch": [], "chroma": []}
            for name, where, at, bodies in (
                ("mmsearch", "/v1/search", port, by_vector(made.texts)),
                ("chroma", path, theirs, by_vector(made.texts, chroma=True)),
            ) * args.rounds:
                load = asyncio.run(closed(at, token, where, bodies, args.clients, args.seconds))
                rates[name].append(load.rate)
                row("serve", what=name, by="vector", items=args.items, clients=args.clients, **load.figures())
            row(
                "serve",
                what="mmsearch / chroma",
                by="vector",
                ratio=float(np.median(rates["mmsearch"]) / np.median(rates["chroma"])),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-soak", action="store_true")
    parser.add_argument("--soak", type=float, default=0.0)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--before", type=Path, help="another checkout, whose service is measured in turns with this one's")
    parser.add_argument("--serve", default="", metavar="OPTIONS", help="options for `mmsearch serve`, as '--batch 16'")
    parser.add_argument("--folder", type=Path, help="keep the collection here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = (args.folder or Path(made)) / f"serve-{args.items}"
        shop = Collection.open(folder) if Collection.exists(folder) else stocked(folder, args.items)
        tokens = Path(made) / "tokens"
        token = os.urandom(16).hex()
        tokens.write_text(f"write {token}\n")
        tokens.chmod(0o600)
        with ExitStack() as stack:
            stack.enter_context(shop)
            port, pid = stack.enter_context(serving(folder, tokens, more=args.serve))
            if not args.only_soak:
                services = {"serve": (port, pid)}
                if args.before:
                    services["before"] = stack.enter_context(serving(folder, tokens, args.before))
                measure(args, shop, services, token)
            if args.peers:
                against_chroma(args, port, token, shop.info.dim)
            if args.soak:
                soak(args, port, pid, token)


def measure(args: argparse.Namespace, shop: Collection, services: dict[str, tuple[int, int]], token: str) -> None:
    """Loop, batch and services in turns, then the steady load."""
    names = ["loop", "batch", *services]
    rates: dict[str, list[float]] = {name: [] for name in names}
    costs: dict[str, list[float]] = {name: [] for name in names}

    def note(name: str, found: tuple[float, float]) -> None:
        rates[name].append(found[0])
        costs[name].append(found[1])

    def ask(name: str, run: int, seconds: float) -> Load:
        return asyncio.run(closed(services[name][0], token, "/v1/search", by_words(run), args.clients, seconds))

    loop_rate(shop, 2, 99)
    for name in services:
        ask(name, 98, 2)
    for turn in range(args.rounds):
        note("loop", loop_rate(shop, args.seconds, 4 * turn))
        note("batch", batch_rate(shop, args.seconds, 4 * turn + 1))
        for at, name in enumerate(services, 2):
            used = cpu_seconds(services[name][1])
            load = ask(name, 4 * turn + at, args.seconds)
            note(name, (load.rate, (cpu_seconds(services[name][1]) - used) * 1000 / len(load.seconds)))
            row("serve", what=name, items=args.items, clients=args.clients, **load.figures())
    middle = {name: float(np.median(values)) for name, values in rates.items()}
    cost = {name: float(np.median(values)) for name, values in costs.items()}
    row(
        "serve",
        what="rates",
        items=args.items,
        **{f"{name}_per_s": value for name, value in middle.items()},
        **{f"{name}_cpu_ms": value for name, value in cost.items()},
        **{f"{name}_by_loop": middle[name] / middle["loop"] for name in services},
        serve_by_batch=middle["serve"] / middle["batch"],
        **{f"loop_cpu_by_{name}_cpu": cost["loop"] / cost[name] for name in services},
    )
    for share in (0.5, 0.8):
        for name, (port, _) in services.items():
            rate = share * middle[name]
            load = asyncio.run(steady(port, token, "/v1/search", by_words(100 + int(share * 10)), rate, 2 * args.seconds))
            row("serve", what=f"{name} steady", items=args.items, asked_per_s=rate, share=share, **load.figures())


def soak(args: argparse.Namespace, port: int, pid: int, token: str) -> None:
    """Half load for long; memory at the start (after a minute), at the half, and at the end."""
    asyncio.run(closed(port, token, "/v1/search", by_words(200), args.clients, min(60.0, args.soak / 4)))
    bodies, statuses = by_words(201), dict[str, int]()
    answers, mib = [0], [memory(pid)]
    end = time.time() + args.soak
    while time.time() < end:
        load = asyncio.run(closed(port, token, "/v1/search", bodies, 2, min(30.0, args.soak / 8)))
        for status, count in load.statuses.items():
            statuses[str(status)] = statuses.get(str(status), 0) + count
        answers.append(answers[-1] + len(load.seconds))
        mib.append(memory(pid))
        row("serve", what="soak", answers=answers[-1], memory_mib=mib[-1], **load.figures())
    half = len(mib) // 2
    row(
        "serve",
        what="soak done",
        seconds=args.soak,
        answers=answers[-1],
        memory_before_mib=mib[0],
        memory_half_mib=mib[half],
        memory_after_mib=mib[-1],
        bytes_an_answer=float(np.polyfit(answers[half:], mib[half:], 1)[0] * 2**20),  # of the second half
        statuses=statuses,
    )


if __name__ == "__main__":
    main()
