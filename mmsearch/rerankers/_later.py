"""An encoder that is found when it is first asked for anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.protocols import Encoder, EncoderSpec, ImagePreparer
from mmsearch.types import Vectors


class Later:
    """The encoder of a search, found when a reranker asks for it: most do not, and the model may not be on this machine."""

    def __init__(self, encoder: Callable[[], Encoder]) -> None:
        self._encoder = encoder

    @property
    def spec(self) -> EncoderSpec:
        return self._encoder().spec

    @property
    def preparer(self) -> ImagePreparer:
        return self._encoder().preparer

    def encode_images(self, batch: Sequence[NDArray[np.uint8]]) -> Vectors:
        return self._encoder().encode_images(batch)

    def encode_texts(self, batch: Sequence[str]) -> Vectors:
        return self._encoder().encode_texts(batch)
