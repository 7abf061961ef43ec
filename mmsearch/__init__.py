"""mmsearch: find photos by words, words by photos, and photos by photos.

::

    import mmsearch as mm

    with mm.Collection.open("./shop", create=True, model="mini") as shop:
        shop.sync(mm.Folder("./photos"))
        for hit in shop.search("a cat sleeping", k=5):
            ...

Names are imported on first use, so that ``import mmsearch`` is quick and loads neither torch nor FAISS.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "errors": (
        "CollectionCorrupt CollectionError CollectionExists CollectionNotFound FilterError FormatTooNew ImageError "
        "InputError ItemNotFound LockedError MMSearchError MissingExtra ModelCorrupt ModelError ModelMismatch "
        "ModelNotFound QueryError SourceError StorageError UsageError"
    ),
    "types": (
        "Facet FacetValue Failure Hit Hits IngestReport Item ItemStatus Kind Progress Query Record Term image item text vector"
    ),
    "collection": "Collection",
    "status": "Status",
    "ingest.options": "IngestOptions",
    "sources": "CocoCaptions FileList Folder Manifest",
}
_HOME = {name: module for module, names in _WHERE.items() for name in names.split()}

__all__ = sorted(_HOME)  # noqa: PLE0605 - the table above is the list

if TYPE_CHECKING:
    from mmsearch.collection import Collection as Collection
    from mmsearch.errors import *  # noqa: F403
    from mmsearch.ingest.options import IngestOptions as IngestOptions
    from mmsearch.sources import CocoCaptions as CocoCaptions
    from mmsearch.sources import FileList as FileList
    from mmsearch.sources import Folder as Folder
    from mmsearch.sources import Manifest as Manifest
    from mmsearch.status import Status as Status
    from mmsearch.types import Facet as Facet
    from mmsearch.types import FacetValue as FacetValue
    from mmsearch.types import Failure as Failure
    from mmsearch.types import Hit as Hit
    from mmsearch.types import Hits as Hits
    from mmsearch.types import IngestReport as IngestReport
    from mmsearch.types import Item as Item
    from mmsearch.types import ItemStatus as ItemStatus
    from mmsearch.types import Kind as Kind
    from mmsearch.types import Progress as Progress
    from mmsearch.types import Query as Query
    from mmsearch.types import Record as Record
    from mmsearch.types import Term as Term
    from mmsearch.types import image as image
    from mmsearch.types import item as item
    from mmsearch.types import text as text
    from mmsearch.types import vector as vector


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
