"""Fetches a picture from an address that a stranger names, without becoming the stranger's hands inside this network.

HTTPS only. The name is resolved once; every address found must be public, and the connection goes to the address that was
checked, with the name kept for TLS and the Host header: a name server that answers something else the second time
(DNS rebinding) is never asked a second time. Each redirect starts again from the beginning.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urljoin, urlsplit

from mmsearch.server.errors import Problem

SECONDS: Final = 10.0
"""For all of it: names, connections, redirects, the picture."""
REDIRECTS: Final = 3
_HEAD_BYTES: Final = 32 << 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_IPV4_IN_IPV6: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")))
"""Prefixes behind which an IPv4 address hides: translators would carry a request to it."""

Resolve = Callable[[str, int], Awaitable[list[str]]]


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet: not to this machine, this network, a cloud's metadata service, …"""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in network for network in _IPV4_IN_IPV6):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found]


async def fetch(
    url: str,
    *,
    max_bytes: int,
    resolve: Resolve = resolve,
    tls: ssl.SSLContext | None = None,
    allowed: Callable[[str], bool] = is_public,
) -> bytes:
    """The bytes behind an HTTPS address. Raises :class:`Problem` 422 that does not tell an inner network from a missing page."""
    try:
        async with asyncio.timeout(SECONDS):
            for _ in range(REDIRECTS + 1):
                status, where, body = await _get(url, max_bytes, resolve, tls or ssl.create_default_context(), allowed)
                if status not in _REDIRECTS:
                    break
                url = urljoin(url, where)
    except (OSError, TimeoutError, ValueError, EOFError):
        raise _failed() from None
    if status != 200:
        raise _failed()
    return body


def _failed() -> Problem:
    return Problem(422, "the picture cannot be fetched", hint="only public https addresses are fetched; or send the picture itself")


async def _get(
    url: str, max_bytes: int, resolve: Resolve, tls: ssl.SSLContext, allowed: Callable[[str], bool]
) -> tuple[int, str, bytes]:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.port not in (None, 443):
        raise ValueError("not a plain https address")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (target.isascii() and target.isprintable()) or " " in target:
        raise ValueError("an address with characters that must be encoded")
    host = parts.hostname.encode("idna").decode() if ":" not in parts.hostname else parts.hostname
    addresses = await resolve(host, 443)
    if not addresses or not all(allowed(address) for address in addresses):
        raise ValueError("not a public address")
    reader, writer = await asyncio.open_connection(addresses[0], 443, ssl=tls, server_hostname=host, limit=_HEAD_BYTES)
    try:
        name = f"[{host}]" if ":" in host else host
        head = f"GET {target} HTTP/1.0\r\nHost: {name}\r\nAccept: image/*\r\nUser-Agent: mmsearch\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        return await _read(reader, max_bytes)
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader, max_bytes: int) -> tuple[int, str, bytes]:
    """Status, ``Location`` and body of a response to an HTTP/1.0 request, which has no chunks and ends with the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ValueError("no head") from error
    first, *lines = head.split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise ValueError("not HTTP")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "identity") != "identity" or headers.get("content-encoding", "identity") != "identity":
        raise ValueError("an encoding that was not asked for")
    body = bytearray()
    while chunk := await reader.read(1 << 16):
        body += chunk
        if len(body) > max_bytes:
            raise ValueError("too large")
    declared = headers.get("content-length")
    if declared is not None and int(declared) != len(body):
        raise ValueError("cut short")
    return int(rest[:3]), headers.get("location", ""), bytes(body)
