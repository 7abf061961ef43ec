"""What a hostile caller tries, and what comes of it."""

from __future__ import annotations

import base64
import io
import logging
import os
import time

import pytest
from PIL import Image

from mmsearch.server.auth import Doorkeeper, Scope
from mmsearch.server.gate import SECURITY_HEADERS
from mmsearch.server.options import Tokens
from mmsearch.types import Item
from tests.server.conftest import BASE, READ, WRITE, picture

EVERY_ROUTE = [
    ("GET", "/v1/status"),
    ("GET", "/v1/status/events"),
    ("POST", "/v1/search"),
    ("GET", "/v1/search?q=a"),
    ("POST", "/v1/search/image"),
    ("GET", "/v1/similar/red.png"),
    ("GET", "/v1/facets?field=a"),
    ("GET", "/v1/heatmap/red.png?q=a"),
    ("POST", "/v1/items"),
    ("GET", "/v1/items/red.png"),
    ("PUT", "/v1/items/x"),
    ("PATCH", "/v1/items/x"),
    ("DELETE", "/v1/items/red.png"),
    ("POST", "/v1/items/delete"),
    ("POST", "/v1/items/meta"),
    ("GET", "/v1/items/red.png/file"),
    ("GET", "/v1/thumb/0"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/web/index.html"),
    ("GET", "/nothing"),
]


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
@pytest.mark.parametrize(
    "header", [None, "Bearer wrong-token-wrong-token", f"Basic {WRITE}", "Bearer", f"Bearer {WRITE[:-1]}", f"Bearer {WRITE}x"]
)
def test_no_route_answers_without_the_right_token(reader, method, path, header):
    headers = {"Authorization": header or ""} if header is None else {"Authorization": header}
    answer = reader.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["status"] == 401


def test_the_list_of_routes_above_is_whole(reader):
    documented = {
        (method.upper(), path) for path, methods in reader.get("/openapi.json").json()["paths"].items() for method in methods
    }
    tried = {
        (method, path.partition("?")[0].replace("red.png", "{id}").replace("/x", "/{id}").replace("thumb/0", "thumb/{vid}"))
        for method, path in EVERY_ROUTE
    }
    assert documented - tried == {("GET", "/healthz"), ("GET", "/readyz")}


def test_the_token_for_reading_does_not_write(serve):
    client = serve(token=READ)
    assert client.get("/v1/search", params={"q": "red"}).status_code == 200
    assert client.get("/v1/status").json()["scope"] == "read"
    for method, path, body in (
        ("POST", "/v1/items", {"items": [{"id": "a", "text": "b"}]}),
        ("PUT", "/v1/items/a", None),
        ("PATCH", "/v1/items/red.png", {"meta": {}}),
        ("DELETE", "/v1/items/red.png", None),
        ("POST", "/v1/items/delete", {"ids": ["red.png"]}),
        ("POST", "/v1/items/meta", {"patches": {"a": {}}}),
    ):
        assert client.request(method, path, json=body).status_code == 403
    assert client.get("/v1/items/red.png").status_code == 200


def test_a_read_only_service_refuses_the_token_for_writing_too(serve):
    client = serve(read_only=True)
    assert client.delete("/v1/items/red.png").status_code == 403
    assert client.get("/v1/status").json()["scope"] == "read"


def test_tokens_are_compared_by_a_function_that_takes_constant_time(monkeypatch):
    import hmac

    seen = []
    real = hmac.compare_digest
    monkeypatch.setattr("mmsearch.server.auth.hmac.compare_digest", lambda a, b: seen.append(b) or real(a, b))
    assert Doorkeeper(Tokens(write=WRITE, read=READ)).by_token(READ.encode()) is Scope.READ
    assert seen == [READ.encode(), WRITE.encode()]  # all of them, though the first was right


# --- the page's session -----------------------------------------------------------------------------------------------


def session(client):
    answer = client.get("/", params={"token": WRITE}, follow_redirects=False, headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return answer.headers["set-cookie"]


def test_the_login_link_sets_a_cookie_that_scripts_and_other_sites_do_not_get(reader):
    cookie = session(reader)
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert WRITE not in cookie
    reader.cookies.clear()
    wrong = reader.get("/", params={"token": "wrong-token-wrong-token"}, follow_redirects=False)
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers


def test_the_cookie_reads_but_another_origins_page_cannot_write_with_it(serve):
    client = serve(token=None)
    cookie = session(client).partition(";")[0]
    client.cookies.clear()
    send = {"headers": {"Cookie": cookie}}
    assert client.get("/v1/status", **send).json()["scope"] == "write"
    for extra in (
        {},
        {"Origin": "http://localhost:9999"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": BASE},
        {"Origin": "null"},
    ):
        answer = client.delete("/v1/items/red.png", headers={"Cookie": cookie, **extra})
        assert answer.status_code == 403, extra
    for extra in ({"Origin": BASE}, {"Sec-Fetch-Site": "same-origin"}):
        assert client.delete("/v1/items/nothing", headers={"Cookie": cookie, **extra}).status_code == 404
    assert client.get("/v1/status", headers={"Cookie": cookie[:-1] + ("0" if cookie[-1] != "0" else "1")}).status_code == 401
    assert client.get("/v1/status", headers={"Cookie": "\x00;;=,"}).status_code == 401


# --- names and origins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "localhost.evil.example",
        "169.254.169.254",
        "0.0.0.0",
        "localhost@evil.example",
        "[::ffff:8.8.8.8]",
        "",
        "localhost:80:80",
        "127.0.0.1.evil.example",
    ],
)
def test_a_rebound_name_is_not_answered(reader, host):
    answer = reader.get("/v1/search", params={"q": "red"}, headers={"Host": host})
    assert answer.status_code == 421
    assert reader.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8765", "[::1]:8765", "shop.example.com", "a.b.example.org"]
)
def test_known_names_are_answered(serve, host):
    client = serve(hosts=("shop.example.com", "*.example.org"))
    assert client.get("/v1/status", headers={"Host": host}).status_code == 200
    assert client.get("/v1/status", headers={"Host": "example.org"}).status_code == 421


