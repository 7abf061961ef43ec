"""What a search may say in an address: the same as in a body, as far as it fits."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mmsearch.server.asking import Asked, Filtered, Id, Paging, Scalar, SearchIn, TermIn, Text
from mmsearch.server.errors import Problem

Names = Annotated[list[Id], Field(max_length=1000)]


class FacetsQuery(Asked):
    """Whose values are counted, among which items."""

    field: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=100)]
    q: Text | None = Field(default=None, description="Count among the nearest thousand only.")
    kind: Literal["image", "text", "any"] | None = None
    where: Annotated[str, Field(max_length=4000)] | None = None
    param: list[Annotated[str, Field(max_length=10_000)]] = Field(default_factory=list, max_length=64)
    group_by: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="Count groups instead of items.")
    limit: int = Field(default=20, ge=1, le=1000, description="Values of a field at most.")

    def params(self) -> dict[str, Scalar]:
        """The values for the condition."""
        return _params(self.param)


class PagedQuery(Paging):
    """What every search may say in an address."""

    param: list[Annotated[str, Field(max_length=10_000)]] = Field(
        default_factory=list, max_length=1000, description="A value for a :name in where, as NAME=VALUE.", examples=[["p=50"]]
    )

    def body(self) -> Filtered:
        """The same as a body would say it. Raises :class:`Problem` 422."""
        return Filtered(**self.shared())

    def shared(self) -> dict[str, Any]:
        """The fields that all kinds of search have."""
        return {name: getattr(self, name) for name in Paging.model_fields} | {"params": _params(self.param)}


class SearchQuery(PagedQuery):
    """A search by words."""

    q: Text | None = Field(default=None, description="Words that describe what is looked for.", examples=["red dress"])
    without: Names = Field(default_factory=list, alias="not", description="Words that it should not be.")
    like: Names = Field(default_factory=list, description="Ids of items that it should be like.")
    unlike: Names = Field(default_factory=list, description="Ids of items that it should not be like.")
    facets: list[Annotated[str, Field(max_length=200)]] = Field(default_factory=list, max_length=100)

    def body(self) -> SearchIn:
        """The same as a body would say it."""
        terms = [TermIn(text=text, weight=-1.0) for text in self.without]
        return SearchIn(text=self.q, terms=terms, like=self.like, unlike=self.unlike, facets=self.facets, **self.shared())


class SimilarQuery(PagedQuery):
    """How to search for items like another."""


class ImageQuery(PagedQuery):
    """How to search by the picture in the body."""

    weight: float = Field(default=1.0, ge=-100, le=100, description="The picture's weight.")
    text: Text | None = Field(default=None, description="Words that are mixed in.")
    text_weight: float = Field(default=1.0, ge=-100, le=100, description="Their weight.")
    without: Names = Field(default_factory=list, alias="not", description="Words that it should not be.")
    not_weight: float = Field(default=1.0, ge=0, le=100, description="The weight of what it should not be.")
    crop: str | None = Field(
        default=None,
        pattern=r"^\d{1,6},\d{1,6},[1-9]\d{0,5},[1-9]\d{0,5}$",
        description="X,Y,WIDTH,HEIGHT in pixels of the upright picture.",
        examples=["0,0,200,100"],
    )

    @model_validator(mode="after")
    def _some_weight(self) -> ImageQuery:
        if not self.weight:
            raise ValueError("weight must not be 0")
        return self

    def box(self) -> tuple[int, int, int, int] | None:
        """The crop as numbers."""
        if self.crop is None:
            return None
        x, y, width, height = map(int, self.crop.split(","))
        return x, y, width, height


def _params(given: list[str]) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise Problem(422, "param has the form NAME=VALUE")
        found[name] = _value(value)
    return found


def _value(text: str) -> Scalar:
    """``50`` is a number, ``true`` a truth value, anything else a text."""
    try:
        value = json.loads(text, parse_constant=str)
    except ValueError:
        return text
    return value if isinstance(value, str | bool | int | float) or value is None else text
