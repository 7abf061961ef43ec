"""Texts to rows of token ids, for any model: CLIP's byte-pair encoding, a ``tokenizer.json``, or open_clip's own.

Rows come without the padding behind them, so that a batch can be cut to its longest real length; :func:`pad` adds it.
"""

from __future__ import annotations

import html
import json
import string
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import _hub
from mmsearch.encoders._facts import file_sha256
from mmsearch.errors import MissingExtra, ModelCorrupt, ModelNotFound

__all__ = ["ClipTokenizer", "Tokenizer", "pad", "tokenizer_for"]


class Tokenizer(Protocol):
    """``identity`` enters the fingerprint; ``padding`` is the id behind a row's end."""

    @property
    def identity(self) -> str: ...
    @property
    def context_length(self) -> int: ...
    @property
    def padding(self) -> int: ...

    def rows(self, texts: Sequence[str]) -> list[list[int]]: ...


def pad(rows: Sequence[Sequence[int]], length: int, padding: int) -> NDArray[np.int64]:
    """``(n, length)`` int64 of rows that are at most that long."""
    out = np.full((len(rows), length), padding, dtype=np.int64)
    for at, row in enumerate(rows):
        out[at, : len(row)] = row
    return out


class ClipTokenizer:
    """CLIP's byte-pair encoding by the ``tokenizers`` library, whole or cut to its first ``merges``. No torch."""

    padding = 0

    def __init__(self, context_length: int, merges: int | None = None) -> None:
        from mmsearch.encoders.tokenizer import ALL_MERGES

        if context_length < 2 or not 0 <= (merges or 0) <= ALL_MERGES:
            raise ModelCorrupt(f"the model's configuration cannot be used: {merges} merges, {context_length} tokens")
        self.context_length = context_length
        self.merges = merges
        self.identity = f"clip-bpe:{'all' if merges is None else merges}:{context_length}"
        self._run: Callable[[Sequence[str]], list[list[int]]] | None = None

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Start symbol, words, end symbol; at most ``context_length`` ids. ~20 µs a text."""
        if self._run is None:  # kept, since it counts the texts that came singly
            from mmsearch.encoders.tokenizer import clip_tokenizer

            self._run = clip_tokenizer(context_length=self.context_length, merges=self.merges)
        return self._run(texts)


class JsonTokenizer:
    """A ``tokenizer.json`` by the ``tokenizers`` library, as open_clip's HFTokenizer would run it. No transformers."""

    def __init__(self, file: Path, context_length: int, clean: str) -> None:
        from tokenizers import Tokenizer as Model

        try:
            self._model = Model.from_file(str(file))
            beside = file.with_name("tokenizer_config.json")
            config = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
            token = config.get("pad_token", "<pad>")
            token = token.get("content", "<pad>") if isinstance(token, dict) else token
            known = self._model.padding or {}
            self.padding = int(known.get("pad_id", self._model.token_to_id(str(token)) or 0))
            self._model.no_padding()
            self._model.enable_truncation(context_length)
        except Exception as error:  # noqa: BLE001 -- the library raises bare Exception
            raise ModelCorrupt(f"{file} is not a tokenizer: {_line(error)}") from error
        self.file = file
        self.context_length = context_length
        self.identity = f"json:{file_sha256(file)}:{clean}:{context_length}"
        self._clean = clean

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids with the special ones that the file asks for."""
        cleaned = [_clean(text, self._clean) for text in texts]
        try:
            found = self._model.encode_batch(cleaned)
        except Exception as error:  # noqa: BLE001 -- the library raises bare Exception
            raise ModelCorrupt(f"{self.file} is not a tokenizer: {_line(error)}") from error
        return [list(encoding.ids) for encoding in found]


class OpenClipTokenizer:
    """open_clip's own tokenizer for a model, whichever it is. Imports open_clip, and what that tokenizer needs."""

    def __init__(self, source: str, context_length: int, identity: str) -> None:
        import open_clip

        here_only = {} if identity.startswith("open_clip:simple") else {"local_files_only": True}
        self._run = open_clip.get_tokenizer(source, context_length=context_length, **here_only)
        inner = getattr(self._run, "tokenizer", None)
        self.padding = int(getattr(inner, "pad_token_id", 0) or 0)
        self.context_length = context_length
        self.identity = identity

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids up to the last that is not padding."""
        tokens = np.asarray(self._run(list(texts)))
        real = tokens != self.padding
        ends = np.where(real.any(axis=1), tokens.shape[1] - real[:, ::-1].argmax(axis=1), 1)
        return [row[:end].tolist() for row, end in zip(tokens, ends, strict=True)]


def tokenizer_for(
    source: str, model_cfg: Mapping[str, Any], *, folder: Path | None = None, model_dir: Path | None = None
) -> Tokenizer:
    """The tokenizer of a model: the light one where it is known to be equal to open_clip's.

    ``source`` is what open_clip calls the model, ``folder`` the folder of a ``local-dir:``. Raises
    :class:`MissingExtra` where only the ``transformers`` library can read it, :class:`ModelCorrupt` for nonsense.
    """
    try:
        return _tokenizer_for(source, model_cfg, folder, model_dir)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ModelCorrupt(f"the tokenizer of {source} cannot be made out of its configuration: {_line(error)}") from error


def _tokenizer_for(source: str, model_cfg: Mapping[str, Any], folder: Path | None, model_dir: Path | None) -> Tokenizer:
    text = model_cfg.get("text_cfg", {})
    length = int(text.get("context_length", 77))
    options = dict(text.get("tokenizer_kwargs", {}))
    name = text.get("hf_tokenizer_name", "")
    if folder is not None and (merges := _merges_of(folder)) is not None:
        return ClipTokenizer(length, merges)
    siglip = folder is None and "siglip" in source.lower()
    if not name and not siglip and not options and not text.get("hf_model_name"):
        return ClipTokenizer(length)
    clean = str(options.pop("clean", "whitespace"))
    if not name and not siglip:
        return OpenClipTokenizer(source, length, f"open_clip:simple:{clean}:{json.dumps(options)}:{length}")
    if not options and not text.get("tokenizer_mode"):
        file = folder / "tokenizer.json" if folder else _hub.local(name, ("tokenizer.json",), model_dir)
        if file is not None and file.is_file():
            return JsonTokenizer(file, length, clean)
    if find_spec("transformers") is None:
        raise MissingExtra(
            f"the tokenizer of {source} ({name or 'SigLIP'}) is not on this machine as a tokenizer.json",
            hint=f"fetch it with: mmsearch models pull {source}   (or: pip install transformers)",
        )
    try:
        return OpenClipTokenizer(source, length, f"open_clip:{name or source}:{clean}:{json.dumps(options)}:{length}")
    except Exception as error:  # noqa: BLE001 -- transformers raises many kinds
        raise ModelNotFound(f"the tokenizer of {source} cannot be loaded: {error}") from error


def _merges_of(folder: Path) -> int | None:
    """``bpe_merges`` of a folder whose byte-pair encoding is cut, as ``mini``'s is."""
    for name in ("encoder.json", "mini.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("bpe_merges")
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
        return None if found is None else int(found)
    return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _clean(text: str, how: str) -> str:
    """open_clip's cleaning before a Hugging Face tokenizer."""
    import ftfy

    text = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
    if how == "lower":
        return text.lower()
    if how == "canonicalize":
        text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation))
        return " ".join(text.lower().split())
    return text
