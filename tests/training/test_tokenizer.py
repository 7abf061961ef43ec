"""The light tokenizer against open_clip's own, which it must equal id for id."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from mmsearch.encoders.tokenizer import clip_tokenizer, vocabulary_file

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

NASTY = [
    "",
    " ",
    "\n\t\r\x0b\x0c",
    "a\x00b\x07c\x7fd\x1b[31mred\x1b[0m",
    "naïve café déjà vu – “quoted” ‘single’ …",
    "ﬁne ﬂoor ﬀ ﬃ",
    "ＦＵＬＬ ｗｉｄｔｈ　ｓｐａｃｅ",
    "schÃ¶n mÃ¼de â€” broken encoding",
    "&amp; &amp;amp; &lt;b&gt; &#39;it&#39;s&#39; &nbsp; &EACUTE; &notanentity; &",
    "don't can't I'M WE'VE you'll he'd they're 's 'S 't",
    "'ſ long s, K kelvin, İstanbul, straße, ΣΊΣΥΦΟΣ",
    "日本語の写真 中文图片 한국어 사진 ภาพถ่าย तस्वीर صورة תמונה",
    "🐱🐶👩‍👩‍👧‍👦🇩🇪 👍🏽 ❤️",
    "e\u0301 n\u0303 combined \u200bzero\u200dwidth\u2060 \ufeffbom \u00adsoft",
    "1234567890 3.14 1,000,000 ½ ² Ⅷ ٣",
    'a-b_c/d\\e|f@g#h$i%j^k&l*m(n)o+p=q{r}s[t]u;v:w"x<y>z',
    "!!!??? ... --- ___ ~~~ ``` '''",
    "<start_of_text> a cat <end_of_text>",
    "!!<start_of_text>!!<END_OF_TEXT>x",
    "<start_of_text",
    "x" * 500,
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "\u2028line\u2029para\x85nel\xa0nbsp\u3000wide",
    "\ud7ff\ue000\uffff\U0010ffff",
    "word " * 200,
    "a\u0300\u0301\u0302\u0303 zalgo",
    "$12.50 off! 50% 20°C 5′ 6″ №1 ™ ® ©",
    "http://example.org/a?b=c&d=e#f user@example.org",
    "ǅ ǈ titlecase; ŉ; ß ẞ; ı I İ i",
    "\x1c\x1d\x1e\x1f separators",
]


def corpus() -> list[str]:
    """Captions that we make up from parts, and random strings over many scripts: 2,100 in all."""
    who = [
        "a cat",
        "two dogs",
        "A little girl",
        "an old man in a red hat",
        "the Astronaut",
        "three brown-and-white cows",
    ]
    does = ["sleeping", "running on the beach", "drinking a cup of coffee", "is jumping over a fence", "looks up"]
    where = [
        "at night",
        "in the snow.",
        "near a 19th-century temple",
        "on Mom's couch",
        "under the bridge , outdoors .",
    ]
    made = [" ".join(parts) for parts in itertools.product(who, does, where)]
    items = ["Nike Men White & Yellow Sports Shoes", "ADIDAS Women's Tee-Shirt", 'HP 15.6" Laptop (8GB/1TB)']
    made += [f"{item} {n}% off, size {n / 2}" for item in items for n in range(150)]
    rng = random.Random(0)
    blocks = [(0x20, 0x7E), (0xA0, 0x17F), (0x370, 0x4FF), (0x590, 0x6FF), (0x900, 0x97F), (0x3040, 0x30FF)]
    blocks.append((0x4E00, 0x4FFF))
    for _ in range(1550):
        chosen = rng.choices(blocks, weights=[8, 2, 1, 1, 1, 1, 1], k=rng.randint(1, 16))
        made.append("".join(chr(rng.randint(*block)) if rng.random() > 0.15 else " " for block in chosen))
    return [*made, *NASTY]


def reference(texts: Sequence[str], context_length: int, bpe: Path | None = None) -> list[list[int]]:
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=context_length, **({"bpe_path": str(bpe)} if bpe else {}))
    ids = tokenizer(list(texts), context_length).tolist()
    return [row[: row.index(tokenizer.eot_token_id, 1) + 1] for row in ids]


def differing(texts: Sequence[str], given: list[list[int]], wanted: list[list[int]]) -> list[str]:
    return [t for t, g, w in zip(texts, given, wanted, strict=True) if g != w]


def test_whole_vocabulary_equals_open_clip() -> None:
    texts = corpus()
    assert len(texts) >= 2000
    texts = [t for t in texts if "<end_of_text>" not in t.lower()]
    assert differing(texts, clip_tokenizer(context_length=77)(texts), reference(texts, 77)) == []
    few = texts[::9]
    assert differing(few, clip_tokenizer(context_length=8)(few), reference(few, 8)) == []


@pytest.mark.parametrize("merges", [0, 1, 1000, 10_000])
def test_cut_vocabulary_equals_open_clip_with_a_cut_file(merges: int, tmp_path: Path) -> None:
    lines = gzip.decompress(vocabulary_file().read_bytes()).decode().split("\n")
    cut = tmp_path / "cut.txt.gz"
    cut.write_bytes(gzip.compress("\n".join(lines[: 1 + merges]).encode()))
    texts = [t for t in corpus()[::6] + NASTY if "<end_of_text>" not in t.lower()]
    assert differing(texts, clip_tokenizer(context_length=32, merges=merges)(texts), reference(texts, 32, cut)) == []


def test_typed_special_symbols_become_their_ids_as_in_open_clip() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    text = "!!<start_of_text>!! a <END_OF_TEXT>x <end_of_text> <start_of_text"
    (given,) = clip_tokenizer(context_length=77)([text])
    assert given[1:-1] == SimpleTokenizer().encode(text)


def test_known_ids() -> None:
    assert clip_tokenizer(context_length=77)(["a photo of a cat"]) == [[49406, 320, 1125, 539, 320, 2368, 49407]]
    assert clip_tokenizer(context_length=4)(["a photo of a cat"]) == [[49406, 320, 1125, 49407]]
    assert clip_tokenizer(context_length=32, merges=10_000)([""]) == [[10_512, 10_513]]


@pytest.mark.parametrize(("merges", "length"), [(-1, 77), (48_895, 77), (None, 1)])
def test_senseless_arguments_are_refused(merges: int | None, length: int) -> None:
    with pytest.raises(ValueError, match="must"):
        clip_tokenizer(context_length=length, merges=merges)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data (flickr8k-dev.zip)")
def test_real_captions_equal_open_clip() -> None:
    with zipfile.ZipFile(DATA / "flickr8k-dev.zip") as zf:
        rows = [json.loads(line) for line in zf.read("captions.jsonl").decode().splitlines()]
    texts = [caption for row in rows for caption in row["captions"]][::2]
    assert differing(texts, clip_tokenizer(context_length=77)(texts), reference(texts, 77)) == []
