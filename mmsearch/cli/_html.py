"""Results as one web page that needs nothing else: pictures inside, no script, no request to anywhere.

The page's policy allows exactly its own style sheet (by hash) and the pictures that are inside it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING
from urllib.parse import quote

from mmsearch.cli import _pictures
from mmsearch.cli._text import count, excerpt, printable
from mmsearch.errors import InputError

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.types import Hit, Hits, Query

SIZE = 480
"""Longer side of a thumbnail in pixels: sharp on a dense screen in a card 15 rem wide."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'sha256-{hash}'; \
base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="mmsearch">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>mmsearch</h1>
{asked}
<p class="facts">{facts}</p>
</header>
<main>
{body}
</main>
<footer>{footer}</footer>
</body>
</html>
"""


def sections(collection: Collection, title: str, facts: str, parts: Sequence[tuple[str, str, Sequence[Hit]]]) -> str:
    """A page of groups of pictures: each has a heading, a line about it, and its pictures, whose scores mean nothing."""
    body = "\n".join(
        f'<section><h2>{_text(name)}</h2><p class="facts">{_text(about)}</p>\n<ol class="grid">\n'
        + "\n".join(f"<li>{_card(hit, scored=False)}</li>" for hit in hits) + "\n</ol></section>"
        for name, about, hits in parts
    )
    return _whole(collection, title, "", facts, body)


def page(collection: Collection, hits: Hits, query: Query, *, heat: bool = False) -> str:
    """The page of one query's hits; ``heat`` lays over each picture where it answers the query."""
    maps = {hit.id: _heat(collection, hit, query) for hit in hits if heat and hit.kind == "image"}
    cards = "\n".join(f"<li>{_card(hit, maps.get(hit.id))}</li>" for hit in hits)
    exact = "every one compared" if hits.exact else "found through an index"
    facts = f"{count(len(hits), 'result')} of {count(hits.candidates, 'candidate')}, {exact}"
    body = f'<ol class="grid">\n{cards}\n</ol>' if hits else '<p class="none">Nothing was found.</p>'
    asked = "\n".join(_asked(query))
    return _whole(collection, _title(query), f'<ul class="asked">\n{asked}\n</ul>', facts, body)


def _whole(collection: Collection, title: str, asked: str, facts: str, body: str) -> str:
    style = resources.files("mmsearch.cli").joinpath("_page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return _PAGE.format(
        hash=digest,
        style=style,
        title=_text(title),
        asked=asked,
        facts=_text(facts),
        body=body,
        footer=_text(f"{collection.path.absolute()} · model {collection.info.model} · {time.strftime('%d %B %Y')}"),
    )


def _title(query: Query) -> str:
    return " ".join(term.value if term.what in ("text", "item") else "a picture" for term in query.terms)[:200]


def _asked(query: Query) -> Iterator[str]:
    for at, term in enumerate(query.terms):
        away = term.weight < 0
        sign = "−" if away else "+" if at else ""
        shown = _text(term.value) if term.what in ("text", "item") else _query_picture(term.value)
        weight = abs(term.weight)
        yield "".join((
            "<li>",
            f'<span class="sign">{sign}</span>' if sign else "",
            f'<span class="away">{shown}</span>' if away else f"<span>{shown}</span>",
            f'<span class="weight">× {weight:g}</span>' if weight != 1 else "",
            "</li>",
        ))


def _query_picture(value: object) -> str:
    from PIL.Image import Image

    from mmsearch import images

    label = _text(os.path.basename(value)) if isinstance(value, str) else "picture"
    try:
        source = images.read_file(value) if isinstance(value, str) else value
        if not isinstance(source, bytes | Image):
            return label
        return f'<img src="{_data(images.thumbnail(source, 240))}" alt="{label}">'
    except InputError:
        return label


def _heat(collection: Collection, hit: Hit, query: Query) -> bytes | None:
    """The overlay of a hit as WebP; ``None`` where its file is gone."""
    try:
        drawn = collection.heatmap(hit.id, query).overlay(SIZE)
    except InputError:
        return None
    out = io.BytesIO()
    drawn.save(out, "WEBP", quality=80)
    return out.getvalue()


def _card(hit: Hit, heat: bytes | None = None, *, scored: bool = True) -> str:
    folder, name = os.path.split(hit.path) if hit.path and hit.kind == "image" else ("", hit.id)
    return "".join((
        '<article class="card">',
        _picture(hit, name, heat) if hit.kind == "image" else f'<p class="words">{_text(excerpt(hit.text or "")[:600])}</p>',
        '<div class="about"><div class="line">',
        f'<span class="rank">{hit.rank}</span>',
        f'<span class="name" title="{_text(hit.id)}">{_text(name)}</span>',
        f'<span class="score" title="cosine {hit.score:.6f}">{hit.score:.3f}</span>' if scored else "",
        "</div>",
        f'<p class="folder" title="{_text(folder)}">{_text(_tail(folder))}</p>' if folder else "",
        _meta(hit.meta),
        "</div></article>",
    ))


def _picture(hit: Hit, name: str, heat: bytes | None = None) -> str:
    data = _pictures.thumbnail(hit, size=SIZE)
    inner = f'<img src="{_data(data)}" alt="{_text(name)}">' if data else "<span>the file is gone</span>"
    if heat:
        inner += f'<img class="heat" src="{_data(heat)}" alt="where it answers the query" title="point at it to see the photo">'
    if hit.path is None:
        return f'<div class="picture">{inner}</div>'
    return f'<a class="picture" href="file://{quote(os.fsencode(hit.path))}">{inner}</a>'


def _meta(meta: Mapping[str, object]) -> str:
    """The plain values of the item's meta; what a camera wrote and nested values are left to ``--json``."""
    shown = [f"<li>{_text(f'{key}: {excerpt(str(value))[:80]}')}</li>" for key, value in meta.items()
             if isinstance(value, str | int | float) and value != ""]
    return f'<ul class="meta">{"".join(shown[:8])}</ul>' if shown else ""


def _tail(folder: str, length: int = 44) -> str:
    """A folder as seen from here, or the end of its path, which tells more than its beginning."""
    folder = folder.removeprefix(os.getcwd().rstrip("/") + "/")
    return folder if len(folder) <= length else "…" + folder[-length + 1 :]


def _data(data: bytes) -> str:
    kind = "webp" if data[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _text(value: str) -> str:
    return escape(printable(value), quote=True)
