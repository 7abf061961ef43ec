"""Ids in paths: percent-encoded, slashes too."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Path
from pydantic import AfterValidator


def decoded(id: str) -> str:
    """The id that a path segment stands for. Bytes that are not UTF-8 become surrogates, as in the catalogue."""
    return unquote_to_bytes(id.encode("latin-1", "replace")).decode("utf-8", "surrogateescape")


ItemId = Annotated[
    str, Path(description="The item's id, percent-encoded, slashes too.", min_length=1, max_length=12_288), AfterValidator(decoded)
]
"""A path parameter that is an item's id."""
