"""The client gives what the collection gives: in process, and over a real port."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import threading

import httpx
import pytest

from mmsearch.client import AsyncClient, Busy, Client, Forbidden, ServiceError, Unauthorized, Unreachable
from mmsearch.collection import Collection
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.errors import ImageError, InputError, ItemNotFound, LockedError, QueryError
from mmsearch.server import Options, Tokens, create_app
from mmsearch.types import Item, image, item, text
from tests.server.conftest import READ, WRITE, on_a_port, picture, template

__all__ = ["template"]


@pytest.fixture(scope="module")
def shop(template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("client") / "shop"
    shutil.copytree(template / "shop", folder)
    with Collection.open(folder, model=ToyEncoder(dim=32)) as collection:
        yield collection


@pytest.fixture(scope="module")
def address(shop):
    with on_a_port(create_app(shop, Options(tokens=Tokens(write=WRITE, read=READ)))) as found:
        yield found


@pytest.fixture
def client(address):
    with Client(address, token=WRITE) as found:
        yield found


def test_hits_are_those_of_the_collection(client, shop, tmp_path):
    path = tmp_path / "p.png"
    path.write_bytes(picture("pink"))
    query = text("red") + 0.5 * image(path) - 0.3 * item("green.png")
    remote, local = client.search(query, k=3), shop.search(query, k=3)
    assert remote.ids == local.ids
    assert [hit.score for hit in remote] == pytest.approx([hit.score for hit in local], abs=1e-6)
    assert [(hit.kind, hit.vid, hit.rank, hit.meta, hit.exact) for hit in remote] == [
        (hit.kind, hit.vid, hit.rank, hit.meta, hit.exact) for hit in local
    ]
    assert (remote.candidates, remote.exact, remote.next) == (local.candidates, True, 3)
    assert remote[0].path == "red.png"
    filtered = client.search("red", kind="text", where="price < :p", params={"p": 50}, facets=["brand"], explain=True)
    assert filtered.ids == ["sku/dress", "sku/shirt"]
    assert [(one.value, one.count) for one in filtered.facets[0].values] == [("Acme", 2)]
    assert filtered.why[0][0]["share"] == pytest.approx(filtered[0].score, abs=1e-3)


def test_like_and_facets_and_records(client, shop):
    assert client.similar("red.png", k=2).ids == shop.similar("red.png", k=2).ids
    assert client.similar(["red.png", "blue.png"], unlike=["green.png"]).ids == ["sub/pink.png"]
    assert client.facets(["brand"], kind="text", where="price < :p", params={"p": 80}) == shop.facets(
        ["brand"], kind="text", where="price < 80"
    )
    record = client.get("sub/pink.png")
    assert (record.kind, record.width, record.path) == ("image", 40, "sub/pink.png")
    assert client.file("sub/pink.png") == picture("pink")
    assert client.thumbnail(record.vid)[:2] == b"\xff\xd8"
    status = client.status()
    assert (status.images, status.scope, status.dim) == (4, "write", 32)


def test_changes_have_statuses(client, shop):
    statuses = client.upsert([Item("n1", text="gray hat"), Item("n2", image=picture("gray")), Item("n3", image=b"broken")])
    assert [one.status for one in statuses] == ["added", "added", "failed"]
    assert statuses[2].detail.startswith("not_image: ")
    assert client.add([Item("n1", text="gray cap"), Item("n4", text="gray sock")]).updated == 1
    with pytest.raises(InputError, match="n3") as error:
        client.add([Item("n3", image=b"broken")])
    assert error.value.reason == "not_image"
    assert [one.status for one in client.update_meta({"n1": {"price": 1}, "none": {}})] == ["updated", "not_found"]
    assert shop.get("n1").meta == {"price": 1}
    assert client.delete(["n1", "n2", "n4", "none"]) == 3
    with pytest.raises(ItemNotFound):
        client.get("n1")


def test_many_items_go_in_several_requests(client, shop, monkeypatch):
    monkeypatch.setattr("mmsearch.client.requests.ITEMS", 3)
    statuses = client.upsert(Item(f"many{n}", text=f"white thing {n}") for n in range(7))
    assert [one.id for one in statuses] == [f"many{n}" for n in range(7)]
    assert client.delete(f"many{n}" for n in range(7)) == 7


def test_errors_are_of_the_right_kind(client, address):
    with pytest.raises(QueryError, match="cancel"):
        client.search(text("red") - text("red"))
    with pytest.raises(QueryError, match=r"body\.k"):
        client.search("red", k=0)
    with pytest.raises(ImageError) as error:
        client.search(image(b"not a picture at all"))
    assert error.value.reason == "not_image"
    with Client(address, token="wrong-token-wrong-token") as wrong, pytest.raises(Unauthorized) as refused:
        wrong.search("red")
    assert refused.value.status == 401
    assert refused.value.request_id
    with Client(address, token=READ) as reader, pytest.raises(Forbidden):
        reader.delete(["red.png"])
    with Client("http://127.0.0.1:9", token=WRITE, tries=1) as nobody, pytest.raises(Unreachable, match="does not answer"):
        nobody.status()


def test_it_awaits_the_same(shop):
    async def scenario():
        app = create_app(shop, Options(tokens=Tokens(write=WRITE, read=READ)))
        here = AsyncClient("http://localhost", token=WRITE, transport=httpx.ASGITransport(app))
        async with app.router.lifespan_context(app), here as client:
            hits, near = await asyncio.gather(client.search("red", k=2), client.similar("red.png", k=1))
            added = await client.add([Item("async", text="brown hat")])
            status = await client.status()
            facets = await client.facets(["brand"], kind="text")
            deleted = await client.delete(["async"])
            with pytest.raises(ItemNotFound):
                await client.get("async")
            return hits, near, added, status, facets, deleted

    hits, near, added, status, facets, deleted = asyncio.run(scenario())
    assert hits.ids == shop.search("red", k=2).ids
    assert near.ids == shop.similar("red.png", k=1).ids
    assert (added.added, deleted, status.images) == (1, 1, 4)
    assert [value.count for value in facets[0].values] == [2, 2]


def busy(times, then=200):
    seen = []

    def answer(request):
        seen.append(request)
        if len(seen) <= times:
            return httpx.Response(503, headers={"Retry-After": "7"}, json={"detail": "too many queries are waiting"})
        return httpx.Response(then, json={"items": [{"id": "a", "status": "deleted"}]})

    return seen, httpx.MockTransport(answer)


def test_a_busy_service_is_asked_again_when_it_says(monkeypatch):
    slept = []
    monkeypatch.setattr("mmsearch.client.synchronous.time.sleep", slept.append)
    seen, transport = busy(2)
    with Client("http://x", token="t", transport=transport) as client:
        assert client.delete(["a"]) == 1
    assert len(seen) == 3
    assert all(7 <= one <= 7 * 1.25 for one in slept)
    seen, transport = busy(99)
    with Client("http://x", transport=transport, tries=2) as client, pytest.raises(Busy) as error:
        client.delete(["a"])
    assert len(seen) == 2
    assert isinstance(error.value, LockedError)
    assert isinstance(error.value, ServiceError)


def test_the_async_one_too(monkeypatch):
    slept, here, real = [], threading.get_ident(), asyncio.sleep

    async def sleep(seconds, *more):
        if threading.get_ident() != here:  # a service of another test that is still ending has a loop of its own
            return await real(seconds, *more)
        return slept.append(seconds)

    monkeypatch.setattr("mmsearch.client.asynchronous.asyncio.sleep", sleep)
    seen, transport = busy(2)

    async def scenario():
        async with AsyncClient("http://x", transport=transport) as client:
            return await client.delete(["a"])

    assert asyncio.run(scenario()) == 1
    assert (len(seen), len(slept)) == (3, 2)


def test_both_clients_have_the_verbs_of_a_collection():
    verbs = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert verbs == {name for name, _ in inspect.getmembers(AsyncClient, inspect.isfunction) if not name.startswith("_")}
    assert verbs - {"file", "thumbnail"} <= set(dir(Collection))
    for name in verbs:
        mine = inspect.signature(getattr(Client, name)).parameters
        assert list(mine) == list(inspect.signature(getattr(AsyncClient, name)).parameters)
        assert inspect.getdoc(getattr(Client, name)), name
