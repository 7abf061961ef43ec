"""Damaged pictures: each is refused with a reason, or gives upright RGB within the limits; nothing else is raised.

Every target is a function of a seed, so that one that fails can be run again: it returns a short word for what happened, and
raises ``AssertionError`` where a promise is broken.
"""

from __future__ import annotations

import json
import random
import warnings

from mmsearch.errors import ImageError
from mmsearch.images import Reason, open_image, thumbnail
from mmsearch.images.exif import Exif, read_exif
from mmsearch.images.formats import is_cut_short, sniff, without_extras
from tests.fuzz.containers import damaged, tiff
from tests.fuzz.mutate import blind
from tests.fuzz.pictures import EXIF, mutant, samples

MAX_MEGAPIXELS = 4.0
REASONS = {str(Reason.NOT_IMAGE), str(Reason.TRUNCATED), str(Reason.CORRUPT), str(Reason.TOO_LARGE), str(Reason.UNSUPPORTED)}


def picture(seed: int) -> str:
    """A damaged file of any format through :func:`open_image`, as a worker or a query opens it."""
    rng = random.Random(seed)
    _, data = mutant(seed)
    at_least = rng.choice((None, (16, 16), (448, 448)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image, info = open_image(data, max_megapixels=MAX_MEGAPIXELS, at_least=at_least, gps=True)
        except ImageError as error:
            check_error(error)
            return str(error.reason)
        except MemoryError:
            return "memory"  # a worker that meets its limit says so and is replaced
        assert image.mode == "RGB"
        assert info.width * info.height <= MAX_MEGAPIXELS * 1e6
        assert min(image.size) > 0
        small = thumbnail(image, 16)
        assert max(open_image(small)[0].size) <= 16
    check_exif(Exif(1, info.taken, info.exif))
    return "opened"


def check_error(error: ImageError) -> None:
    """Asserts that a person and a program can both read it."""
    assert str(error.reason) in REASONS
    assert error.message
    assert len(f"{error.message}\n{error.hint or ''}".splitlines()) <= 3
    error.message.encode()


def check_exif(found: Exif) -> None:
    """Asserts that the catalogue can keep what was found."""
    assert 1 <= found.orientation <= 8
    assert found.taken is None or abs(found.taken) < 2**40
    json.dumps(dict(found.fields), allow_nan=False, ensure_ascii=False).encode()
    assert set(found.fields) <= {"make", "model", "lens", "date", "gps"}
    assert all(len(text) <= 200 for text in found.fields.values() if isinstance(text, str))
    if gps := found.fields.get("gps"):
        assert abs(gps["lat"]) <= 90
        assert abs(gps["lon"]) <= 180


def exif(seed: int) -> str:
    """A damaged EXIF block through :func:`read_exif`, which never raises."""
    rng = random.Random(seed)
    block = EXIF
    for _ in range(rng.choice((1, 2, 4))):
        block = tiff(block, rng) if rng.random() < 0.7 else blind(block, rng)
    found = read_exif(block, gps=True, xmp=rng.choice((b"", b'tiff:Orientation="9"', b"tiff:Orientation>5<")))
    check_exif(found)
    return "fields" if found.fields else "nothing"


def headers(seed: int) -> str:
    """What looks at bytes before any decoder does: total, in bounds, and never longer than the file."""
    rng = random.Random(seed)
    ending = rng.choice(sorted(samples()))
    data = damaged(ending, rng.choice(samples()[ending])[: rng.choice((20, 60, 400, 10**6))], rng)
    kind = sniff(data)
    if kind is None:
        return "none"
    assert is_cut_short(kind, data) in (True, False)
    assert len(without_extras(kind, data)) <= len(data)
    return str(kind)
