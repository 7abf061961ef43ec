"""The HTTP service: a collection behind an API that is safe as it comes. ``mmsearch serve`` runs it.

::

    from mmsearch.server import Options, Tokens, create_app

    app = create_app("./shop", Options(tokens=Tokens(write="…")))      # an ASGI application, for uvicorn or any other

Needs the extra ``serve`` (FastAPI, uvicorn). One file per idea: :mod:`.app` puts together, :mod:`.gate` stands before every
request (host, token, sizes, headers, log line), :mod:`.shortway` leads most searches past the routing, :mod:`.batching` makes
one call of many queries, :mod:`.live` holds the collection and switches to a new one, ``routes/`` has one file per resource.
"""

from __future__ import annotations

from mmsearch.server.app import create_app
from mmsearch.server.options import Limits, Options, Tokens

__all__ = ["Limits", "Options", "Tokens", "create_app"]
