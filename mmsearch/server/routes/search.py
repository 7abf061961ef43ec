"""``/v1/search``, ``/v1/search/image`` and ``/v1/similar/{id}``: queries."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mmsearch.server.answers import VERSION, HitsOut, hit_json, reply
from mmsearch.server.asking import SearchIn, TermIn
from mmsearch.server.asking_query import ImageQuery, SearchQuery, SimilarQuery
from mmsearch.server.batching import CallerGone
from mmsearch.server.bodies import watch
from mmsearch.server.documentation import binary
from mmsearch.server.errors import Problem
from mmsearch.server.ids import ItemId
from mmsearch.server.queries import Call, named, options_of, terms_of
from mmsearch.server.routes.facets import count
from mmsearch.server.searcher import Found
from mmsearch.server.service import Service, service_of
from mmsearch.types import Query as TermsQuery
from mmsearch.types import Term

router = APIRouter(prefix="/v1", tags=["search"])


@router.post("/search", response_model=HitsOut, summary="Search")
async def search(asked: SearchIn, request: Request) -> Response:
    """The items nearest to a weighted sum of texts, pictures, stored items and vectors, best first."""
    service = service_of(request)
    options = options_of(asked, service.options)
    terms = await terms_of(asked, service.options.limits, service.picture, service.fetch)
    if asked.like and asked.text is None and not asked.terms:  # more like these, and not these themselves
        return await _answer(service, request, Call(None, tuple(asked.like), tuple(asked.unlike), options), asked)
    return await _answer(service, request, Call(TermsQuery(terms), options=options), asked)


@router.get("/search", response_model=HitsOut, summary="Search by words")
async def search_by_words(asked: Annotated[SearchQuery, Query()], request: Request) -> Response:
    """The same for what fits into an address: ``/v1/search?q=red+dress&k=10``."""
    return await search(asked.body(), request)


@router.post(
    "/search/image",
    response_model=HitsOut,
    summary="Search by a picture",
    openapi_extra=binary("image/*", "application/octet-stream"),
)
async def search_by_image(asked: Annotated[ImageQuery, Query()], request: Request) -> Response:
    """The picture is the body as it is, no form around it. ``crop`` takes a part of it, ``text`` mixes words in."""
    service = service_of(request)
    options = options_of(asked.body(), service.options)
    words = [TermIn(text=asked.text, weight=asked.text_weight)] if asked.text else []
    rest = SearchIn(terms=words + [TermIn(text=text, weight=-asked.not_weight) for text in asked.without])
    terms = await terms_of(rest, service.options.limits, service.picture, service.fetch) if rest.terms else ()
    picture = await service.picture(await request.body(), asked.box())
    query = TermsQuery((Term("image", picture, asked.weight), *terms))
    return await _answer(service, request, Call(query, options=options), asked)


@router.get("/similar/{id}", response_model=HitsOut, summary="More like this")
async def similar(id: ItemId, asked: Annotated[SimilarQuery, Query()], request: Request) -> Response:
    """Items like a stored one, that one left out."""
    service = service_of(request)
    return await _answer(service, request, Call(None, (id,), options=options_of(asked.body(), service.options)), asked)


async def _answer(service: Service, request: Request, call: Call, asked: Any) -> Response:
    try:
        found, note = await service.searches.ask(call, partial(watch, request.scope))
    except CallerGone:
        raise Problem(499, "the caller has gone") from None
    request.scope["mmsearch.note"].update(note)
    return reply(await _page(service, call, found, asked))


async def _page(service: Service, call: Call, found: Found, asked: Any) -> dict[str, Any]:
    hits, k, offset = found.hits, asked.k, asked.offset
    following = offset + k
    more = len(hits) == k and following <= service.options.limits.offset
    page: dict[str, Any] = {
        "v": VERSION,
        "hits": [hit_json(hit, found.folders) for hit in hits],
        "offset": offset,
        "k": k,
        "next": following if more else None,
        "exact": hits.exact,
        "candidates": hits.candidates,
        "timings": {name: round(ms, 3) for name, ms in hits.timings.items()},
    }
    if getattr(asked, "explain", False) and call.query is not None and len(hits):
        query = call.query
        shares = await service.run(service.with_collection, lambda collection: collection.shares(query, [hit.vid for hit in hits]))
        for hit, column in zip(page["hits"], shares.T.tolist(), strict=True):
            hit["why"] = [
                {"term": named(term), "weight": term.weight, "share": share}
                for term, share in zip(query.terms, column, strict=True)
            ]
    if facets := getattr(asked, "facets", None):
        names = ("kind", "where", "params", "group_by")
        page["facets"] = await count(service, facets, **{name: call.options[name] for name in names})
    return page