def test_no_page_of_another_site_reads_answers_unless_it_is_named(serve):
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    closed, opened = serve(), serve(origins=("https://shop.example.com",))
    for client in (closed, opened):
        answer = client.get("/v1/status", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert client.options("/v1/search", headers=asks).status_code in (401, 405)
    mine = {"Origin": "https://shop.example.com"}
    preflight = opened.options("/v1/search", headers=mine | {"Access-Control-Request-Method": "POST", "Authorization": ""})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, mine["Origin"])
    answer = opened.get("/v1/status", headers=mine)
    assert answer.headers["access-control-allow-origin"] == mine["Origin"]
    assert "access-control-allow-credentials" not in answer.headers


def test_every_answer_has_the_safe_headers(reader):
    for answer in (
        reader.get("/v1/status"),
        reader.get("/nothing"),
        reader.get("/v1/status", headers={"Host": "evil.example"}),
        reader.get("/v1/status", headers={"Authorization": ""}),
        reader.post("/v1/search", content=b"{"),
        reader.get("/healthz"),
    ):
        for name in SECURITY_HEADERS:
            assert name in answer.headers
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_outside_their_root_are_not_served(serve, stocked, tmp_path):
    client = serve()
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture("black"))
    inside = tmp_path / "photos" / "red.png"
    inside.unlink()
    inside.symlink_to(secret)  # after it was indexed
    assert client.get("/v1/items/red.png/file").status_code == 404
    vid = stocked.get("red.png").vid
    assert client.get(f"/v1/thumb/{vid}").status_code == 404
    stocked.add([Item(id="loose", image=secret)])
    assert client.get("/v1/items/loose/file").status_code == 404
    allowed = serve(extra_folders=(tmp_path,))
    assert allowed.get("/v1/items/loose/file").content == secret.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/items/..%2F..%2Fetc%2Fpasswd/file",
        "/v1/items/%2Fetc%2Fpasswd/file",
        "/v1/items/%00/file",
        "/web/..%2Fapp.py",
        "/web/%2e%2e%2fapp.py",
        "/web/....//app.py",
        "/web/.hidden",
        "/v1/items/%ff%fe/file",
    ],
)
def test_a_path_is_never_a_path_of_the_disk(reader, path):
    assert reader.get(path).status_code == 404


