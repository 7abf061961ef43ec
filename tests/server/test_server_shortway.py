"""The short way answers as the long one does: the same body as another JSON type goes through FastAPI."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref

import pytest

from mmsearch.server import Options, Tokens, create_app
from mmsearch.server.shortway import ShortWay
from tests.server.conftest import READ, WRITE

BODIES = [
    b'{"text": "red", "k": 3}',
    b'{"text": "red", "k": "3", "collapse": 1, "cutoff": null, "diversity": "0.5"}',
    b'{"text": "red", "where": "price < :p", "params": {"p": 50}, "kind": "text"}',
    b'{"text": "red", "where": "price < :p", "params": {"p": true}, "kind": "text"}',
    b'{"text": "red", "text": "blue", "k": 2}',
    b'{"like": ["red.png"], "unlike": ["blue.png"], "k": 2.0}',
    b'{"terms": [{"text": "red"}, {"id": "sub/pink.png", "weight": -0.5}], "explain": true, "facets": ["brand"], "kind": "any"}',
    b'{"text": "\\ud800"}',
    b'\xef\xbb\xbf{"text": "red"}',
    '{"text": "red"}'.encode("utf-16"),
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"text": "red", "k": 3} x',
    b'{"text": "red", "diversity": NaN}',
    b'{"text": "red", "k": 1e400}',
    b'{"text": "red", "k": 0}',
    b'{"text": "red", "k": 3.5}',
    b'{"text": "red", "k": 100000}',
    b'{"text": "", "k": 3}',
    b'{"text": "  "}',
    b'{"k": 3}',
    b'{"text": "red", "colour": "blue"}',
    b'{"terms": [{"text": "red", "id": "red.png"}]}',
    b'{"terms": [{"id": "nowhere"}]}',
    b'{"terms": [{"text": "red"}, {"text": "red", "weight": -1}]}',
    b'{"text": "red", "where": "nonsense <"}',
    b'{"text": "red", "rerank": "model:what"}',
    b'{"terms": [{"image": "no base64!"}]}',
]


def told(answer):
    """All that an answer says but what differs each time."""
    said = answer.json()
    for name in ("timings", "request_id"):
        said.pop(name, None)
    return answer.status_code, said, sorted(set(answer.headers) - {"content-length"}), answer.headers["content-type"]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
def test_both_ways_say_the_same(reader, body):
    short = reader.post("/v1/search", content=body, headers={"Content-Type": "application/json; charset=utf-8"})
    long = reader.post("/v1/search", content=body, headers={"Content-Type": "application/vnd.mmsearch+json"})
    assert told(short) == told(long)
    assert short.status_code < 500


def asked(app, body, *, content_type=b"application/json", path="/v1/search", method="POST"):
    """What an ASGI application sends for a request whose body comes in two parts."""
    sent, parts = [], [body[:5], body[5:]]

    async def receive():
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
        return await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer " + WRITE.encode()), (b"content-type", content_type)]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b"", "server": None}
    asyncio.run(app(scope, receive, send))
    return scope, sent


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"content_type": b"text/plain"},
        {"path": "/v1/search/image"},
        {"method": "PUT"},
        {"body": b'{"k": 3}  '},
        {"body": b'{"k"'},
    ],
    ids=str,
)
def test_only_what_is_plainly_right_goes_the_short_way(monkeypatch, change):
    long, short = [], []

    async def app(scope, receive, send):
        body = b""
        while (message := await receive())["more_body"]:
            body += message["body"]
        long.append(body + message["body"])

    async def search(given, request):
        async def respond(scope, receive, send):
            short.append((given.text, scope["route"].path))

        return respond

    way = ShortWay(app)
    monkeypatch.setattr("mmsearch.server.routes.search.search", search)
    given = {"body": b'{"text": "red"}', **change}
    asked(way, **given)
    if given["body"] == b'{"text": "red"}' and not change:
        assert (short, long) == ([("red", "/v1/search")], [])
    elif given["body"] == b'{"k": 3}  ':  # right as JSON; that it asks for nothing is the route's to say
        assert (short, long) == ([(None, "/v1/search")], [])
    else:
        assert (short, long) == ([], [given["body"]])


def test_a_request_is_freed_without_the_garbage_collector(library):
    app = create_app(library, Options(tokens=Tokens(write=WRITE, read=READ)))

    class Cycle:
        """As a server does: one object has the scope, and receives."""

        def __init__(self):
            self.messages = [{"type": "http.request", "body": b'{"text": "red", "k": 1}', "more_body": False}]
            token = b"Bearer " + READ.encode()
            headers = [(b"host", b"localhost"), (b"authorization", token), (b"content-type", b"application/json")]
            self.scope = {"type": "http", "method": "POST", "path": "/v1/search", "headers": headers, "query_string": b""}

        async def receive(self):
            return self.messages.pop() if self.messages else await asyncio.Event().wait()

    async def whole():
        await app.state.service.start()
        sent = []

        async def send(message):
            sent.append(message)

        try:
            for _ in range(2):  # the first one makes what is kept
                cycle = Cycle()
                await app(cycle.scope, cycle.receive, send)
            await asyncio.sleep(0)
            gc.disable()
            left, cycle = weakref.ref(cycle), None
            return left() is None, [json.loads(one["body"])["hits"][0]["id"] for one in sent if "body" in one]
        finally:
            gc.enable()
            await app.state.service.stop()

    assert asyncio.run(whole()) == (True, ["red.png", "red.png"])
