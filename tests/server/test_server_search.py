"""Searches over HTTP give what the collection gives."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from mmsearch.types import image, item, text, vector
from tests.server.conftest import picture


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_a_search_by_words_is_that_of_the_collection(reader, library):
    answer = reader.post("/v1/search", json={"text": "red", "k": 3}).json()
    hits = library.search("red", k=3)
    assert [hit["id"] for hit in answer["hits"]] == hits.ids
    assert [hit["score"] for hit in answer["hits"]] == pytest.approx([hit.score for hit in hits])
    assert answer["hits"][0]["id"] == "red.png"
    assert answer["hits"][0]["href"] == "/v1/items/red.png"
    assert (answer["candidates"], answer["exact"], answer["k"], answer["offset"], answer["next"]) == (4, True, 3, 0, 3)
    assert set(answer["timings"]) >= {"encode", "search", "fetch"}


def test_get_says_the_same_as_post(reader):
    got = reader.get(
        "/v1/search",
        params={"q": "red", "not": "pink", "kind": "any", "k": 5, "where": "price < :p or kind = 'image'", "param": "p=50"},
    ).json()
    posted = reader.post(
        "/v1/search",
        json={
            "text": "red",
            "terms": [{"text": "pink", "weight": -1}],
            "kind": "any",
            "k": 5,
            "where": "price < :p or kind = 'image'",
            "params": {"p": 50},
        },
    ).json()
    assert got["hits"] == posted["hits"]
    assert len(got["hits"]) == 5


def test_every_kind_of_term_means_what_it_means_in_python(reader, library):
    blue = picture("blue")
    row = [float(x) for x in library.encoder.encode_texts(["green"])[0]]
    terms = [
        {"text": "red", "weight": 0.5},
        {"id": "sub/pink.png", "weight": -0.25},
        {"image": base64.b64encode(blue).decode(), "weight": 0.75},
        {"vector": row},
    ]
    query = 0.5 * text("red") - 0.25 * item("sub/pink.png") + 0.75 * image(blue) + vector(np.array(row, dtype=np.float32))
    answer = reader.post("/v1/search", json={"terms": terms}).json()
    hits = library.search(query, k=20)
    assert [hit["id"] for hit in answer["hits"]] == hits.ids
    assert [hit["score"] for hit in answer["hits"]] == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_liked_and_disliked_items(reader, library):
    answer = reader.post("/v1/search", json={"like": ["red.png", "blue.png"], "unlike": ["green.png"]}).json()
    assert (
        [hit["id"] for hit in answer["hits"]]
        == library.similar(["red.png", "blue.png"], unlike=["green.png"]).ids
        == ["sub/pink.png"]
    )
    answer = reader.post("/v1/search", json={"text": "pink", "like": ["red.png"], "unlike": ["green.png"]}).json()
    query = text("pink") + item("red.png") - 0.5 * item("green.png")
    assert [hit["id"] for hit in answer["hits"]] == library.search(query, k=20).ids


def test_pages_fit_together(reader):
    whole = ids(reader.post("/v1/search", json={"text": "red", "k": 4}))
    first = reader.post("/v1/search", json={"text": "red", "k": 3}).json()
    second = reader.post("/v1/search", json={"text": "red", "k": 3, "offset": first["next"]}).json()
    assert [hit["id"] for hit in first["hits"] + second["hits"]] == whole
    assert [hit["rank"] for hit in second["hits"]] == [4]
    assert second["next"] is None


def test_a_filter_with_parameters(reader):
    found = ids(
        reader.post(
            "/v1/search", json={"text": "red", "kind": "text", "where": "price < :p and brand = 'Acme'", "params": {"p": 50}}
        )
    )
    assert found == ["sku/dress", "sku/shirt"]
    answer = reader.post("/v1/search", json={"text": "red", "where": "prices <"})
    assert answer.status_code == 422
    assert "hint" in answer.json() or answer.json()["detail"]


def test_groups_and_orders(reader, library):
    asked = {"text": "red", "kind": "text", "group_by": "brand", "boost": "price * 0.001"}
    hits = library.search("red", kind="text", group_by="brand", boost="price * 0.001", k=20)
    assert ids(reader.post("/v1/search", json=asked)) == hits.ids
    assert len(hits) == 2


def test_a_picture_as_the_body(reader, library):
    data = picture("pink")
    answer = reader.post("/v1/search/image", content=data, headers={"Content-Type": "image/png"}, params={"k": 2})
    assert ids(answer) == library.search(image(data), k=2).ids
    assert ids(answer)[0] == "sub/pink.png"


def test_words_are_mixed_into_a_picture(reader, library):
    data = picture("pink")
    answer = reader.post(
        "/v1/search/image", content=data, params={"text": "blue", "text_weight": 3, "not": "green", "not_weight": 0.5}
    )
    query = image(data) + 3.0 * text("blue") - 0.5 * text("green")
    assert ids(answer) == library.search(query, k=20).ids
    assert ids(answer)[0] == "blue.png"


def test_a_part_of_a_picture(reader, tmp_path):
    import io

    from PIL import Image

    whole = Image.new("RGB", (100, 100), (20, 40, 220))
    whole.paste((220, 20, 20), (60, 60, 100, 100))
    out = io.BytesIO()
    whole.save(out, "PNG")
    send = {"content": out.getvalue(), "headers": {"Content-Type": "image/png"}}
    assert ids(reader.post("/v1/search/image", params={"k": 1}, **send)) == ["blue.png"]
    assert ids(reader.post("/v1/search/image", params={"k": 1, "crop": "60,60,40,40"}, **send)) == ["red.png"]
    outside = reader.post("/v1/search/image", params={"crop": "100,0,5,5"}, **send)
    assert (outside.status_code, "100x100" in outside.json()["detail"]) == (422, True)


def test_items_like_a_stored_one(reader, library):
    assert ids(reader.get("/v1/similar/sub%2Fpink.png", params={"k": 2})) == library.similar("sub/pink.png", k=2).ids
    assert reader.get("/v1/similar/nothing").status_code == 404


def test_facets_beside_the_hits(reader):
    answer = reader.post("/v1/search", json={"text": "red", "kind": "text", "where": "price < 80", "facets": ["brand"]}).json()
    assert answer["facets"][0]["values"] == [
        {"value": "Acme", "count": 2, "low": None, "high": None},
        {"value": "Other", "count": 1, "low": None, "high": None},
    ]
    alone = reader.get("/v1/facets", params={"field": "brand", "kind": "text", "where": "price < :p", "param": "p=80"}).json()
    assert alone["facets"] == answer["facets"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "no terms"),
        ({"text": "  "}, "empty"),
        ({"terms": [{"text": "a", "id": "b"}]}, "exactly one"),
        ({"text": "a", "wher": "x"}, "documented"),
        ({"text": "a", "k": 0}, "documented"),
        ({"text": "a", "terms": [{"text": "a", "weight": -1}]}, "cancel"),
        ({"terms": [{"image": "not base64"}]}, "base64"),
        ({"terms": [{"image": "AAAA"}]}, "cannot be read"),
        ({"terms": [{"vector": [1.0]}]}, "32 finite numbers"),
        ({"text": "a", "cutoff": 2}, "documented"),
    ],
)
def test_what_makes_no_sense_is_told(reader, body, word):
    answer = reader.post("/v1/search", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert word in str(problem)
    assert (problem["status"], problem["title"], problem["type"]) == (422, "Unprocessable Content", "about:blank")
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_an_unknown_item_in_a_query_is_404(reader):
    assert reader.post("/v1/search", json={"like": ["nothing"]}).status_code == 404


def test_shares_say_what_each_term_gave(reader):
    asked = {"text": "red", "terms": [{"text": "blue", "weight": -0.5}, {"id": "sub/pink.png", "weight": 0.3}], "explain": True}
    for hit in reader.post("/v1/search", json=asked).json()["hits"]:
        assert [one["term"] for one in hit["why"]] == ["red", "blue", "sub/pink.png"]
        assert sum(one["share"] for one in hit["why"]) == pytest.approx(hit["score"], abs=2e-3)
    best = reader.post("/v1/search", json=asked).json()["hits"][0]
    assert best["why"][0]["share"] == max(one["share"] for one in best["why"])
    assert all(hit["why"] is None for hit in reader.post("/v1/search", json={"text": "red"}).json()["hits"] if "why" in hit)


def test_a_heatmap_shows_where(serve, stocked, tmp_path):
    from PIL import Image

    from mmsearch.sources import Folder

    whole = Image.new("RGB", (400, 400), (20, 40, 220))
    whole.paste((220, 20, 20), (300, 300, 400, 400))
    whole.save(tmp_path / "photos" / "both.png")
    stocked.sync(Folder(tmp_path / "photos"))
    client = serve()
    found = client.get("/v1/heatmap/both.png", params={"q": "red"}).json()
    assert (found["width"], found["height"], found["id"]) == (400, 400, "both.png")
    assert min(found["hottest"]) > 200
    assert max(map(max, found["grid"])) == 1.0
    drawn = client.get("/v1/heatmap/both.png", params={"q": "red", "form": "png"})
    assert (drawn.headers["content-type"], drawn.content[:4]) == ("image/png", b"\x89PNG")
    for path in ("/v1/heatmap/%2Fetc%2Fpasswd", "/v1/heatmap/nothing", "/v1/heatmap/sku%2Fdress"):
        assert client.get(path, params={"q": "red"}).status_code == 404


def test_a_query_picture_is_decoded_elsewhere(serve):
    """A decoder that dies takes its process with it, not the service."""
    import os
    import signal

    client = serve()
    send = {"content": picture("pink"), "params": {"k": 1}}
    assert ids(client.post("/v1/search/image", **send)) == ["sub/pink.png"]
    (pid,) = client.app.state.service.pictures._queries.pids
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)
    assert ids(client.post("/v1/search/image", **send)) == ["sub/pink.png"]


def test_products_are_ranked_by_their_fields(reader, library):
    weights = {"photo": 1.0, "text": 0.5}
    answer = reader.post("/v1/search", json={"text": "red", "kind": "any", "fields": weights, "k": 5}).json()
    hits = library.search("red", kind="any", fields=weights, k=5)
    assert [hit["id"] for hit in answer["hits"]] == hits.ids
    assert [hit["matches"] for hit in answer["hits"]] == [dict(hit.matches) for hit in hits]


def test_the_service_says_when_it_can_answer(library):
    from starlette.testclient import TestClient

    from mmsearch.server import Options, Tokens, create_app

    app = create_app(library, Options(tokens=Tokens(write="x" * 16)))
    early = TestClient(app, base_url="http://localhost")
    assert (early.get("/healthz").status_code, early.get("/readyz").status_code) == (200, 503)
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/readyz").status_code == 200
    assert early.get("/readyz").status_code == 503


def test_metrics_count(serve):
    client = serve(limits={"streams": 0})
    client.get("/v1/search", params={"q": "red"})
    assert client.get("/v1/status/events").status_code == 503
    told = client.get("/metrics").text
    assert 'mmsearch_requests_total{method="GET",route="/v1/search",status="200"} 1.0' in told
    assert 'mmsearch_items{kind="image"} 4.0' in told
    assert "mmsearch_batch_queries_count 1.0" in told
    other = serve().get("/metrics").text
    assert 'route="/v1/search"' not in other  # a registry of its own
