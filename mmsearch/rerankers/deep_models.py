"""Matching models of the user's for ``rerank="deep:/path"``, behind the ``rerank`` extra. Folders alone; nothing is fetched.

A folder that transformers' ``BlipForImageTextRetrieval`` has saved is asked through its matching head (ITM: Li et al., BLIP,
ICML 2022); one of sentence-transformers is loaded as a ``CrossEncoder`` whose inputs are a text and a picture. Their logits
alone decide the order of the first hits.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import MissingExtra, ModelCorrupt, ModelNotFound, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.rerankers.deep import Matcher

__all__ = ["BlipMatcher", "CrossMatcher", "open_model"]

_BATCH = 16
_EXTRA = "pip install 'mmsearch[rerank]'"


def open_model(folder: Path) -> Matcher:
    """The matcher for a folder; its weights load on first use.

    Raises :class:`ModelNotFound` where there is no folder, :class:`UsageError` where nothing says what it holds.
    """
    if not folder.is_dir():
        raise ModelNotFound(f"there is no matching model at {folder}", hint="deep:PATH takes a folder")
    if (folder / "modules.json").is_file() or (folder / "config_sentence_transformers.json").is_file():
        return CrossMatcher(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError:
        config = {}
    except ValueError as error:
        raise ModelCorrupt(f"{folder / 'config.json'} is not JSON") from error
    if isinstance(config, dict) and config.get("model_type") == "blip":
        return BlipMatcher(folder)
    raise UsageError(
        f"{folder} holds neither a BLIP nor a sentence-transformers model",
        hint="deep:PATH takes what BlipForImageTextRetrieval or CrossEncoder has saved",
    )


class _Model:
    """What both have in common: no cosine beside the logits, loaded once, under a lock; one pass at a time."""

    towers: str | None = None
    weight: float | None = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._loaded: Any = None

    def _model(self) -> Any:
        with self._lock:
            if self._loaded is None:
                try:
                    self._loaded = self._open()
                except ImportError as error:
                    raise MissingExtra(f"{self._folder} needs {error.name or 'transformers'}", hint=_EXTRA) from error
                except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
                    why = (str(error).strip().splitlines() or [type(error).__name__])[0]
                    raise ModelCorrupt(f"{self._folder} cannot be loaded: {why[:200]}", hint="save the model again") from error
            return self._loaded

    def _open(self) -> Any:
        raise NotImplementedError


class BlipMatcher(_Model):
    """BLIP's matching head. ``look`` keeps the vision states, so that a picture goes through the large tower once.

    >>> BlipMatcher(Path("blip-itm-base-coco")).match("a dog", cells)             # doctest: +SKIP
    """

    def _open(self) -> Any:
        from transformers import BlipForImageTextRetrieval, BlipProcessor

        where = str(self._folder)
        model: Any = BlipForImageTextRetrieval.from_pretrained(where, local_files_only=True)
        model.eval().requires_grad_(False)
        return model, BlipProcessor.from_pretrained(where, local_files_only=True)

    @property
    def size(self) -> tuple[int, int]:
        side = int(self._model()[0].config.vision_config.image_size)
        return side, side

    def prepare(self, picture: Image) -> NDArray[np.float32]:
        """Pixels ``(3, side, side)`` float32."""
        found = self._model()[1].image_processor(images=picture.convert("RGB"), return_tensors="np")
        return np.asarray(found["pixel_values"][0], dtype=np.float32)

    def look(self, pictures: Sequence[NDArray[Any]]) -> NDArray[np.float16]:
        """Vision states ``(n, patches, width)`` as float16."""
        import torch

        model, _ = self._model()
        parts = []
        for start in range(0, len(pictures), _BATCH):
            with torch.inference_mode():
                pixels = torch.from_numpy(np.stack(pictures[start : start + _BATCH]))
                parts.append(model.vision_model(pixel_values=pixels)[0].half().numpy())
        return np.concatenate(parts)

    def match(self, text: str, cells: NDArray[np.float16]) -> NDArray[np.float32]:
        """The logit of "it fits" less that of "it does not", for each picture."""
        import torch

        model, processor = self._model()
        limit = int(model.config.text_config.max_position_embeddings)
        words = processor.tokenizer([text], return_tensors="pt", truncation=True, max_length=limit)
        parts = []
        for start in range(0, len(cells), _BATCH):
            seen = torch.from_numpy(np.asarray(cells[start : start + _BATCH], dtype=np.float32))
            with torch.inference_mode():
                found = model.text_encoder(
                    input_ids=words["input_ids"].repeat(len(seen), 1),
                    attention_mask=words["attention_mask"].repeat(len(seen), 1),
                    encoder_hidden_states=seen,
                    encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long),
                    return_dict=True,
                )
                scores = model.itm_head(found.last_hidden_state[:, 0])
            parts.append((scores[:, 1] - scores[:, 0]).float().numpy())
        return np.concatenate(parts)


class CrossMatcher(_Model):
    """A multimodal CrossEncoder of sentence-transformers (5.4 or later). It sees text and picture together, so nothing but the

    picture itself, 384 px at the longer side, can be kept.
    """

    size = (384, 384)

    def _open(self) -> Any:
        from sentence_transformers import CrossEncoder

        return CrossEncoder(str(self._folder), local_files_only=True)

    def prepare(self, picture: Image) -> NDArray[np.uint8]:
        """Pixels ``(height, width, 3)`` in a square of 384 px, the rest black."""
        from PIL import Image as Pillow

        small = picture.convert("RGB")
        small.thumbnail(self.size)
        square = Pillow.new("RGB", self.size)
        square.paste(small, (0, 0))
        return np.array(square)

    def look(self, pictures: Sequence[NDArray[Any]]) -> NDArray[np.float16]:
        """The pictures as they are: whole numbers up to 255 are exact in float16."""
        return np.stack(pictures).reshape(len(pictures), self.size[1], -1).astype(np.float16)

    def match(self, text: str, cells: NDArray[np.float16]) -> NDArray[np.float32]:
        """The model's scores of (text, picture)."""
        from PIL import Image as Pillow

        pictures = [Pillow.fromarray(one.reshape(self.size[1], self.size[0], 3).astype(np.uint8)) for one in cells]
        scores = self._model().predict([(text, picture) for picture in pictures], batch_size=_BATCH, show_progress_bar=False)
        return np.asarray(scores, dtype=np.float32).reshape(len(cells))
