"""What a caller can say about a run of indexing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mmsearch.decoding.loader import Loader
from mmsearch.images import MAX_MEGAPIXELS
from mmsearch.protocols import Encoder
from mmsearch.store import Store, Writer
from mmsearch.types import ProgressFn

DEFAULT_BATCH = 32


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How hard to work; ``None`` lets mmsearch choose.

    ``batch_size`` images go through the encoder at once; ``workers`` processes decode (0: in this process);
    ``max_megapixels`` is the largest picture that is opened; ``gps`` keeps the place a photo was taken at.
    """

    batch_size: int | None = None
    workers: int | None = None
    max_megapixels: float | None = None
    gps: bool = False

    def batch_for(self, encoder: Encoder) -> int:
        """Items a batch: as asked for, else what the encoder proposes."""
        return self.batch_size or int(getattr(encoder, "batch_size", DEFAULT_BATCH))

    def loader(self, encoder: Encoder, *, few: bool = False) -> Loader:
        """The decoders for this encoder; ``few`` items are decoded in this process, which starts at once."""
        workers = 0 if few and self.workers is None else self.workers
        most = MAX_MEGAPIXELS if self.max_megapixels is None else self.max_megapixels
        return Loader(encoder.preparer, workers=workers, gps=self.gps, max_megapixels=most)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run may do. ``on_error`` is ``"record"`` (name the file, go on) or ``"raise"``."""

    on_error: str = "record"
    prune: bool = True
    checksum: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run writes, with which encoder, and who hears of it.

    ``encoder`` is a function: an unchanged tree loads no model. ``writer`` is ``None`` for a dry run. ``record_root``
    names the place that items come from, where it is a new one.
    """

    store: Store
    writer: Writer | None
    encoder: Callable[[], Encoder]
    progress: ProgressFn | None = None
    record_root: Callable[[Writer], None] = lambda writer: None
