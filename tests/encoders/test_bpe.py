"""The small byte-pair encoder for single texts gives what the `tokenizers` library gives, which equals open_clip's."""

from __future__ import annotations

import random
import string

import pytest

from mmsearch.encoders import tokenizer
from mmsearch.encoders._bpe import encode
from mmsearch.encoders.tokenizer import ALL_MERGES, FEW, clip_tokenizer, vocabulary_file

WORDS = (
    "a photograph of the international space station isn't what we'd've expected he'll don't they're i'm it's "
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis banana aaaaaaaaaa abababababab mississippi "
    "x y z 1 22 333 4444 $9.99 50% #hashtag @someone (brackets) [square] {curly} a-b-c under_score ... !!! ?! :-) <3 c++ 'tis"
)


@pytest.mark.parametrize("merges", [0, 1, 500, 10_000, ALL_MERGES])
def test_it_equals_the_library(merges: int) -> None:
    rng = random.Random(3)
    letters = string.ascii_lowercase + string.digits + string.punctuation
    texts = ["", WORDS, *WORDS.split()]
    texts += ["".join(rng.choices(letters, k=rng.randint(1, 24))) for _ in range(300)]
    texts += ["".join(rng.choices("etaoinshr", k=rng.randint(2, 14))) for _ in range(300)]
    library = tokenizer._build(merges)
    for text in texts:
        cleaned = tokenizer.clean(text)
        assert encode(cleaned, vocabulary_file(), merges) == library.encode(cleaned, add_special_tokens=False).ids, text


def test_the_first_single_texts_and_the_later_ones_are_alike() -> None:
    tokenize, many = clip_tokenizer(context_length=8, merges=10_000), clip_tokenizer(context_length=8, merges=10_000)
    texts = ["A cat", "Ein süßer Hund", "x" * 50 + " is long and has many words in it", "<end_of_text> a", "", "bell\x07"]
    wanted = many(texts)
    for _ in range(FEW + 1):
        assert [tokenize([text])[0] for text in texts] == wanted
