"""A light change of a collection's queries, learned from what its users chose; the stored rows stay as they are.

``q' = normalise(W q)``: one matrix for queries of words, one for queries by picture, either may be missing. Pictures and
texts that are stored, and vectors that a caller brings, are never changed. ``docs/adapter.md`` has the whole story.

An adapter is kept as the bytes of a safetensors file: tensors ``text`` and ``image``, float32 ``(dim, dim)``, and in its header the
fingerprint of the encoder that it was learned for, and a few words on how it was learned (``about``, JSON).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import CollectionCorrupt
from mmsearch.types import Json

__all__ = ["KEPT", "ON", "Adapter", "dump", "load"]

ON = "adapter"
"""Name of the stored value that has the fingerprint of the adapter that is on; there is none where none is."""
KEPT = "adapter:"
"""Before a fingerprint: name of the stored value that has the adapter itself."""
_FORMAT = "mmsearch-adapter-1"
_KINDS = ("text", "image")
_MAX_HEADER = 1 << 20


@dataclass(frozen=True, slots=True)
class Adapter:
    """``maps`` has a float32 matrix ``(dim, dim)`` for ``"text"`` or ``"image"`` queries; ``model`` is the encoder's fingerprint.

    >>> turn = Adapter("f1", {"text": np.array([[0, 1], [1, 0]], dtype=np.float32)})
    >>> turn("text", np.array([1, 0], dtype=np.float32)).tolist(), turn("image", np.array([1, 0], dtype=np.float32)).tolist()
    ([0.0, 1.0], [1.0, 0.0])
    """

    model: str
    maps: Mapping[str, NDArray[np.float32]]
    about: Mapping[str, Json] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """A hash of the maps and of the model; two adapters that do the same have the same one."""
        found = hashlib.sha256(self.model.encode())
        for kind in sorted(self.maps):
            found.update(kind.encode() + np.ascontiguousarray(self.maps[kind], dtype="<f4").tobytes())
        return found.hexdigest()

    def __call__(self, kind: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit rows ``(dim,)`` or ``(n, dim)`` of ``"text"`` or ``"image"`` queries, changed; those of other kinds as they are.

        O(n · dim²): 20 µs for one of 512 dimensions.
        """
        wanted = self.maps.get(kind)
        if wanted is None:
            return rows
        turned = rows @ wanted.T
        return np.asarray(turned / np.maximum(np.linalg.norm(turned, axis=-1, keepdims=True), 1e-12), dtype=np.float32)

    def to_bytes(self) -> bytes:
        """The file's content."""
        tensors = {kind: np.ascontiguousarray(self.maps[kind], dtype="<f4") for kind in sorted(self.maps)}
        header: dict[str, Json] = {
            "__metadata__": {"format": _FORMAT, "model": self.model, "about": json.dumps(dict(self.about), sort_keys=True)}
        }
        at = 0
        for kind, values in tensors.items():
            header[kind] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
            at += values.nbytes
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        return len(head).to_bytes(8, "little") + head + b"".join(values.tobytes() for values in tensors.values())

    @classmethod
    def of_bytes(cls, data: bytes, *, name: str = "the adapter") -> Adapter:
        """Read :meth:`to_bytes` back. Raises :class:`CollectionCorrupt` for anything else, numbers that are not finite too."""
        try:
            size = int.from_bytes(data[:8], "little")
            if size > _MAX_HEADER:
                raise ValueError("its header is too long")
            header, body = json.loads(data[8 : 8 + size]), memoryview(data)[8 + size :]
            about = header["__metadata__"]
            if about["format"] != _FORMAT:
                raise ValueError(f"its format is {about['format']!r}")
            maps = {kind: _matrix(header[kind], body) for kind in _KINDS if kind in header}
            return cls(str(about["model"]), maps, json.loads(about["about"]))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CollectionCorrupt(
                f"{name} cannot be read: {str(error)[:100]}", hint="switch it off: mmsearch train adapter --off"
            ) from error


def _matrix(entry: Mapping[str, Json], body: memoryview) -> NDArray[np.float32]:
    low, high = entry["data_offsets"]
    rows, columns = entry["shape"]
    if entry["dtype"] != "F32" or rows != columns or not 0 <= low <= high <= len(body):
        raise ValueError("a map is no square matrix of float32")
    found = np.frombuffer(body[low:high], dtype="<f4").reshape(rows, columns)
    if not np.isfinite(found).all():
        raise ValueError("there are numbers in it that are not finite")
    return found


def dump(adapter: Adapter) -> str:
    """The adapter as a catalogue keeps it: there it is copied, exported and switched with all else, in one transaction."""
    return base64.b64encode(adapter.to_bytes()).decode()


def load(kept: str | None) -> Adapter:
    """Read :func:`dump` back. Raises :class:`CollectionCorrupt`, also where nothing was kept."""
    try:
        return Adapter.of_bytes(base64.b64decode(kept or "", validate=True))
    except binascii.Error as error:
        raise CollectionCorrupt("the adapter cannot be read", hint="switch it off: mmsearch train adapter --off") from error
