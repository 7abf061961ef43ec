"""The errors that mmsearch raises, all below one root.

::

    MMSearchError
    ├── UsageError (ValueError)          the caller asked for something that has no meaning
    │   ├── QueryError                       an empty query, a weight that is not a number, …
    │   └── FilterError                      a ``where`` condition that does not parse, or does what is not allowed
    ├── CollectionError                  the folder on disk cannot be used as it is
    │   ├── CollectionNotFound (FileNotFoundError)
    │   ├── CollectionExists (FileExistsError)
    │   ├── CollectionCorrupt                what the catalogue promises is not in the files
    │   ├── FormatTooNew                     written by a later mmsearch
    │   └── ModelMismatch                    the collection holds vectors of another encoder
    ├── LockedError                      another process is writing; ``pid`` names it
    ├── StorageError (OSError)           disk full, read-only, an fsync that failed
    ├── ItemNotFound (KeyError)          no item has this id
    ├── InputError                       one asset cannot be indexed; ``reason`` is a short word
    │   └── ImageError                       the bytes are not an image that can be read safely
    ├── SourceError (OSError)            a source as a whole cannot be read (folder gone, manifest broken)
    ├── ModelError                       an encoder cannot be loaded or run
    │   ├── ModelNotFound                    no such name, or its weights are not on this machine
    │   └── ModelCorrupt                     the files do not have the checksum that was recorded
    └── MissingExtra (ImportError)       an optional package is needed; the hint is the line to install it

Every error carries ``hint``: what to do next, in one line. The library raises; only ``cli/`` prints and exits.
"""

from __future__ import annotations


class MMSearchError(Exception):
    """Root of all errors of this package.

    ``hint`` says what to do next, in one line; it is ``None`` where there is nothing sensible to advise.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(MMSearchError, ValueError):
    """The caller asked for something that has no meaning."""


class QueryError(UsageError):
    """A query that cannot be turned into a vector."""


class FilterError(UsageError):
    """A ``where`` condition that does not parse, or uses what filters do not allow."""


class CollectionError(MMSearchError):
    """The collection on disk cannot be used as it is."""


class CollectionNotFound(CollectionError, FileNotFoundError):
    """There is no collection at this place."""


class CollectionExists(CollectionError, FileExistsError):
    """A collection is to be created where one is already."""


class CollectionCorrupt(CollectionError):
    """The catalogue promises what the files do not hold."""


class FormatTooNew(CollectionError):
    """The collection was written by a later version of mmsearch."""


class ModelMismatch(CollectionError):
    """The collection holds vectors of an encoder with another fingerprint."""


class LockedError(MMSearchError):
    """Another process holds the writer's lock; ``pid`` is its process id where known."""

    def __init__(self, message: str, *, pid: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class StorageError(MMSearchError, OSError):
    """The disk refused: full, read-only, or an fsync that failed."""


class ItemNotFound(MMSearchError, KeyError):
    """No item has this id."""


class InputError(MMSearchError):
    """One asset cannot be indexed; the run goes on without it.

    ``reason`` is a short stable word (``truncated``, ``too_large`` …) for programs, the message is for people.
    """

    def __init__(self, reason: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason

    def __reduce__(self) -> tuple[object, tuple[str, str]]:  # crosses process borders
        return type(self), (self.reason, self.message)


class ImageError(InputError):
    """The bytes are not an image that can be read safely."""


class SourceError(MMSearchError, OSError):
    """A source as a whole cannot be read: its folder is gone, its manifest is broken."""


class ModelError(MMSearchError):
    """An encoder cannot be loaded or run."""


class ModelNotFound(ModelError):
    """No model has this name, or its weights are not on this machine."""


class ModelCorrupt(ModelError):
    """Model files whose checksum is not the recorded one."""


class MissingExtra(MMSearchError, ImportError):
    """An optional package is needed; the hint is the line that installs it."""
