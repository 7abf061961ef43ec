"""Runs writers in processes that a test may kill. Started once (imports are slow), it forks one child for each command.

Each line on stdin is ``[function, *arguments]`` as JSON. The child's pid is answered, then what the child prints, then
``end`` and its exit status.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import time
import traceback
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmsearch.errors import LockedError
from mmsearch.store import Change, IndexInfo, Move, Store, Touch, Writer
from mmsearch.types import Failure, Record

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.store.model import Model, SmallStore, caption, photo, vectors

DIM = 256  # rows of 512 bytes: a batch spans many pages
MARKER = "marker"


class KillStore(SmallStore):
    """Batches of up to 60 rows, so that most commits stay in one segment and some open the next."""

    segment_rows = 150


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def history(seed: int) -> Iterator[Change | str]:
    """An endless random history, the same for the same seed: changes, and words for what else a writer does.

    In every state each item's row belongs to its digest, and the item ``MARKER`` holds the checksum of all others: so a
    reader that knows nothing of the history can tell a state from a mixture of two.
    """
    random_ = random.Random(seed)
    model = Model()
    for number in itertools.count():
        what = random_.random()
        if what < 0.12:
            yield "compact"
        elif what < 0.2:
            yield f"index {number}"
        elif what < 0.25:
            yield f"note {number}"
        else:
            change = _change(random_, model)
            model.apply(change)
            yield change


def _change(random_: random.Random, model: Model) -> Change:
    live = sorted(vid for vid, item in model.items.items() if item.id != MARKER)
    drafts = [photo(f"{random_.randrange(400)}.jpg", version=random_.randrange(10**6)) for _ in range(random_.randrange(60))]
    chosen = random_.sample(live, min(len(live), 20))
    moved = [Move(vid, f"moved-{vid}-{random_.randrange(9)}", None, None, None, None) for vid in chosen[:3]]
    touched = [Touch(vid, random_.randrange(99), 1, {"touched": "again"}) for vid in chosen[3:6]]
    failure = Failure("photos", f"{random_.randrange(20)}", "truncated", "", random_.randrange(9), 0)

    def made(crc: int) -> Change:
        all_drafts = [*drafts, caption(MARKER, "", meta={"crc": crc})]
        rows = vectors([draft.digest for draft in all_drafts], DIM)
        return Change(all_drafts, rows, chosen[6:], moved, touched, [failure])

    after = model.copy()
    after.apply(made(0))
    return made(state_crc(after.items.values()))


def state_crc(items: Iterable[Record]) -> int:
    """The checksum of a state's items, without the marker."""
    return zlib.crc32(repr(sorted((one.id, one.size or 0, one.digest) for one in items if one.id != MARKER)).encode())


def step(writer: Writer, what: Change | str) -> None:
    if isinstance(what, Change):
        writer.commit(what)
    elif what == "compact":
        writer.compact()
    elif what.startswith("note"):
        writer.set_meta("note", what)
    else:
        number = int(what.split()[1])
        content = random.Random(number).randbytes(50_000)
        writer.put_index(IndexInfo("image", "", 0, 0, number, "test", "1"), lambda path: path.write_bytes(content) and None)


def write(folder: str, seed: int, done: int) -> None:
    """Goes on with a history after its first ``done`` steps, and acknowledges each further one."""
    steps = history(seed)
    for _ in range(done):
        next(steps)
    with KillStore.open(Path(folder)) as store, store.writer(wait=5) as writer:
        for number, what in enumerate(steps, start=done + 1):
            step(writer, what)
            say(f"ack {number}")


def hold(folder: str) -> None:
    """Keeps the lock until killed."""
    with Store.open(Path(folder)) as store, store.writer():
        say("held")
        time.sleep(60)


def try_lock(folder: str, wait: float) -> None:
    """Says whether a writer could be had."""
    try:
        with Store.open(Path(folder)) as store, store.writer(wait=wait):
            say("had it")
    except LockedError as error:
        say(f"locked by {error.pid}")


def churn(folder: str, seconds: float) -> None:
    """Writes for some seconds: commits of eight items that all have the same version, deletes, compactions."""
    with KillStore.open(Path(folder)) as store, store.writer() as writer:
        stop = time.monotonic() + seconds
        version = 0
        while time.monotonic() < stop:
            version += 1
            drafts = [photo(f"{n}.jpg", version=version) for n in range(8)]
            filler = [photo(f"filler-{version}-{n}.jpg", version=version) for n in range(30)]
            both = drafts + filler
            vids = writer.commit(Change(both, vectors([(one.id, one.size) for one in both], DIM)))
            writer.commit(Change(deletes=vids[8:]))
            if version % 5 == 0:
                writer.compact()
    say(f"versions {version}")


def main() -> None:
    from tests.faults.readers import watch

    functions = {one.__name__: one for one in (write, hold, try_lock, churn, watch)}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                functions[name](*arguments)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        say(f"pid {pid}")
        say(f"end {os.waitpid(pid, 0)[1]}")


if __name__ == "__main__":
    main()
