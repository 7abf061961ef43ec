"""What changes a collection: bring it up to date with a source, add, delete."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmsearch.collection.core import one_of
from mmsearch.collection.looking import Looking
from mmsearch.protocols import Source
from mmsearch.store import Change
from mmsearch.types import IngestReport, Item, ProgressFn

if TYPE_CHECKING:
    from mmsearch.ingest import IngestOptions
    from mmsearch.store import Writer


class Writing(Looking):
    """The verbs that write; one process at a time, searches go on meanwhile."""

    def sync(
        self,
        source: Source,
        *,
        on_error: str = "record",
        progress: ProgressFn | None = None,
        prune: bool = True,
        checksum: bool = False,
        dry_run: bool = False,
        wait: float = 0.0,
        options: IngestOptions | None = None,
    ) -> IngestReport:
        """Bring the items of ``source`` up to date: new, changed, moved and gone files.

        A file that cannot be read is named in the report and the run goes on (``on_error="raise"`` stops at it).
        ``prune=False`` keeps items whose file is gone; ``checksum`` reads every file and trusts no mtime; ``dry_run``
        only says what would be done. Another writer is waited for ``wait`` seconds, then :class:`LockedError` is raised.
        After an interrupt or a kill the next call goes on where this one stopped; at most one batch is done twice.
        """
        from mmsearch.ingest import IngestOptions, Rules, Target, sync
        from mmsearch.roots import RULES, RootRules, find_root

        options = options or IngestOptions()
        rules = Rules(on_error=one_of("on_error", on_error, "record", "raise"), prune=prune, checksum=checksum)
        with self._writing(wait, dry_run) as writer:
            roots = self.roots()
            place = find_root(roots, RootRules.load(self._stored(RULES)), source)

            def record_root(writer: Writer) -> None:
                if place.name not in roots:
                    writer.add_root(place.name, place.source.root)
                    writer.set_meta(RULES, place.rules.dump())

            target = Target(self._store, writer, lambda: self.encoder, progress, record_root)
            return sync(place.source, target, root=place.name, prefix=place.prefix, rules=rules, options=options)

    def add(
        self,
        items: Iterable[Item],
        *,
        on_error: str = "raise",
        progress: ProgressFn | None = None,
        wait: float = 0.0,
        options: IngestOptions | None = None,
    ) -> IngestReport:
        """Add items, or replace those with the same id. Searchable when the call returns.

        With ``on_error="raise"`` the first item that cannot be read raises :class:`InputError`; what came before it stays.
        """
        from mmsearch.ingest import IngestOptions, Rules, Target, add

        rules = Rules(on_error=one_of("on_error", on_error, "record", "raise"))
        with self._writing(wait) as writer:
            target = Target(self._store, writer, lambda: self.encoder, progress)
            return add(items, target, rules=rules, options=options or IngestOptions())

    def delete(self, ids: Iterable[str], *, wait: float = 0.0) -> int:
        """Delete items by id; ids that do not exist are passed over. Returns how many were deleted."""
        wanted = list(ids)
        with self._writing(wait) as writer:
            assert writer is not None
            with self._store.snapshot() as snapshot:
                vids = [record.vid for record in snapshot.by_id(wanted).values()]
            writer.commit(Change(deletes=vids))
        return len(vids)
