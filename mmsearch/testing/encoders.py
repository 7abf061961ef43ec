"""What every encoder must hold to. Subclass, give the fixtures, and pytest runs it::

    class TestToy(EncoderConformance):
        @pytest.fixture
        def encoder(self):
            return ToyEncoder()
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.protocols import Encoder, EncoderSpec
from mmsearch.types import Vectors

__all__ = ["EncoderConformance", "pictures"]

TEXTS = ("a red square", "two children are playing football in the rain", "", "ein Hund läuft 🐕", "sky", "word " * 300)
"""Short, long, empty, not ASCII, and longer than any context."""


SIZES = ((40, 30), (30, 50), (64, 64), (200, 7), (33, 33))


def pictures(sizes: Sequence[tuple[int, int]] = SIZES) -> list[Image.Image]:
    """Pictures of different content, one for each (width, height); the same on every machine."""
    made = []
    for at, (width, height) in enumerate(sizes):
        y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        planes = np.stack([x if at % 2 else 1 - x, y, np.sin(9 * (at + 1) * x * y) / 2 + 0.5], axis=2)
        made.append(Image.fromarray((planes * 255).astype(np.uint8)))
    return made


class EncoderConformance:
    """Values of :class:`mmsearch.protocols.Encoder`, proved. Fixture ``encoder`` is the one under test.

    Fixture ``expression`` is Python that makes the same encoder in another process (``""``: not tested). ``tolerance``
    is how far a row may depend on its batch: 1e-5 in fp32; low precision needs more.
    """

    tolerance = 1e-5

    @pytest.fixture
    def encoder(self) -> Encoder:
        raise NotImplementedError("give the encoder under test")

    @pytest.fixture
    def expression(self) -> str:
        return ""

    @pytest.fixture
    def other_preprocessing(self) -> Encoder | None:
        """The same weights behind another preprocessing; ``None`` where the encoder has no choice of it."""
        return None

    @pytest.fixture
    def prepared(self, encoder: Encoder) -> list[NDArray[np.uint8]]:
        return [encoder.preparer(picture) for picture in pictures()]

    def test_satisfies_the_protocol(self, encoder: Encoder) -> None:
        assert isinstance(encoder, Encoder)
        assert isinstance(encoder.spec, EncoderSpec)
        assert encoder.spec.name
        assert encoder.spec.licence
        assert len(encoder.spec.fingerprint) == 64
        assert set(encoder.spec.fingerprint) <= set("0123456789abcdef")
        assert encoder.spec.context_length > 1

    def test_preparer_makes_what_the_spec_says(self, encoder: Encoder, prepared: list[NDArray[np.uint8]]) -> None:
        width, height = encoder.spec.image_size
        for pixels in prepared:
            assert pixels.dtype == np.uint8
            assert pixels.shape == (height, width, 3)
        least = encoder.preparer.size
        assert least[0] >= width
        assert least[1] >= height

    def test_preparer_is_picklable_and_pure(self, encoder: Encoder) -> None:
        copy = pickle.loads(pickle.dumps(encoder.preparer))
        for picture in pictures():
            before = picture.tobytes()
            np.testing.assert_array_equal(copy(picture), encoder.preparer(picture))
            assert picture.tobytes() == before

    def test_image_rows_are_unit_float32(self, encoder: Encoder, prepared: list[NDArray[np.uint8]]) -> None:
        self._check_rows(encoder, encoder.encode_images(prepared), len(prepared))

    def test_text_rows_are_unit_float32(self, encoder: Encoder) -> None:
        self._check_rows(encoder, encoder.encode_texts(TEXTS), len(TEXTS))

    def test_empty_batches(self, encoder: Encoder) -> None:
        for rows in (encoder.encode_images([]), encoder.encode_texts([])):
            assert rows.shape == (0, encoder.spec.dim)
            assert rows.dtype == np.float32

    def test_same_input_gives_same_rows(self, encoder: Encoder, prepared: list[NDArray[np.uint8]]) -> None:
        np.testing.assert_array_equal(encoder.encode_images(prepared), encoder.encode_images(prepared))
        np.testing.assert_array_equal(encoder.encode_texts(TEXTS), encoder.encode_texts(TEXTS))

    def test_different_input_gives_different_rows(self, encoder: Encoder, prepared: list[NDArray[np.uint8]]) -> None:
        for rows in (encoder.encode_images(prepared), encoder.encode_texts(TEXTS)):
            cosines = rows @ rows.T - np.eye(len(rows))
            assert cosines.max() < 1 - 1e-6

    def test_a_row_does_not_depend_on_its_batch(self, encoder: Encoder, prepared: list[NDArray[np.uint8]]) -> None:
        alone = np.concatenate([encoder.encode_images([pixels]) for pixels in prepared])
        np.testing.assert_allclose(encoder.encode_images(prepared), alone, atol=self.tolerance)
        alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
        np.testing.assert_allclose(encoder.encode_texts(TEXTS), alone, atol=self.tolerance)

    def test_rows_come_in_the_order_given(self, encoder: Encoder, prepared: list[NDArray[np.uint8]]) -> None:
        forward = encoder.encode_images(prepared)
        np.testing.assert_allclose(encoder.encode_images(prepared[::-1])[::-1], forward, atol=self.tolerance)
        forward = encoder.encode_texts(TEXTS)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS[::-1])[::-1], forward, atol=self.tolerance)

    def test_many_rows(self, encoder: Encoder, prepared: list[NDArray[np.uint8]]) -> None:
        """More than one inner batch."""
        once = encoder.encode_images(prepared)
        many = encoder.encode_images(prepared * 15)
        np.testing.assert_allclose(many, np.tile(once, (15, 1)), atol=self.tolerance)

    def test_threads_get_the_same_rows(self, encoder: Encoder, prepared: list[NDArray[np.uint8]]) -> None:
        expected = encoder.encode_images(prepared), encoder.encode_texts(TEXTS)
        with ThreadPoolExecutor(4) as pool:
            images = [pool.submit(encoder.encode_images, prepared) for _ in range(4)]
            texts = [pool.submit(encoder.encode_texts, TEXTS) for _ in range(4)]
        for future in images:
            np.testing.assert_allclose(future.result(), expected[0], atol=self.tolerance)
        for future in texts:
            np.testing.assert_allclose(future.result(), expected[1], atol=self.tolerance)

    def test_spec_does_not_change_with_use(self, encoder: Encoder) -> None:
        before = encoder.spec
        encoder.encode_texts(["a"])
        after = encoder.spec
        assert (after.name, after.dim, after.fingerprint) == (before.name, before.dim, before.fingerprint)

    def test_fingerprint_is_the_same_in_another_process(self, encoder: Encoder, expression: str) -> None:
        if not expression:
            pytest.skip("no expression was given")
        code = f"print(({expression}).spec.fingerprint)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == encoder.spec.fingerprint

    def test_fingerprint_knows_the_preprocessing(self, encoder: Encoder, other_preprocessing: Encoder | None) -> None:
        if other_preprocessing is None:
            pytest.skip("this encoder has one preprocessing only")
        assert other_preprocessing.spec.fingerprint != encoder.spec.fingerprint

    def _check_rows(self, encoder: Encoder, rows: Vectors, count: int) -> None:
        assert rows.dtype == np.float32
        assert rows.shape == (count, encoder.spec.dim)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
