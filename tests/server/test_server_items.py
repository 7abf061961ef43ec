"""Items over HTTP: stored, changed, deleted, looked at, each with a status of its own."""

from __future__ import annotations

import base64
import os
from urllib.parse import quote

import pytest

from mmsearch.errors import ItemNotFound
from mmsearch.server.answers import href
from tests.server.conftest import picture


def test_items_are_added_and_replaced_and_the_bad_one_is_named(client, stocked):
    red = base64.b64encode(picture("red")).decode()
    body = {
        "items": [
            {"id": "a", "text": "yellow hat", "group": "g", "meta": {"price": 5}},
            {"id": "b", "image": red},
            {"id": "c", "image": base64.b64encode(b"not a picture").decode()},
            {"id": "sku/dress", "text": "purple dress"},
        ]
    }
    statuses = client.post("/v1/items", json=body).json()["items"]
    assert [(one["id"], one["status"]) for one in statuses] == [
        ("a", "added"),
        ("b", "added"),
        ("c", "failed"),
        ("sku/dress", "updated"),
    ]
    assert statuses[2]["reason"] == "not_image"
    assert stocked.get("sku/dress").text == "purple dress"
    assert dict(stocked.get("a").meta) == {"price": 5}
    assert stocked.get("a").group == "g"
    assert stocked.search("red", k=2).ids[0] in ("red.png", "b")
    assert stocked.failures() == []
    assert "c" not in stocked


def test_a_body_that_cannot_be_stored_is_an_error(client, stocked):
    answer = client.put("/v1/items/x", content=b"GIF89a broken", headers={"Content-Type": "image/gif"})
    assert answer.status_code == 422
    assert answer.json()["reason"] in ("truncated", "corrupt")
    assert "x" not in stocked


def test_one_item_comes_as_its_body(client, stocked):
    put = client.put(
        "/v1/items/photos%2Fnew%20one.png",
        content=picture("blue"),
        headers={"Content-Type": "image/png"},
        params={"group": "g1", "meta": '{"price": 3}'},
    )
    assert put.json()["items"] == [{"id": "photos/new one.png", "status": "added"}]
    record = stocked.get("photos/new one.png")
    assert (str(record.kind), record.group, dict(record.meta)) == ("image", "g1", {"price": 3})
    client.put("/v1/items/t", content="grüner Hut".encode(), headers={"Content-Type": "text/plain; charset=utf-8"})
    assert stocked.get("t").text == "grüner Hut"
    assert client.put("/v1/items/t", content=b"\xff", headers={"Content-Type": "text/plain"}).status_code == 422
    assert client.put("/v1/items/t", content=b"a", headers={"Content-Type": "text/plain"}, params={"meta": "[]"}).status_code == 422


def test_an_item_is_shown(client, stocked):
    shown = client.get("/v1/items/sub%2Fpink.png").json()
    record = stocked.get("sub/pink.png")
    assert (shown["id"], shown["vid"], shown["path"], shown["width"], shown["height"]) == (
        "sub/pink.png",
        record.vid,
        "sub/pink.png",
        40,
        30,
    )
    assert shown["thumb"] == f"/v1/thumb/{record.vid}"
    missing = client.get("/v1/items/nothing")
    assert (missing.status_code, missing.json()["title"]) == (404, "Not Found")


def test_fields_change_and_nothing_else(client, stocked):
    before = stocked.get("sku/dress")
    patched = client.patch("/v1/items/sku%2Fdress", json={"meta": {"price": 35, "brand": None, "sale": True}})
    assert patched.json()["items"] == [{"id": "sku/dress", "status": "updated"}]
    after = stocked.get("sku/dress")
    assert dict(after.meta) == {"price": 35, "sale": True}
    assert (after.vid, after.text) == (before.vid, before.text)
    assert client.patch("/v1/items/nothing", json={"meta": {}}).status_code == 404
    many = client.post("/v1/items/meta", json={"patches": {"g-shoe": {"stock": 0}, "g-none": {"stock": 1}}, "by": "group"})
    assert [one["status"] for one in many.json()["items"]] == ["updated", "not_found"]
    assert stocked.get("sku/shoe").meta["stock"] == 0


def test_items_are_deleted(client, stocked):
    answer = client.post("/v1/items/delete", json={"ids": ["red.png", "nothing"]})
    assert [one["status"] for one in answer.json()["items"]] == ["deleted", "not_found"]
    with pytest.raises(ItemNotFound):
        stocked.get("red.png")
    assert client.delete("/v1/items/blue.png").status_code == 200
    assert client.delete("/v1/items/blue.png").status_code == 404
    assert len(stocked) == 6


def test_names_that_are_not_utf8_are_reached_and_shown(client, stocked, tmp_path):
    import os

    from mmsearch.sources import Folder

    folder = tmp_path / "photos"
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.png"), "wb") as file:
        file.write(picture("brown"))
    stocked.sync(Folder(folder))
    hit = client.get("/v1/search", params={"q": "brown", "k": 1}).json()["hits"][0]
    assert hit["path"] == "caf\ufffd.png"
    assert client.get(hit["href"]).json()["width"] == 40
    assert client.get(hit["href"] + "/file").content == picture("brown")


def test_a_thumbnail_is_small_kept_and_not_sent_twice(client, stocked, tmp_path):
    import io

    from PIL import Image

    from mmsearch.sources import Folder

    (tmp_path / "photos" / "large.png").write_bytes(picture("orange", (1200, 600)))
    stocked.sync(Folder(tmp_path / "photos"))
    vid = stocked.get("large.png").vid
    first = client.get(f"/v1/thumb/{vid}", params={"size": 200})
    assert first.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(first.content)).size == (256, 128)
    (kept,) = (stocked.path / "thumbnails").rglob("*.jpg")
    assert kept.read_bytes() == first.content
    kept.write_bytes(b"kept")
    assert client.get(f"/v1/thumb/{vid}").content == b"kept"
    again = client.get(f"/v1/thumb/{vid}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/v1/thumb/{vid}", headers={"If-None-Match": '"another"'}).status_code == 200
    assert client.get(f"/v1/thumb/{stocked.get('sku/bag').vid}").status_code == 404
    assert client.get("/v1/thumb/999999").status_code == 404


def test_a_file_that_was_changed_later_is_shown_and_not_kept(client, stocked, tmp_path):
    import os

    path = tmp_path / "photos" / "red.png"
    path.write_bytes(picture("blue"))
    os.utime(path, (1, 1))
    assert client.get(f"/v1/thumb/{stocked.get('red.png').vid}").status_code == 200
    assert not (stocked.path / "thumbnails").exists()


def test_an_items_file_comes_as_it_is(client):
    answer = client.get("/v1/items/sub%2Fpink.png/file")
    assert answer.content == picture("pink")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert client.get("/v1/items/sku%2Fbag/file").status_code == 404


@pytest.mark.parametrize("id", ["sku-1", "a.b_c~d", "..", "a/b", "a b", "sku%2F1", "é", "x\n", "\udcff", "a#b?c"])
def test_an_address_is_the_quoted_id(id):
    assert href(id) == "/v1/items/" + quote(os.fsencode(id), safe="")
