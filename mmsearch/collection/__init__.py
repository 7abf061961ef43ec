"""The facade: a collection on disk, and all that can be done with it. The only room where the parts are wired.

One file per kind of verb: :mod:`.core` opens, :mod:`.writing` changes, :mod:`.looking` tells, :mod:`.searching` answers,
:mod:`.care` looks after.
"""

from __future__ import annotations

from mmsearch.collection.care import Care
from mmsearch.collection.searching import Searching
from mmsearch.collection.writing import Writing

__all__ = ["Collection"]


class Collection(Writing, Searching, Care):
    """A folder on disk that holds everything searched together. Open one with :meth:`open`; close it, or use ``with``.

    Safe to use from many threads; one process at a time may write, any number may read beside it.

    >>> with Collection.open("./shop", create=True, model="mini") as shop:          # doctest: +SKIP
    ...     shop.sync(Folder("./photos"))
    ...     shop.search("a cat sleeping")[0].path
    """
