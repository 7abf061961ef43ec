"""CLIP's byte-pair encoding through the `tokenizers` library, equal to open_clip's and without importing it.

Importing `open_clip.tokenizer` costs seconds because torch and torchvision come along; a query must not pay that. The
merges are read from the vocabulary file inside the installed open_clip package. Cutting the list to its first N merges
leaves a proper, smaller byte-pair encoding, which is what `mini` uses.
"""

from __future__ import annotations

import html
import importlib.util
import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.encoders import _bpe
from mmsearch.errors import ModelNotFound

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FEW = 4
"""So many single texts are encoded in plain Python; then it pays to build the library's tokenizer, which is faster."""
ALL_MERGES = 48894
"""How many merges OpenAI's CLIP uses: a vocabulary of 49,408 less 512 byte symbols and 2 specials."""

START = "<start_of_text>"
END = "<end_of_text>"

_WORDS = rf"(?i:{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d)|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"

Tokenize = Callable[[Sequence[str]], list[list[int]]]


def clip_tokenizer(*, context_length: int, merges: int | None = None) -> Tokenize:
    """Return a function from texts to lists of ids, each with its start and end symbol, at most `context_length` long.

    Too long a text is cut and keeps its end symbol last, as open_clip does; `merges=None` is CLIP's whole vocabulary. The
    largest id is the end symbol's, so a tower that pools at `argmax` finds it. Raises ModelNotFound without an installed
    open_clip. Cost: 0.1 s once per number of merges (0.02 s for the first few single texts), then about 20 us per caption.

    >>> clip_tokenizer(context_length=77)(["a cat"])
    [[49406, 320, 2368, 49407]]
    """
    count = ALL_MERGES if merges is None else merges
    if not 0 <= count <= ALL_MERGES:
        raise ValueError(f"merges must be 0..{ALL_MERGES}, not {count}")
    if context_length < 2:
        raise ValueError(f"context_length must hold the start and end symbols, not {context_length}")
    start, end = 512 + count, 513 + count
    vocabulary, few = vocabulary_file(), itertools.count()

    def cut(ids: Sequence[int]) -> list[int]:
        return [start, *ids[: context_length - 2], end]

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        cleaned = [clean(text) for text in texts]
        if len(texts) == 1 and _is_plain(cleaned[0]) and next(few) < FEW:
            return [cut(_bpe.encode(cleaned[0], vocabulary, count))]
        tokenizer = _build(count)
        plain = [text if START not in text and END not in text else "" for text in cleaned]
        rows: list[list[int]] = []
        for text, encoding in zip(cleaned, tokenizer.encode_batch_fast(plain, add_special_tokens=False), strict=True):
            body = _with_specials(tokenizer, text, start, end) if START in text or END in text else encoding.ids
            rows.append(cut(body))
        return rows

    return tokenize


def clean(text: str) -> str:
    """Mend broken unicode, undo HTML escapes twice, collapse white space, lower the case: open_clip's `lower` cleaning.

    ftfy leaves printable ASCII without `&` as it is, so it is imported only for the rest.
    """
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and START not in text and END not in text


def _with_specials(tokenizer: Tokenizer, text: str, start: int, end: int) -> list[int]:
    """Encode a text in which somebody typed a special symbol; open_clip turns it into the symbol's id."""
    from tokenizers import Regex, pre_tokenizers

    ids: list[int] = []
    words = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
    for word, _span in words.pre_tokenize_str(text):
        if word in (START, END):
            ids.append(start if word == START else end)
        else:
            ids.extend(tokenizer.encode(word, add_special_tokens=False).ids)
    return ids


@lru_cache(maxsize=4)
def _build(count: int) -> Tokenizer:
    """The encoder with the first `count` merges; ids are bytes, bytes that end a word, then merges, in file order."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    merges = [(left, right) for left, right in map(str.split, _bpe.read_merges(vocabulary_file(), count))]
    symbols = _byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *(left + right for left, right in merges)]
    model = models.BPE(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        end_of_word_suffix="</w>",
        continuing_subword_prefix="",
        fuse_unk=False,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def vocabulary_file() -> Path:
    """The file of merges inside the installed open_clip, found without importing it."""
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        raise ModelNotFound("CLIP's vocabulary comes with open_clip", hint="pip install open_clip_torch")
    return Path(found.origin).parent / "bpe_simple_vocab_16e6.txt.gz"


def _byte_symbols() -> list[str]:
    """One printable character for each of the 256 bytes, in the order of CLIP's vocabulary (GPT-2's byte table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(code) for code in printable] + [chr(256 + rank) for rank in range(len(others))]
