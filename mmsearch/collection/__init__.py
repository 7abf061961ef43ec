"""The facade: a collection on disk, and all that can be done with it. The only room where the parts are wired.

One file per kind of verb: :mod:`.core` opens, :mod:`.writing` changes, :mod:`.looking` tells, :mod:`.searching` answers,
:mod:`.care` looks after, :mod:`.catalogue` keeps a shop,
:mod:`.explaining` says where,
:mod:`.backup` makes copies, :mod:`.adapting` switches what was learned from users.
"""

from __future__ import annotations

from mmsearch.collection.adapting import Adapting
from mmsearch.collection.backup import Backup
from mmsearch.collection.care import Care
from mmsearch.collection.catalogue import Catalogue
from mmsearch.collection.explaining import Explaining
from mmsearch.collection.indexing import Indexing
from mmsearch.collection.judging import Judging
from mmsearch.collection.searching import Searching
from mmsearch.collection.sorting import Sorting
from mmsearch.collection.writing import Writing

__all__ = ["Collection"]


class Collection(Catalogue, Writing, Searching, Care, Backup, Explaining, Judging, Sorting, Indexing, Adapting):
    """A folder on disk that holds everything searched together. Open one with :meth:`open`; close it, or use ``with``.

    Safe to use from many threads; one process at a time may write, any number may read beside it.

    >>> with Collection.open("./shop", create=True, model="mini") as shop:          # doctest: +SKIP
    ...     shop.sync(Folder("./photos"))
    ...     shop.search("a cat sleeping")[0].path
    """