def test_a_script_is_never_shown_as_a_page(serve, stocked, tmp_path):
    for name, data in (
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
        ("b.html", b"<script>alert(1)</script>"),
    ):
        (tmp_path / "photos" / name).write_bytes(data)
        path = tmp_path / "photos" / name
        stocked.add([Item(id=name, text="x")])
        # an item's file may become anything after it was indexed
        target = tmp_path / "photos" / "blue.png"
        target.write_bytes(path.read_bytes())
        answer = serve().get("/v1/items/blue.png/file")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == "attachment"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_pipe_in_place_of_a_file_hangs_nobody(serve, tmp_path):
    client = serve()
    path = tmp_path / "photos" / "red.png"
    path.unlink()
    os.mkfifo(path)
    began = time.monotonic()
    assert client.get("/v1/items/red.png/file").status_code == 404
    assert time.monotonic() - began < 5


def test_no_folder_of_the_server_is_told(reader, library, template):
    for path in ("/v1/search?q=red&kind=any", "/v1/items/red.png", "/v1/status", "/v1/similar/red.png"):
        assert str(template) not in reader.get(path).text
    assert str(template) not in reader.get("/v1/items/nothing").text


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_large_body_is_refused_before_it_is_read(serve):
    client = serve(limits={"body_bytes": 1000, "image_bytes": 2000})
    body = b'{"text": "' + b"a" * 1000 + b'"}'
    assert client.post("/v1/search", content=body).status_code == 413
    assert client.post("/v1/search/image", content=b"x" * 2001).status_code == 413
    assert client.put("/v1/items/a", content=b"x" * 2001).status_code == 413

    sent = []

    def stream():
        for _ in range(100):
            sent.append(1)
            yield b"x" * 500

    answer = client.post("/v1/search/image", content=stream())  # no Content-Length: counted on the way
    assert answer.status_code == 413
    assert answer.json()["detail"] == "the request's body has more than 2000 bytes"


def test_a_bomb_of_pixels_is_judged_by_its_header(serve):
    client = serve(limits={"megapixels": 1.0})
    out = io.BytesIO()
    Image.new("1", (1100, 1000)).save(out, "PNG")
    answer = client.post("/v1/search/image", content=out.getvalue())
    assert (answer.status_code, answer.json()["reason"]) == (422, "too_large")
    put = client.put("/v1/items/bomb", content=out.getvalue(), headers={"Content-Type": "image/png"})
    assert put.json()["reason"] == "too_large"


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("k", {"k": 201}),
        ("offset", {"offset": 10_001}),
        ("candidates", {"candidates": 2001, "rerank": "fast"}),
        ("terms", {"terms": [{"text": "a"}] * 33}),
        ("terms", {"like": ["red.png"] * 33}),
        ("length of where", {"where": "price < 1 or " * 400 + "price < 1"}),
        ("params", {"params": {f"p{n}": n for n in range(65)}}),
        ("length of a parameter", {"params": {"p": "x" * 2001}}),
        ("length of a text", {"terms": [{"text": "x" * 2001}]}),
        ("at most 16 fields", {"facets": ["a"] * 17}),
    ],
)
def test_nobody_asks_for_too_much(reader, name, asked):
    answer = reader.post("/v1/search", json={"text": "red", **asked})
    assert answer.status_code == 422
    assert name in answer.json()["detail"]


