"""``/v1/heatmap/{id}``: where in an item's picture a query is met."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from mmsearch.collection import Collection
from mmsearch.explain import Heatmap
from mmsearch.server import files
from mmsearch.server.answers import VERSION, reply
from mmsearch.server.asking import Text
from mmsearch.server.errors import Problem
from mmsearch.server.ids import ItemId
from mmsearch.server.service import Service, service_of

router = APIRouter(prefix="/v1", tags=["pictures"])

Words = Annotated[Text, Query(description="What is looked for.", examples=["a dog"])]


class HeatmapOut(BaseModel):
    """``grid`` has rows from top to bottom, 0 to 1; ``hottest`` is x, y and ``box`` x, y, width, height, in pixels."""

    v: int
    id: str
    width: int
    height: int
    score: float
    method: str
    grid: list[list[float]]
    hottest: list[int]
    box: list[int]


@router.get(
    "/heatmap/{id}",
    response_model=HeatmapOut,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
    summary="Where in a picture a query is met",
)
async def heatmap(
    id: ItemId,
    q: Words,
    request: Request,
    form: Annotated[Literal["json", "png"], Query(description="png: the picture with the heat in colours.")] = "json",
) -> Response:
    """Costs some hundred encodings: a fifth of a second with the smallest model. One at a time; others wait."""
    service = service_of(request)
    if len(q) > service.options.limits.text_chars:
        raise Problem(422, f"the text has more than {service.options.limits.text_chars} characters")
    async with service.heavy:
        found = await service.run(_look, service, id, q)
    if form == "png":
        return Response(await service.run(found.png), media_type="image/png")
    return reply(
        {
            "v": VERSION,
            "id": id,
            "width": found.width,
            "height": found.height,
            "score": found.score,
            "method": found.method,
            "grid": [[round(cell, 4) for cell in row] for row in found.grid.tolist()],
            "hottest": found.hottest,
            "box": found.box(),
        }
    )


def _look(service: Service, id: str, words: str) -> Heatmap:
    def look(collection: Collection) -> Heatmap:
        # read here, and not by the collection: that would take an id which is not known for a path
        data = files.read(collection, collection.get(id), service.options.extra_folders).data
        return collection.heatmap(data, words, method="windows")

    return service.with_collection(look)
