"""Writes the golden collection of the present format: ``python data/golden/make.py`` → ``data/golden/v<N>/``.

Made once for each format version, when it is released, and never again: tests open every one of them for ever. It
has everything that the format can say: a compacted segment and an open one, dead rows, an updated item, names that are not
UTF-8, texts, meta, failures, roots, a derived index.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.store import Change, IndexInfo, Store
from mmsearch.store.migrations import FORMAT_VERSION
from mmsearch.types import Draft, Failure, Kind

DIM = 16


class GoldenStore(Store):
    """Small segments, so that a small collection has several."""

    segment_rows = 32


def photo(path: str, n: int) -> Draft:
    meta = {"price": n / 4, "brand": "Ämilie" if n % 2 else "Acme", "new": n % 3 == 0, "color": {"name": "red"}}
    return Draft(
        id=path, kind=Kind.IMAGE, root="photos", path=path, size=1000 + n, mtime_ns=1_600_000_000_000_000_000 + n,
        digest=bytes([n]) * 32, group=f"g{n % 5}", width=640, height=480, taken=1_500_000_000 + n, meta=meta,
    )  # fmt: skip


def main(folder: Path) -> None:
    if folder.exists():
        sys.exit(f"{folder} exists: a golden collection is written once")
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((80, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with GoldenStore.create(folder / "collection", dim=DIM, model="toy", fingerprint="golden") as store:
        with store.writer() as writer:
            writer.add_root("photos", "/home/ada/caf\udce9")
            writer.set_meta("note", "kept \u2603")
            for start in (0, 20, 40):
                drafts = [photo(f"trip/{n:02d}.jpg", n) for n in range(start, start + 20)]
                writer.commit(Change(drafts, rows[start : start + 20]))
            writer.commit(Change(deletes=list(range(0, 30, 3))))
            writer.compact()
            drafts = [
                photo("caf\udce9/\udcff.jpg", 60),
                photo("trip/01.jpg", 61),  # an update
                Draft(id="note-1", kind=Kind.TEXT, text="Ein Café in Zürich, two cats sleeping"),
                Draft(id="\ud800 lone", kind=Kind.TEXT, text="surrogate \udfff", meta={"k": "\udc00"}),
            ]
            failure = Failure("photos", "broken\udcfe.jpg", "truncated", "the data ends at byte 100", 100, 5, 2)
            writer.commit(Change(drafts, rows[60:64], failures=[failure]))
            writer.commit(Change(deletes=[45]))
            info = IndexInfo("image", "", 0, 0, upto_vid=60, recipe="flat", faiss_version="1.15.1")
            writer.put_index(info, lambda path: path.write_bytes(b"not read by tests") and None)
        with store.snapshot() as snapshot:
            expected = describe(snapshot)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    for left in ("LOCK", "catalog.db-wal", "catalog.db-shm"):
        (folder / "collection" / left).unlink(missing_ok=True)


def describe(snapshot: Any) -> dict[str, Any]:
    """All that a snapshot shows, as JSON; rows as base64 of little-endian float16."""
    vids = snapshot.live().vids.tolist()
    records = snapshot.records(vids)
    stored = snapshot.fetch(vids).astype("<f2").tobytes()
    return {
        "records": [{name: _plain(getattr(one, name)) for name in (*Draft.__dataclass_fields__, "vid")} for one in records],
        "rows": base64.b64encode(stored).decode(),
        "failures": [[_plain(getattr(one, name)) for name in Failure.__dataclass_fields__] for one in snapshot.failures()],
        "roots": snapshot.roots(),
        "note": snapshot.meta("note"),
        "words": {word: sorted(vid for vid, _ in snapshot.search_text(word, 99)) for word in ("cat", "zurich", "amilie")},
        "segments": [[one.id, one.base_vid, one.nrows, one.has_ids, one.sealed] for one in snapshot.segments()],
        "indexes": [[one.kind, one.file, one.bytes, one.crc32, one.upto_vid] for one in snapshot.indexes()],
    }


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


if __name__ == "__main__":
    target = Path(__file__).parent / f"v{FORMAT_VERSION}"
    main(target)
