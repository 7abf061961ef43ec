"""What sorts a collection without a query: heaps of duplicates, clusters with names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mmsearch import judgements
from mmsearch.collection.looking import Looking
from mmsearch.errors import InputError, QueryError, UsageError
from mmsearch.types import Kind, Record

if TYPE_CHECKING:
    from mmsearch.clusters import Clustering
    from mmsearch.duplicates import Entry, Look

_NEIGHBOURS = 20
_TOGETHER = 1024


class Sorting(Looking):
    """The verbs that sort."""

    def duplicates(self, threshold: float | None = None) -> list[list[Entry]]:
        """Heaps of images that are the same or nearly, the best of each first: most pixels, then sharpest, then most bytes.

        Two images are joined when they have the same bytes, or when both their vectors and their pixels are near
        (:mod:`mmsearch.duplicates.rule`); ``threshold`` is the cosine from which on the pixels may differ more (default 0.95), 1
        leaves only the same bytes. Pairs of :meth:`keep_apart` are never in one heap. Nothing is deleted. Every image asks for its
        20 nearest, which is O(n²), and nearly every file is read once: some 5 ms a photo.
        """
        from mmsearch.duplicates import STRICT, distance, heaps, is_near

        strict = STRICT if threshold is None else threshold
        if not 0 < strict <= 1:
            raise QueryError(f"threshold is {strict}, and must be above 0 and at most 1")
        with self._store.snapshot() as snapshot:
            records = snapshot.records(snapshot.live(Kind.IMAGE).vids)
            apart = judgements.pairs(snapshot.kept())
        known = {record.vid: record for record in records}
        looks: dict[int, Look | None] = {}
        joined: list[tuple[str, str]] = []
        told: dict[frozenset[int], tuple[float, int | None]] = {}
        for one, other, cosine in self._near_pairs(list(known)) if strict < 1 else ():
            pair = frozenset((one, other))
            if pair in told:
                continue
            for vid in pair - looks.keys():
                looks[vid] = self._look(known[vid])
            a, b = looks[one], looks[other]
            bits = None if a is None or b is None else distance(a, b)
            told[pair] = cosine, bits
            if a is None or b is None or bits is None:  # a file that is gone: its vector alone must be as good as the same
                near = cosine >= max(strict, 0.999)
            else:
                near = is_near(cosine, bits, distance(a, b, turned=False), strict)
            if near:
                joined.append((known[one].id, known[other].id))
        sharp = {known[vid].id: found.sharpness for vid, found in looks.items() if found is not None}
        return [self._entries(heap, told, sharp) for heap in heaps(records, joined, apart, sharp)]

    def _near_pairs(self, vids: Sequence[int]) -> Iterator[tuple[int, int, float]]:
        """Pairs of images with a cosine worth a look, each perhaps twice."""
        from mmsearch.duplicates import CANDIDATE
        from mmsearch.indexes.exact import ExactIndex

        with self._store.snapshot() as snapshot:
            index, within = ExactIndex(snapshot), snapshot.live(Kind.IMAGE)
            for at in range(0, len(vids), _TOGETHER):
                part = [vid for vid in vids[at : at + _TOGETHER] if vid in within]
                found = index.search(snapshot.fetch(part), _NEIGHBOURS + 1, within=within)
                for row, one in enumerate(part):
                    scores, near = found.row(row)
                    for cosine, other in zip(scores.tolist(), near.tolist(), strict=True):
                        if other != one and cosine >= CANDIDATE:
                            yield one, other, min(1.0, cosine)

    def _look(self, record: Record) -> Look | None:
        """``None`` where the file is gone, or is no picture any more."""
        from mmsearch.duplicates import look
        from mmsearch.images import open_image, read_file

        path = self.locate(record)
        if path is None:
            return None
        try:
            return look(open_image(read_file(path), at_least=(256, 256))[0])
        except InputError:
            return None

    def _entries(
        self, heap: Sequence[Record], told: dict[frozenset[int], tuple[float, int | None]], sharp: dict[str, float]
    ) -> list[Entry]:
        from mmsearch.duplicates import Entry

        best = heap[0]
        with self._store.snapshot() as snapshot:
            rows = snapshot.fetch([record.vid for record in heap])
        entries = [Entry(best, True, sharpness=sharp.get(best.id))]
        for record, cosine in zip(heap[1:], (rows[1:] @ rows[0]).tolist(), strict=True):
            same = record.digest is not None and record.digest == best.digest
            bits = told.get(frozenset((best.vid, record.vid)), (cosine, None))[1]
            entries.append(Entry(record, same, min(1.0, cosine), bits, sharp.get(record.id)))
        return entries

    def cluster(
        self, k: int | None = None, *, labels: Sequence[str] | None = None, where: str | None = None, seed: int = 0
    ) -> Clustering:
        """Sort the images into ``k`` clusters of similar ones, each named by the labels that fit it better than the rest.

        ``k`` left out is the number that separates best (:func:`mmsearch.clusters.chosen_k`), ``labels`` left out a built-in
        vocabulary of everyday words. ``where`` takes only some images. The same seed gives the same clusters. Seconds for 10,000
        images, most of them for a ``k`` that is to be found; the labels are encoded once. Raises :class:`UsageError`.

        >>> [(one.name, len(one)) for one in photos.cluster(3).clusters]                       # doctest: +SKIP
        [('beach', 41), ('dog', 23), ('birthday cake', 8)]
        """
        from mmsearch import clusters
        from mmsearch.relevance import bank_vectors
        from mmsearch.settings import data_path

        with self._store.snapshot() as snapshot:
            vids = (snapshot.select(where, {}, Kind.IMAGE) if where else snapshot.live(Kind.IMAGE)).vids
            ids = [record.id for record in snapshot.records(vids)]
            rows = snapshot.fetch(vids)
        if len(ids) < 2:
            raise UsageError(f"there {'is 1 image' if ids else 'are no images'} to sort into clusters")
        words = list(clusters.vocabulary() if labels is None else dict.fromkeys(labels))
        if not words:
            raise UsageError("there are no labels to name clusters by")
        asked = [clusters.sentence(word) for word in words]
        labelled = bank_vectors(self._query_encoder(), data_path() / "banks", sentences=asked)
        number = clusters.chosen_k(rows, seed) if k is None else k
        return clusters.named(ids, rows, *clusters.k_means(rows, number, seed), words, labelled)