def test_deep_filters_and_deep_json_are_refused_and_kill_nothing(reader):
    for where in (
        "(" * 1500 + "price < 1" + ")" * 1500,
        "not " * 900 + "price < 1",
        "price in (" + ",".join("1" for _ in range(1900)) + ")",
    ):
        assert reader.post("/v1/search", json={"text": "a", "where": where}).status_code in (200, 422)
    deep = '{"text": "a", "params": {"p": ' + "[" * 100_000 + "]" * 100_000 + "}}"
    assert reader.post("/v1/search", content=deep, headers={"Content-Type": "application/json"}).status_code == 400
    assert reader.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "where",
    [
        "1=1; DROP TABLE item",
        "id = 'x' UNION SELECT 1",
        "id in (SELECT id FROM item)",
        "load_extension('x') = 1",
        "price < 1 --",
        "readfile('/etc/passwd') = ''",
    ],
)
def test_no_text_becomes_sql(reader, library, where):
    before = len(library)
    assert reader.post("/v1/search", json={"text": "red", "where": where}).status_code == 422
    assert len(library) == before


@pytest.mark.parametrize("name", ["model:/etc/passwd", "model:ViT-B-32/laion2b", "toy", "../x", "openclip"])
def test_a_caller_cannot_have_a_model_loaded(reader, name):
    answer = reader.post("/v1/search", json={"text": "red", "rerank": name})
    assert (answer.status_code, "does not allow" in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize("value", ["/etc/passwd", "file:///etc/passwd", "./red.png", "~/x.png"])
def test_a_text_that_looks_like_a_path_is_a_text(reader, value):
    assert reader.post("/v1/search", json={"text": value, "k": 1}).status_code == 200
    assert reader.post("/v1/search", json={"terms": [{"image": value}]}).status_code == 422


def test_nothing_is_fetched_unless_allowed(reader):
    for body in ({"terms": [{"url": "https://example.com/a.png"}]},):
        answer = reader.post("/v1/search", json=body)
        assert (answer.status_code, "--allow-fetch" in answer.json()["hint"]) == (403, True)
    answer = reader.post("/v1/items", json={"items": [{"id": "a", "url": "https://example.com/a.png"}]})
    assert answer.status_code == 403


# --- what is told -----------------------------------------------------------------------------------------------------


def test_neither_tokens_nor_pictures_nor_words_reach_the_log(reader, caplog):
    data = base64.b64encode(picture("red")).decode()
    with caplog.at_level(logging.DEBUG, logger="mmsearch.server"):
        reader.get("/", params={"token": WRITE}, follow_redirects=False)
        reader.get("/", params={"token": "wrong-wrong-wrong-wrong"}, follow_redirects=False)
        reader.get("/v1/search", params={"q": "secret-words"})
        reader.post("/v1/search", json={"terms": [{"image": data}]})
        reader.get("/v1/status", headers={"Authorization": "Bearer other-token-other-token", "X-Request-ID": "evil\x1b[31m"})
    told = "\n".join(f"{record.getMessage()} {record.__dict__.get('data')}" for record in caplog.records)
    assert "'path': '/v1/search'" in told
    for secret in (WRITE, READ, "wrong-wrong", "secret-words", data[:40], "other-token", "\x1b"):
        assert secret not in told


def test_a_failure_inside_tells_nothing_of_the_inside(serve, stocked, monkeypatch, caplog):
    client = serve()
    monkeypatch.setattr(type(stocked), "search", lambda *_, **__: 1 / 0)
    answer = client.post("/v1/search", json={"text": "red"})
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.text
    assert answer.json()["request_id"] in str([record.__dict__.get("data") for record in caplog.records])


def test_request_ids_are_kept_when_they_are_harmless(reader):
    assert reader.get("/healthz", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 65, 'a"b'):
        assert reader.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"] != bad
