"""Pictures of hits: thumbnails for pages, and pictures in terminals (sixel, kitty, else coloured half cells)."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from mmsearch.errors import InputError
from mmsearch.types import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmsearch.cli._app import App
    from mmsearch.collection import Collection
    from mmsearch.types import Hit

ROWS = 12
"""Lines of the terminal for one picture."""


def thumbnail(hit: Hit, *, size: int) -> bytes | None:
    """A small JPEG or WebP of an image hit; ``None`` where its file is gone or cannot be read any more."""
    if hit.kind is not Kind.IMAGE or hit.path is None:
        return None
    from mmsearch import images

    try:
        return images.thumbnail(images.read_file(hit.path), size)
    except InputError:
        return None


def show(app: App, collection: Collection, hits: Sequence[Hit]) -> None:
    """The hits below each other, each picture with a line of text."""
    from mmsearch.cli import _hits
    from mmsearch.cli._text import excerpt, local, printable

    if not sys.stdout.isatty():
        app.say("pictures are shown on a terminal only; here is the table")
        _hits.show(hits)
        return
    from PIL import Image as Pillow
    from rich.console import Console
    from rich.text import Text

    picture_of = _renderable()
    out = Console(highlight=False, no_color=False)  # a picture is its colours, whatever NO_COLOR says of the rest
    for hit in hits:
        data = thumbnail(hit, size=384)
        if data is not None:
            with Pillow.open(io.BytesIO(data)) as picture:
                picture.load()
            out.print(picture_of(picture, width="auto", height=ROWS))
        label = local(hit.path) if hit.path else printable(hit.id)
        line = Text.assemble((f"{hit.rank:>3} ", "dim"), (f"{hit.score:.3f}  ", "cyan"), (label, "bold"))
        if hit.text:
            line.append(f"  {excerpt(hit.text)}")
        out.print(line, overflow="ellipsis", no_wrap=True)


def _renderable() -> Any:
    """textual-image's class for this terminal. Its import asks the terminal what it can, and reads the answer."""
    if sys.stdin is not None and sys.stdin.isatty():
        from textual_image.renderable import Image

        return Image
    out, sys.__stdout__ = sys.__stdout__, None  # type: ignore[misc]  # no keyboard, no answer: do not ask
    try:
        from textual_image.renderable import HalfcellImage
    finally:
        sys.__stdout__ = out  # type: ignore[misc]
    return HalfcellImage
