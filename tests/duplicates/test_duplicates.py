"""Duplicates: the hash against scipy's transform, heaps against a slow way, and photos that must not be joined."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

import mmsearch as mm
from mmsearch.duplicates import distance, heaps, is_near, look
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.types import Kind, Record


def noise(seed: int, size: tuple[int, int] = (200, 150), blur: float = 12) -> Image.Image:
    """Soft blobs: as different for each seed as photos are."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    soft = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur))
    values = np.asarray(soft, dtype=np.float64)
    return Image.fromarray(((values - values.min()) / (values.max() - values.min()) * 255).astype(np.uint8))


def test_the_hash_is_that_of_scipys_transform() -> None:
    fft = pytest.importorskip("scipy.fft")
    for seed in range(5):
        picture = noise(seed)
        small = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=float)
        theirs = fft.dctn(small, norm="ortho")[:8, :8]
        np.testing.assert_allclose(look(picture).frequencies, theirs, atol=1e-8)
        bits = "".join(str(int(one > np.median(theirs.ravel()[1:]))) for one in theirs.ravel())
        assert look(picture).bits == int(bits, 2)


TURNS = [None, *Image.Transpose]


@pytest.mark.parametrize("turn", TURNS)
def test_turned_and_mirrored_pictures_are_the_same(turn: Image.Transpose | None) -> None:
    picture = noise(1, (160, 160))
    turned = picture if turn is None else picture.transpose(turn)
    assert distance(look(picture), look(turned)) <= 1
    assert distance(look(turned), look(picture)) <= 1


def test_edits_are_near_and_other_pictures_far() -> None:
    pictures = [noise(seed) for seed in range(12)]
    for picture in pictures:
        assert distance(look(picture), look(picture.resize((90, 70)))) <= 4
        assert distance(look(picture), look(picture.point(lambda v: min(255, int(v * 1.2))))) <= 8
    between = [distance(look(a), look(b)) for a, b in itertools.combinations(pictures, 2)]
    assert min(between) > 10
    assert look(pictures[0]).sharpness > look(pictures[0].filter(ImageFilter.GaussianBlur(6))).sharpness
    assert look(Image.new("L", (1, 1))).sharpness == 0


def test_nearer_vectors_allow_more_bits() -> None:
    rule = np.array([[is_near(cosine, bits, bits) for bits in range(65)] for cosine in np.linspace(0, 1, 101)])
    assert (np.diff(rule.astype(int), axis=1) <= 0).all()
    assert (np.diff(rule.astype(int), axis=0) >= 0).all()
    assert is_near(1.0, 0, 0)
    assert not is_near(1.0, 32, 32)
    assert is_near(0.96, 15, 15)
    assert not is_near(0.96, 15, 32)  # a chance likeness of a turned picture
    assert not is_near(0.2, 0, 0)


def record(id: str, digest: str | None = None, side: int = 10, size: int = 100) -> Record:
    return Record(id, Kind.IMAGE, width=side, height=side, size=size, digest=digest.encode() if digest else None, vid=int(id))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15),
    st.lists(st.sampled_from("abc") | st.none(), min_size=10, max_size=10),
)
def test_heaps_are_what_can_be_reached(pairs: list[tuple[int, int]], digests: list[str | None]) -> None:
    """Against walking from every record."""
    records = [record(str(at), digest) for at, digest in enumerate(digests)]
    edges = {(a, b) for a, b in pairs} | {(a, b) for a in range(10) for b in range(10) if digests[a] and digests[a] == digests[b]}
    reached = {n: {n} for n in range(10)}
    for _ in range(10):
        for a, b in edges:
            both = reached[a] | reached[b]
            for n in both:
                reached[n] = both
    expected = {frozenset(map(str, group)) for group in map(frozenset, reached.values()) if len(group) > 1}
    found = heaps(records, [(str(a), str(b)) for a, b in pairs])
    assert {frozenset(one.id for one in heap) for heap in found} == expected


def test_the_best_comes_first_and_pairs_stay_apart() -> None:
    records = [record("0", side=5), record("1", side=9), record("2", side=9), record("3", side=9, size=50), record("4", digest="x"),
               record("5", digest="x")]
    (heap,) = heaps(records[:4], [("0", "1"), ("1", "2"), ("2", "3")], sharpness={"2": 9.0, "1": 3.0})
    assert [one.id for one in heap] == ["2", "1", "3", "0"]
    found = heaps(records, [("0", "1"), ("1", "2"), ("2", "3")], [frozenset(("0", "3")), frozenset(("4", "5"))])
    assert sorted(sorted(one.id for one in heap) for heap in found) == [["0", "1", "2"]]


def test_a_collections_duplicates(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(6):
        noise(seed, (200, 150)).save(folder / f"{seed}.png")
    noise(0, (200, 150)).resize((120, 90)).save(folder / "0 small.jpg", quality=60)
    noise(1, (200, 150)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "1 mirrored.png")
    (folder / "2 copy.png").write_bytes((folder / "2.png").read_bytes())
    with mm.Collection.open(tmp_path / "c", create=True, model="toy") as collection:
        collection.sync(mm.Folder(folder))
        found = [[entry.record.id for entry in heap] for heap in collection.duplicates()]
        assert [sorted(heap) for heap in found] == [["0 small.jpg", "0.png"], ["1 mirrored.png", "1.png"], ["2 copy.png", "2.png"]]
        assert found[0] == ["0.png", "0 small.jpg"]
        best, small = collection.duplicates()[0]
        assert (best.same_bytes, best.cosine, small.same_bytes) == (True, None, False)
        assert small.bits is not None
        assert small.bits <= 6
        assert small.cosine == pytest.approx(collection.similar("0.png", k=9)[0].score, abs=0.1)
        assert [[e.record.id for e in heap] for heap in collection.duplicates(1.0)] == [["2 copy.png", "2.png"]]
        collection.keep_apart("0 small.jpg", "0.png")
        collection.keep_apart("2.png", "2 copy.png")
        assert [sorted(e.record.id for e in heap) for heap in collection.duplicates()] == [["1 mirrored.png", "1.png"]]
        for name in ("1.png", "1 mirrored.png"):  # gone files cannot be looked at
            (folder / name).unlink()
        gone = [entry for heap in collection.duplicates() for entry in heap]
        assert {entry.bits for entry in gone} == {entry.sharpness for entry in gone} == {None}  # only the vectors are left
        assert {entry.record.id for entry in gone} == {"1.png", "1 mirrored.png"}


@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image carries the photos")
def test_grass_and_gravel_are_no_duplicates() -> None:
    """A toy once gave both one vector; even so the pixels tell them apart."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    photos = [Image.open(Path(spec.origin).parent / "data" / f"{name}.png") for name in ("grass", "gravel", "brick")]
    toy = ToyEncoder()
    rows = toy.encode_images([toy.preparer(photo) for photo in photos])
    for (a, one), (b, other) in itertools.combinations(enumerate(photos), 2):
        upright = distance(look(one), look(other), turned=False)
        assert not is_near(max(0.999, float(rows[a] @ rows[b])), distance(look(one), look(other)), upright)
        smaller = look(one.resize((150, 150)))
        assert is_near(0.98, distance(look(one), smaller), distance(look(one), smaller, turned=False))
