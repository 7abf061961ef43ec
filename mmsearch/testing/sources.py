"""Conformance suite of the :class:`~mmsearch.protocols.Source` seam."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping

import pytest

from mmsearch.protocols import Source
from mmsearch.types import Asset, Kind

__all__ = ["SourceConformance"]


class SourceConformance:
    """Subclass it, define the two fixtures, and pytest proves that your source keeps the contract.

    ``source`` makes the source over at least two assets; ``expected`` maps the id of every asset that it must yield to
    the asset's kind and bytes. Set ``prunes`` to False where the source never claims to have seen all there is, and
    ``picklable`` to False where it does not claim to cross process borders.

    ::

        class TestMySource(SourceConformance):
            @pytest.fixture
            def source(self, tmp_path):
                (tmp_path / "a.txt").write_text("a cat")
                (tmp_path / "b.txt").write_text("a dog")
                return MySource(tmp_path)

            @pytest.fixture
            def expected(self):
                return {"a.txt": (Kind.TEXT, b"a cat"), "b.txt": (Kind.TEXT, b"a dog")}
    """

    prunes = True
    picklable = True

    @pytest.fixture
    def source(self) -> Source:
        raise NotImplementedError("define the fixture 'source' in your subclass")

    @pytest.fixture
    def expected(self) -> Mapping[str, tuple[Kind, bytes]]:
        raise NotImplementedError("define the fixture 'expected' in your subclass")

    def test_is_a_source(self, source: Source) -> None:
        assert isinstance(source, Source)
        assert os.path.isabs(source.root)
        assert source.root == os.path.normpath(source.root)
        assert source.scope == "" or not source.scope.startswith(("/", "../"))

    def test_yields_what_is_there(self, source: Source, expected: Mapping[str, tuple[Kind, bytes]]) -> None:
        found = {asset.id: (asset.kind, source.read(asset)) for asset in source.scan()}
        assert found == dict(expected)

    def test_assets_are_well_formed(self, source: Source) -> None:
        for asset in source.scan():
            assert type(asset) is Asset
            assert isinstance(asset.kind, Kind)
            asset.id.encode()  # an id is text that can be stored: no lone surrogates
            assert asset.id
            assert isinstance(asset.size, int)
            assert isinstance(asset.mtime_ns, int)
            assert abs(asset.mtime_ns) < 2**63
            assert asset.text is None or (asset.kind is Kind.TEXT and asset.text.strip())
            below = os.path.normpath(os.path.join(source.root, asset.path))
            assert not os.path.isabs(asset.path)
            assert below == os.path.join(source.root, asset.path)
            assert asset.path == source.scope or asset.path.startswith(source.scope)

    def test_ids_are_unique(self, source: Source) -> None:
        ids = [asset.id for asset in source.scan()]
        assert len(ids) == len(set(ids))

    def test_scanning_again_yields_the_same_in_the_same_order(self, source: Source) -> None:
        first = list(source.scan())
        assert len(first) >= 2
        assert list(source.scan()) == first

    def test_complete_only_after_a_whole_scan(self, source: Source) -> None:
        scan = source.scan()
        next(scan)
        assert source.complete is False
        list(scan)
        assert source.complete is self.prunes
        next(source.scan())
        assert source.complete is False

    def test_images_have_the_size_and_mtime_of_their_file(self, source: Source) -> None:
        for asset in source.scan():
            if asset.kind is Kind.IMAGE:
                stat = os.stat(os.path.join(source.root, asset.path))
                assert (asset.size, asset.mtime_ns) == (stat.st_size, stat.st_mtime_ns)

    def test_locate_names_the_file_that_holds_the_bytes(self, source: Source) -> None:
        locate = getattr(source, "locate", None)
        if locate is None:
            pytest.skip("this source has no locate")
        for asset in source.scan():
            path = locate(asset)
            if path is None:
                continue
            assert os.path.isabs(path)
            with open(path, "rb") as stream:
                assert stream.read() == source.read(asset)

    def test_a_pickled_copy_scans_the_same(self, source: Source) -> None:
        if not self.picklable:
            pytest.skip("this source does not claim to be picklable")
        copy = pickle.loads(pickle.dumps(source))
        assert list(copy.scan()) == list(source.scan())
