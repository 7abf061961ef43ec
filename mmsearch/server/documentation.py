"""What ``/openapi.json`` says beside what the routes say themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from mmsearch.server.answers import ProblemOut

ABOUT = """Search pictures by words, words by pictures, pictures by pictures.

Every request needs `Authorization: Bearer TOKEN`. Errors are `application/problem+json` (RFC 9457). Ids stand percent-encoded in
paths, slashes too (`photos/a.jpg` is `/v1/items/photos%2Fa.jpg`). Answers to a busy service are 503 with `Retry-After`."""

_PROBLEM: dict[str, Any] = {
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request cannot be answered as it is.", **_PROBLEM},
    "5XX": {"description": "The service cannot answer now.", **_PROBLEM},
}


def install(app: FastAPI) -> None:
    """Adds the token and the form of errors to the application's document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = plain()
        parts = document.setdefault("components", {})
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        parts.setdefault("schemas", {})["ProblemOut"] = ProblemOut.model_json_schema()
        document["security"] = [{"token": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def binary(*types: str, required: bool = True) -> dict[str, Any]:
    """The documentation of a raw body of one of these content types."""
    content = {name: {"schema": {"type": "string", "format": "binary"}} for name in types}
    return {"requestBody": {"content": content, "required": required}}
