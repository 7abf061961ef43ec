"""CLIP's byte-pair encoding for a text or two, without building a tokenizer: for a process that asks one question.

The `tokenizers` library needs 0.1 s to take in CLIP's 48,894 merges; the bare lines of the file, as keys of a dict, are
there in 0.02 s, and a short text then needs some dozens of look-ups.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")
"""CLIP's pattern, as far as lower-case ASCII goes."""
_FIRST = ord("!")
"""The printable ASCII characters are the first byte symbols, in order, from this one on; space and controls never occur."""


def encode(text: str, vocabulary: Path, merges: int) -> list[int]:
    """The ids of a cleaned, lower-case, printable ASCII text, without start and end; equal to the library's. 0.1 ms.

    Repeats the merge that stands first in the list until none is left (Sennrich, Haddow, Birch, ACL 2016).
    """
    ranks = _ranks(vocabulary, merges)
    ids: list[int] = []
    for word in _WORDS.findall(text):
        symbols = [*word[:-1], f"{word[-1]}</w>"]
        while len(symbols) > 1:
            pairs = [f"{left} {right}" for left, right in zip(symbols, symbols[1:], strict=False)]
            best = min(pairs, key=lambda pair: ranks.get(pair, merges))
            if best not in ranks:
                break
            symbols = _merged(symbols, pairs, best)
        ids += [_id(symbol, ranks) for symbol in symbols]
    return ids


def _merged(symbols: Sequence[str], pairs: Sequence[str], best: str) -> list[str]:
    """The symbols with every occurrence of a pair made one, from the left."""
    out: list[str] = []
    at = 0
    while at < len(symbols):
        if at < len(pairs) and pairs[at] == best:
            out.append(symbols[at] + symbols[at + 1])
            at += 2
        else:
            out.append(symbols[at])
            at += 1
    return out


def _id(symbol: str, ranks: dict[str, int]) -> int:
    """Bytes come first, then bytes that end a word, then merges in their order."""
    letter = symbol.removesuffix("</w>")
    if len(letter) == 1:
        return ord(letter) - _FIRST + (256 if symbol != letter else 0)
    return ranks[symbol] + 512


@lru_cache(maxsize=2)
def _ranks(vocabulary: Path, merges: int) -> dict[str, int]:
    """``left right`` → place in the list, for the look-up of pairs; and ``leftright``, what it makes, for the ids."""
    lines = read_merges(vocabulary, merges)
    ranks = dict(zip(lines, range(len(lines)), strict=True))
    return ranks | {line.replace(" ", "", 1): rank for rank, line in enumerate(lines)}


def read_merges(vocabulary: Path, merges: int) -> list[str]:
    """The first merges as ``left right``. A line has some dozen bytes: no more of the file is unpacked than that takes."""
    with gzip.open(vocabulary) as file:
        data = file.read(64 * (merges + 1)).decode("utf-8", "ignore")
    return data.split("\n", merges + 1)[1 : merges + 1]
