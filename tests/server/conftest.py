"""A service over a small shop, asked in process."""

from __future__ import annotations

import asyncio
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from mmsearch.collection import Collection
from mmsearch.encoders.toy import COLOURS, ToyEncoder
from mmsearch.server import Limits, Options, Tokens, create_app, running
from mmsearch.sources import Folder
from mmsearch.types import Item

WRITE, READ = "write-token-for-the-tests", "read-token-for-the-tests"
BASE = "http://localhost"
PRODUCTS = (
    ("dress", "red", 40, "Acme"),
    ("shirt", "blue", 20, "Acme"),
    ("shoe", "green", 60, "Other"),
    ("bag", "red", 90, "Other"),
)


def picture(colour: str, size: tuple[int, int] = (40, 30), form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(out, form)
    return out.getvalue()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photos from a folder, one of them in a subfolder, and four texts with price and brand; made once, copied often."""
    folder = tmp_path_factory.mktemp("server")
    for name, colour in (("red", "red"), ("blue", "blue"), ("green", "green"), ("sub/pink", "pink")):
        path = folder / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(colour))
    with Collection.open(folder / "shop", create=True, model=ToyEncoder(dim=32)) as collection:
        collection.sync(Folder(folder / "photos"))
        collection.add(
            Item(id=f"sku/{name}", group=f"g-{name}", text=f"{colour} {name}", meta={"price": price, "brand": brand})
            for name, colour, price, brand in PRODUCTS
        )
    return folder


@pytest.fixture(scope="session")
def library(template: Path) -> Iterator[Collection]:
    """The shop, for tests that only read."""
    with Collection.open(template / "shop", model=ToyEncoder(dim=32)) as collection:
        yield collection


@pytest.fixture(scope="session")
def reader(library: Collection) -> Iterator[TestClient]:
    """A client of a service over it."""
    with serving(library) as client:
        yield client


@pytest.fixture
def stocked(template: Path, tmp_path: Path, toy: ToyEncoder) -> Iterator[Collection]:
    """A copy of the shop that a test may change, its photos in ``tmp_path / "photos"``."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    with Collection.open(tmp_path / "shop", model=toy) as collection:
        collection.move_root("photos", tmp_path / "photos")
        yield collection


@pytest.fixture
def serve(stocked: Collection) -> Iterator[Callable[..., TestClient]]:
    """``serve(read_only=True, limits={"k": 5})`` → a client that is logged in for writing."""
    with ExitStack() as stack:

        def start(
            source: Any = None, *, token: str | None = WRITE, limits: dict[str, Any] | None = None, **options: Any
        ) -> TestClient:
            return stack.enter_context(serving(source or stocked, token=token, limits=limits, **options))

        yield start


@contextmanager
def serving(
    source: Any, *, token: str | None = WRITE, limits: dict[str, Any] | None = None, **options: Any
) -> Iterator[TestClient]:
    chosen = Options(tokens=Tokens(write=WRITE, read=READ), limits=replace(Limits(), **(limits or {})), **options)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with TestClient(create_app(source, chosen), base_url=BASE, headers=headers, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()


@contextmanager
def on_a_port(app: Any) -> Iterator[str]:
    """A real server on a free port of the loopback; its address."""
    place = running.listen("127.0.0.1", 0)
    up = threading.Event()
    server = running.make(app, started=up.set)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([place])), daemon=True)
    thread.start()
    try:
        assert up.wait(20)
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        place.close()
