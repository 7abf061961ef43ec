"""A real server on a port: start, drain, switch, streams, the command."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest

from mmsearch.collection import Collection
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.errors import UsageError
from mmsearch.server import Limits, Options, Tokens, create_app, running, tokens
from mmsearch.server.bodies import Body, Caller, watch
from mmsearch.server.live import Live
from mmsearch.types import Item
from tests.server.conftest import READ, WRITE, on_a_port

BEARER = {"Authorization": f"Bearer {WRITE}"}
OPTIONS = Options(tokens=Tokens(write=WRITE, read=READ), watch_seconds=0.05)


def opening(path):
    return Collection.open(path, model=ToyEncoder(dim=32))


def new_shop(folder, words):
    with Collection.open(folder, create=True, model=ToyEncoder(dim=32)) as shop:
        shop.add(Item(id=word, text=word) for word in words)


def test_a_collection_that_takes_the_place_of_another_is_served_without_a_lost_request(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsearch.collection.core._resolve", lambda *_: ToyEncoder(dim=32))
    new_shop(tmp_path / "one", ["red one"])
    new_shop(tmp_path / "two", ["red two"])
    place = tmp_path / "live"
    place.symlink_to("one")
    seen, statuses, stop = [], [], threading.Event()

    def ask(address):
        with httpx.Client(base_url=address, headers=BEARER) as client:
            while not stop.is_set():
                answer = client.get("/v1/search", params={"q": "red"})
                statuses.append(answer.status_code)
                seen.append(answer.json()["hits"][0]["id"])

    with on_a_port(create_app(place, OPTIONS)) as address:
        threads = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: seen)
        (tmp_path / "next").symlink_to("two")
        os.replace(tmp_path / "next", place)
        wait_for(lambda: "red two" in seen)
        stop.set()
        for thread in threads:
            thread.join()
        metrics = httpx.get(f"{address}/metrics", headers=BEARER).text
    assert set(statuses) == {200}
    assert set(seen) == {"red one", "red two"}
    assert "mmsearch_switches_total 1.0" in metrics


def test_the_old_collection_is_closed_when_its_last_request_is_done(tmp_path):
    new_shop(tmp_path / "one", ["red"])
    new_shop(tmp_path / "two", ["blue"])
    (tmp_path / "live").symlink_to("one")
    live = Live(tmp_path / "live", opening)
    assert live.check() is False
    closed = []
    with live.use() as old:
        close = old.close
        old.close = lambda: closed.append(1) or close()
        (tmp_path / "live").unlink()
        assert live.check() is False  # gone for a moment: the old one goes on
        (tmp_path / "live").symlink_to("two")
        assert live.check() is True
        assert old.search("red").ids == ["red"]
        assert not closed
    assert closed
    with live.use() as new:
        assert new.search("red").ids == ["blue"]
    live.close()


def test_what_another_process_commits_is_found_and_told_live(tmp_path):
    new_shop(tmp_path / "shop", ["red hat"])
    with opening(tmp_path / "shop") as served, on_a_port(create_app(served, OPTIONS)) as address:
        with httpx.stream("GET", f"{address}/v1/status/events", headers=BEARER, timeout=10) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            assert next_status(lines)["texts"] == 1
            with opening(tmp_path / "shop") as other:
                other.add([Item(id="n", text="green hat")])
            while (status := next_status(lines))["texts"] != 2:
                pass
        found = httpx.get(f"{address}/v1/search", params={"q": "green"}, headers=BEARER).json()
    assert found["hits"][0]["id"] == "n"
    assert status["updated"] > 0


def next_status(lines):
    return json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))


def test_the_end_lets_a_running_request_finish(tmp_path):
    new_shop(tmp_path / "shop", ["red hat"])
    slow = ToyEncoder(dim=32)
    begun, go, answers = threading.Event(), threading.Event(), []
    plain = slow.encode_texts

    class Slow:
        spec, preparer = slow.spec, slow.preparer

        def encode_texts(self, batch):
            if batch == ["slow"]:
                begun.set()
                assert go.wait(10)
            return plain(batch)

        def encode_images(self, batch):
            return slow.encode_images(batch)

    with Collection.open(tmp_path / "shop", model=Slow()) as served:
        with on_a_port(create_app(served, OPTIONS)) as address:
            ask = threading.Thread(
                target=lambda: answers.append(httpx.get(f"{address}/v1/search", params={"q": "slow"}, headers=BEARER))
            )
            ask.start()
            assert begun.wait(10)
            threading.Timer(0.3, go.set).start()
        ask.join(10)
    assert answers[0].status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/healthz")


def test_a_caller_who_hangs_up_leaves_the_queue(tmp_path):
    new_shop(tmp_path / "shop", ["red hat"])
    gate, begun = threading.Event(), threading.Event()
    toy, one = ToyEncoder(dim=32), replace(OPTIONS, workers=1)

    class Blocked:
        spec, preparer = toy.spec, toy.preparer

        def encode_texts(self, batch):
            if "block" in batch:
                begun.set()
                assert gate.wait(10)
            return toy.encode_texts(batch)

        def encode_images(self, batch):
            return toy.encode_images(batch)

    with Collection.open(tmp_path / "shop", model=Blocked()) as served, on_a_port(create_app(served, one)) as address:
        blocker = threading.Thread(
            target=lambda: httpx.get(f"{address}/v1/search", params={"q": "block"}, headers=BEARER, timeout=20)
        )
        blocker.start()
        assert begun.wait(10)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{address}/v1/search", params={"q": "leaves"}, headers=BEARER, timeout=0.3)
        wait_for(lambda: "mmsearch_cancelled_total 1.0" in httpx.get(f"{address}/metrics", headers=BEARER).text)
        gate.set()
        blocker.join()


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path):
    new_shop(tmp_path / "shop", ["red hat"])
    options = Options(tokens=OPTIONS.tokens, limits=Limits(body_seconds=0.3))
    with opening(tmp_path / "shop") as served, on_a_port(create_app(served, options)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(
                f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {WRITE}\r\n"
                "Content-Type: application/json\r\n"
                "Content-Length: 100\r\n\r\n{".encode()
            )
            slow.settimeout(5)
            began = time.monotonic()
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
            assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_a_head_that_does_not_come_is_not_waited_for(tmp_path, monkeypatch, sent):
    monkeypatch.setattr("mmsearch.server.protocol.Protocol.head_seconds", 0.3)
    new_shop(tmp_path / "shop", ["red hat"])
    with opening(tmp_path / "shop") as served, on_a_port(create_app(served, OPTIONS)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.settimeout(5)
            slow.sendall(sent)
            if sent.endswith(b"\r\n\r\n"):
                answer = b""
                while not answer.endswith(b"ok\n"):
                    answer += slow.recv(5000)
                slow.sendall(b"\r\n")  # a connection that is kept alive by nothing
            began = time.monotonic()
            with suppress(ConnectionResetError):
                assert slow.recv(1000) == b""
            assert time.monotonic() - began < 3


def test_a_head_without_end_and_nonsense_are_refused(tmp_path):
    new_shop(tmp_path / "shop", ["red hat"])
    with opening(tmp_path / "shop") as served, on_a_port(create_app(served, OPTIONS)) as address:
        host, port = address.removeprefix("http://").split(":")
        for sent in (
            b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\n" + b"X-A: bbbbbbbbbb\r\n" * 5_000,
            b"\x16\x03\x01nonsense",
        ):
            with socket.create_connection((host, int(port))) as bad:
                bad.settimeout(5)
                with suppress(ConnectionResetError, BrokenPipeError):
                    bad.sendall(sent)
                    answer = bad.recv(4000)
                    assert answer.startswith(b"HTTP/1.1 400")
                    assert b"application/problem+json" in answer
        assert httpx.get(f"{address}/healthz").status_code == 200


def wait_for(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path / "home"


def test_the_command_serves_prints_a_link_and_ends_cleanly(tmp_path, home):
    new_shop(tmp_path / "shop", ["red hat"])
    process = subprocess.Popen(
        [sys.executable, "-m", "mmsearch", "-c", str(tmp_path / "shop"), "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told = process.stdout.readline() + process.stdout.readline() + process.stdout.readline()
        link = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", told)[0]
        kept = home / ".local/share/mmsearch/serve-tokens"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert link.partition("=")[2] == tokens.load(kept).tokens.write
        answer = httpx.get(link)
        assert answer.status_code == 303
        status = httpx.get(link.partition("?")[0] + "v1/status", cookies=answer.cookies)
        assert (status.json()["texts"], status.json()["model"]) == (1, "toy:32")
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"request"} <= {line["message"] for line in lines}
    assert link.partition("=")[2] not in log


def test_what_is_loaded_is_not_collected_again_and_garbage_is_not_kept():
    class Ring:
        pass

    ring = Ring()
    ring.itself = ring
    left, ring = weakref.ref(ring), None
    kept = {"made": "before"}
    try:
        running.settle()
        assert left() is None
        assert gc.get_freeze_count() > 10_000
        assert not any(one is kept for one in gc.get_objects())  # out of sight
        assert kept == {"made": "before"}
    finally:
        gc.unfreeze()


def test_a_server_with_a_process_of_its_own_settles_before_it_says_that_it_is_there_and_again(library, monkeypatch):
    seen = []
    monkeypatch.setattr(running, "settle", lambda: seen.append("settled"))
    monkeypatch.setattr(running, "SETTLE_AGAIN", (0.01, 0.02))
    monkeypatch.setattr("mmsearch.server.pictures.Pictures.warm_up", lambda self: None)
    with running.listen("127.0.0.1", 0) as place:
        server = running.make(create_app(library, OPTIONS), started=lambda: seen.append("up"))
        server.owns_process = True
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([place])), daemon=True)
        thread.start()
        wait_for(lambda: len(seen) == 4)
        server.should_exit = True
        thread.join(20)
    assert seen == ["settled", "up", "settled", "settled"]


def test_under_another_server_a_task_waits_for_the_callers_end():
    async def whole():
        ends, told = asyncio.Event(), []

        async def receive():
            if not body.seen:
                return {"type": "http.request", "body": b"x"}
            await ends.wait()
            return {"type": "http.disconnect"}

        body = Body(receive, limit=10, seconds=1, declared=None)
        await body()
        scope = {"mmsearch.body": body}
        watch(scope, lambda: told.append("stays"))
        watch(scope, lambda: told.append("stopped"))()
        await asyncio.sleep(0)
        assert told == []
        ends.set()
        await asyncio.sleep(0.01)
        assert told == ["stays"]
        caller = Caller()
        caller.leave()
        caller.watch(lambda: told.append("at once"))
        assert told == ["stays", "at once"]

    asyncio.run(whole())


def test_a_taken_port_and_a_missing_name_are_told(tmp_path, home, capsys):
    from mmsearch.cli import main

    new_shop(tmp_path / "shop", ["red hat"])
    with running.listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["-c", str(tmp_path / "shop"), "serve", "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 is taken" in capsys.readouterr().err
    assert main(["-c", str(tmp_path / "shop"), "serve", "--host", "0.0.0.0"]) == 2
    assert "--allow-host" in capsys.readouterr().err
    for origin in ("*", "null", "https://a.example/path", "a.example"):
        assert main(["-c", str(tmp_path / "shop"), "serve", "--cors", origin]) == 2


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_file_is_made_once_and_read_again(tmp_path):
    made = tokens.load(tmp_path / "a" / "tokens")
    again = tokens.load(tmp_path / "a" / "tokens")
    assert (made.made, again.made) == (True, False)
    assert (made.tokens.write, made.tokens.read) == (again.tokens.write, again.tokens.read)
    assert len(made.tokens.write) >= 40
    assert str(made.tokens.write) not in repr(made)


@pytest.mark.parametrize(
    ("text", "mode", "word"),
    [
        ("write " + WRITE, 0o644, "other users"),
        ("write " + WRITE, 0o660, "other users"),
        ("", 0o600, "no token"),
        ("write short", 0o600, "16"),
        (f"write {WRITE}\nwrite {READ}", 0o600, "not 'read"),
        (f"admin {WRITE}", 0o600, "not 'read"),
        (f"read {READ}\nwrite {READ}", 0o600, "same"),
    ],
)
def test_a_token_file_that_is_not_safe_is_refused(tmp_path, text, mode, word):
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(UsageError, match=word):
        tokens.load(path)


def test_a_bare_line_is_a_token_for_writing_and_a_secret_of_a_group_is_fine(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# ours\n\n{WRITE}\n")
    path.chmod(0o440)
    found = tokens.load(path).tokens
    assert (found.write, found.read) == (WRITE, None)
