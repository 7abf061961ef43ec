"""Fetching for a stranger: only public https addresses, only the address that was checked, not too much, not too long."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from mmsearch.server import fetching
from mmsearch.server.errors import Problem
from mmsearch.server.fetching import is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "198.18.0.1",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "::7f00:1",
        "2001:db8::1",
    ],
)
def test_addresses_inside_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "93.184.216.34"])
def test_addresses_outside_are(address):
    assert is_public(address)


class Net:
    """Names and servers of a test: ``answer`` maps a name to the addresses it has at the first, second … asking."""

    def __init__(self, names, pages):
        self.names, self.pages = names, pages
        self.asked, self.connected = [], []

    async def resolve(self, host, port):
        self.asked.append(host)
        answers = self.names[host]
        return answers[min(self.asked.count(host), len(answers)) - 1]

    async def open_connection(self, address, port, *, ssl, server_hostname, limit):
        self.connected.append((address, port, server_hostname))
        assert ssl.verify_mode == 2  # CERT_REQUIRED
        assert ssl.check_hostname
        reader = asyncio.StreamReader(limit=limit)
        reader.feed_data(self.pages[server_hostname])
        reader.feed_eof()
        return reader, Writer()


class Writer:
    sent = b""
    transport = type("T", (), {"abort": staticmethod(lambda: None)})

    def write(self, data):
        Writer.sent = data

    async def drain(self):
        pass


def page(body=b"picture", status="200 OK", **headers):
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def fetch(net, url, monkeypatch, max_bytes=1000):
    monkeypatch.setattr(fetching.asyncio, "open_connection", net.open_connection)
    return asyncio.run(fetching.fetch(url, max_bytes=max_bytes, resolve=net.resolve))


def refused(net, url, monkeypatch, **more):
    with pytest.raises(Problem) as error:
        fetch(net, url, monkeypatch, **more)
    assert error.value.status_code == 422
    return error.value.detail


PUBLIC = {"a.example": [["93.184.216.34"]]}


def test_a_picture_is_fetched_from_the_address_that_was_checked(monkeypatch):
    net = Net(PUBLIC, {"a.example": page(Content_Length=7)})
    assert fetch(net, "https://a.example/p.png?x=1", monkeypatch) == b"picture"
    assert net.connected == [("93.184.216.34", 443, "a.example")]
    assert Writer.sent.startswith(b"GET /p.png?x=1 HTTP/1.0\r\nHost: a.example\r\n")


def test_a_name_is_resolved_once_so_that_it_cannot_change_its_mind(monkeypatch):
    net = Net({"rebind.example": [["93.184.216.34"], ["127.0.0.1"]]}, {"rebind.example": page()})
    assert fetch(net, "https://rebind.example/", monkeypatch) == b"picture"
    assert net.asked == ["rebind.example"]
    assert net.connected[0][0] == "93.184.216.34"


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["169.254.169.254"], ["::1"], []])
def test_a_name_that_leads_inside_is_refused_before_any_connection(monkeypatch, addresses):
    net = Net({"a.example": [addresses]}, {})
    refused(net, "https://a.example/", monkeypatch)
    assert net.connected == []


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/",
        "file:///etc/passwd",
        "ftp://a.example/",
        "gopher://a.example/",
        "https://user:pw@a.example/",
        "https://a.example:22/",
        "https:///x",
        "//a.example/",
        "https://[::1",
        "javascript:alert(1)",
        "https://a.example/\r\nX: y",
        "https://a.example/a b",
        "",
    ],
)
def test_only_plain_https_addresses(monkeypatch, url):
    net = Net(PUBLIC, {"a.example": page()})
    refused(net, url, monkeypatch)
    assert net.connected == []


def test_an_address_in_place_of_a_name_is_judged_too(monkeypatch):
    async def real(host, port):
        return [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

    for host in ("127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0"):
        net = Net({}, {})
        net.resolve = real
        refused(net, f"https://{host}/", monkeypatch)
        assert net.connected == []


@pytest.mark.parametrize("target", ["https://inside.example/", "http://a.example/", "https://127.0.0.1/", "file:///etc/passwd"])
def test_each_redirect_is_judged_again(monkeypatch, target):
    net = Net(
        {**PUBLIC, "inside.example": [["10.0.0.1"]], "127.0.0.1": [["127.0.0.1"]]},
        {"a.example": page(b"", "302 Found", Location=target)},
    )
    refused(net, "https://a.example/", monkeypatch)
    assert [name for _, _, name in net.connected] == ["a.example"]


def test_a_redirect_to_a_good_place_is_followed_and_a_circle_ends(monkeypatch):
    net = Net(
        {**PUBLIC, "b.example": [["8.8.8.8"]]},
        {"a.example": page(b"", "301 Moved", Location="https://b.example/x"), "b.example": page()},
    )
    assert fetch(net, "https://a.example/", monkeypatch) == b"picture"
    assert [address for address, _, _ in net.connected] == ["93.184.216.34", "8.8.8.8"]
    circle = Net(PUBLIC, {"a.example": page(b"", "302 Found", Location="/")})
    refused(circle, "https://a.example/", monkeypatch)
    assert len(circle.connected) == 4


@pytest.mark.parametrize(
    "answer",
    [
        page(b"x" * 1001),
        page(b"short", Content_Length=100),
        page(Content_Encoding="gzip"),
        page(Transfer_Encoding="chunked"),
        page(status="404 Not Found"),
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"",
        page(Content_Length="x"),
    ],
)
def test_answers_that_are_too_much_or_make_no_sense_are_refused(monkeypatch, answer):
    refused(Net(PUBLIC, {"a.example": answer}), "https://a.example/", monkeypatch)


def test_what_is_told_does_not_depend_on_why(monkeypatch):
    """Else a caller could map the network inside."""
    inside = refused(Net({"a.example": [["10.0.0.1"]]}, {}), "https://a.example/", monkeypatch)
    missing = refused(Net(PUBLIC, {"a.example": page(status="404 Not Found")}), "https://a.example/", monkeypatch)
    assert inside == missing


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    async def never(*_, **__):
        await asyncio.Event().wait()

    net = Net(PUBLIC, {})
    net.open_connection = never
    monkeypatch.setattr(fetching, "SECONDS", 0.05)
    refused(net, "https://a.example/", monkeypatch)


def test_a_certificate_of_another_name_is_refused(monkeypatch):
    async def wrong(*_, **__):
        raise ssl.SSLCertVerificationError("hostname mismatch")

    net = Net(PUBLIC, {})
    net.open_connection = wrong
    refused(net, "https://a.example/", monkeypatch)
