"""What a search request may say: the JSON body, with examples for the documentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scalar = str | bool | int | float | None
Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Id = Annotated[str, Field(min_length=1, max_length=4096)]


class Asked(BaseModel):
    """The base of all request bodies: what is not documented is refused, not passed over."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


_ABSENT: Any = None
"""Of a member whose type has no ``None``: an explicit null is refused, so that the schema can say what is allowed."""


def _one_of(*names: str) -> dict[str, Any]:
    """The JSON schema of an object with exactly one of these members."""
    return {"oneOf": [{"required": [name]} for name in names]}


class TermIn(Asked):
    """One part of a query. Exactly one of ``text``, ``id``, ``image``, ``url`` and ``vector`` is given; the others are ``None``."""

    model_config = ConfigDict(json_schema_extra=_one_of("text", "id", "image", "url", "vector"))

    text: Text = Field(default=_ABSENT, description="Words that describe what is looked for.")
    id: Id = Field(default=_ABSENT, description="A stored item.")
    image: str = Field(default=_ABSENT, description="A picture's bytes in base64. Larger ones: POST /v1/search/image.")
    url: Annotated[str, Field(max_length=2048)] = Field(default=_ABSENT, description="A picture to fetch; only with --allow-fetch.")
    vector: Annotated[list[float], Field(min_length=1, max_length=8192)] = Field(
        default=_ABSENT, description="A vector of the collection's own encoder."
    )
    weight: float = Field(default=1.0, ge=-100, le=100, description="Below zero: away from it.")

    @model_validator(mode="after")
    def _one(self) -> TermIn:
        if sum(value is not None for value in (self.text, self.id, self.image, self.url, self.vector)) != 1:
            raise ValueError("a term has exactly one of text, id, image, url and vector")
        return self


class Paging(Asked):
    """What narrows, orders and pages every kind of search."""

    kind: Literal["image", "text", "any"] | None = Field(default=None, description="Left out: images, where there are any.")
    k: int = Field(default=20, ge=1, le=100_000, description="Hits to a page; the service may allow fewer.")
    offset: int = Field(default=0, ge=0, le=1_000_000_000, description="Hits to leave out before the page.")
    where: str | None = Field(
        default=None, description="A condition over the items' fields.", examples=["price < :p and brand = 'Acme'"]
    )
    group_by: str | None = Field(
        default=None, max_length=200, description="Only the best hit of each group, or of each value of a field."
    )
    rerank: str | None = Field(default=None, max_length=100, description="A better order: fast, or what the service allows.")
    boost: str | None = Field(default=None, max_length=1000, description="Added to the score.", examples=["in_stock * 0.2"])
    collapse: bool | Annotated[float, Field(ge=0, le=1)] = Field(default=False, description="Only the best of near-duplicates.")
    diversity: float = Field(default=0.0, ge=0, le=1, description="Variety among the first hits.")
    cutoff: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] | None = Field(
        default=None, description="Leave out hits of less relevance."
    )
    relevance: bool = Field(default=False, description="Tell each hit's relevance, 0 to 1.")
    lexical: float = Field(default=0.0, ge=0, le=100, description="How much words in texts and names count beside the vectors.")
    exact: bool | None = Field(
        default=None, description="Compare every row, though there is an index; left out: as the collection does."
    )
    judged: bool | None = Field(default=None, description="Whether judgements that are stored count.")
    candidates: int | None = Field(default=None, ge=1, le=1_000_000, description="How many of the nearest are looked at by rerank.")


class Filtered(Paging):
    """The same with values for the condition, and weights for a product's fields."""

    params: dict[str, Scalar] = Field(default_factory=dict, description="Values for the :names in where.")
    fields: Annotated[str, Field(max_length=200)] | Annotated[dict[str, float], Field(max_length=32)] | None = Field(
        default=None,
        description="One hit per product: weights of its parts, or the name of saved ones.",
        examples=[{"photo": 1, "title": 0.6}],
    )


class SearchIn(Filtered):
    """A search: at least one of ``text``, ``terms`` and ``like``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "red dress", "k": 3},
                {"terms": [{"text": "evening dress"}, {"text": "red", "weight": -0.4}], "where": "price < :p", "params": {"p": 50}},
            ]
        }
    )

    text: Text | None = Field(default=None, description="Short for one term with a text.", examples=["red dress"])
    terms: list[TermIn] = Field(default_factory=list, max_length=1000, description="Weighted parts; their sum is looked for.")
    like: list[Id] = Field(default_factory=list, max_length=1000, description="Ids of items that it should be like.")
    unlike: list[Id] = Field(default_factory=list, max_length=1000, description="Ids of items that it should not be like.")
    facets: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list, max_length=100, description="Fields whose values are counted among all that satisfy the condition."
    )
    explain: bool = Field(default=False, description="Say how each term contributed to each hit.")


class ItemIn(Asked):
    """An item to store. One of ``text``, ``image`` (base64), ``url`` (with --allow-fetch); the others are ``None``."""

    model_config = ConfigDict(json_schema_extra=_one_of("text", "image", "url"))

    id: Id
    text: Text = Field(default=_ABSENT)
    image: str = Field(default=_ABSENT, description="A picture's bytes in base64. Larger ones: PUT /v1/items/{id}.")
    url: Annotated[str, Field(max_length=2048)] = Field(default=_ABSENT, description="A picture to fetch.")
    group: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="A product, an album: what belongs together."
    )
    meta: dict[str, Any] = Field(default_factory=dict, description="Fields to filter and show.")

    @model_validator(mode="after")
    def _one(self) -> ItemIn:
        if sum(value is not None for value in (self.text, self.image, self.url)) != 1:
            raise ValueError("an item has exactly one of text, image and url")
        return self


class ItemsIn(Asked):
    """Items to add; those with an id that is stored already are replaced."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"items": [{"id": "sku-1#t", "group": "sku-1", "text": "red linen dress", "meta": {"price": 40}}]}]
        }
    )

    items: list[ItemIn] = Field(min_length=1, max_length=100_000)


class DeleteIn(Asked):
    """Ids to delete."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": ["sku-1#t"]}]})

    ids: list[Id] = Field(min_length=1, max_length=100_000)


class PatchesIn(Asked):
    """Changes of many items, or with ``by: group`` of all items of each group."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"patches": {"sku-1": {"stock": 0}}, "by": "group"}]})

    patches: dict[Id, dict[str, Any]] = Field(min_length=1)
    by: Literal["id", "group"] = "id"


class MetaIn(Asked):
    """A change of an item's fields: those given are set, those given as null are taken away, the others stay."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"meta": {"price": 35, "sale": True}}]})

    meta: dict[str, Any]
