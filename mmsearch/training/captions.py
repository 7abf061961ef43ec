"""What is said about a picture, in several wordings, as token lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmsearch.encoders.tokenizer import Tokenize
from mmsearch.training.data import Corpus, Meta

Rows = list[list[int]]


def wordings(corpus: Corpus) -> list[list[str]]:
    """All wordings of each row; a wording listed twice is drawn twice as often. Rows without any text stay empty."""
    if corpus.name.startswith("myntra"):
        return [_product(row) for row in corpus.meta]
    return [[plain(caption) for caption in captions] for captions in corpus.captions]


def plain(caption: str) -> str:
    """Flickr's captions end in " .", which no query does."""
    return caption.strip().removesuffix(".").strip()


def _product(row: Meta) -> list[str]:
    """A catalogue title, mostly as it stands, and short wordings made of its fields (label to text templates)."""
    title = str(row["captions"][0])
    colour, article = str(row.get("colour") or "").lower(), str(row.get("article_type") or "").lower()
    usage, kind = str(row.get("usage") or "").lower(), str(row.get("sub_category") or "").lower()
    short = [f"{colour} {article}", f"a photo of {colour} {article}", f"{usage} {article}", f"{kind}, {article}"]
    return [title, title, title, title, *(" ".join(text.split()) for text in short)]


def tokenised(texts: Sequence[Sequence[str]], tokenize: Tokenize) -> list[Rows]:
    """Token lists of every wording of every row."""
    flat = tokenize([text for row in texts for text in row])
    out: list[Rows] = []
    start = 0
    for row in texts:
        out.append(flat[start : start + len(row)])
        start += len(row)
    return out


def draw(rows: Sequence[Rows], rng: np.random.Generator, drop: float = 0.1) -> Rows:
    """One wording of each row; in every third one each word is left out with probability `drop`.

    Dropping words teaches the tower to cope with queries terser than captions. Start and end symbols stay.
    """
    picked: Rows = []
    for wording in rows:
        ids = wording[int(rng.integers(len(wording)))]
        if drop and len(ids) > 4 and rng.random() < 1 / 3:
            keep = rng.random(len(ids)) >= drop
            keep[0] = keep[-1] = True
            ids = [token for token, kept in zip(ids, keep, strict=True) if kept]
        picked.append(ids)
    return picked


Draw = Callable[[Sequence[Rows], np.random.Generator], Rows]
