"""Whom a request is addressed to. A page that rebinds its own name to this machine gives itself away by the name."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

_LOOPBACK_NAMES = {"localhost"}


def host_of(header: str) -> str:
    """The host of a ``Host`` header, lower case, without port and brackets; empty where it is no host."""
    header = header.strip().lower()
    if header.startswith("["):
        name, bracket, port = header[1:].partition("]")
        return name if bracket and (not port or port.startswith(":") and port[1:].isdigit()) else ""
    name, colon, port = header.partition(":")
    if colon and not port.isdigit():
        return ""
    return name.rstrip(".")


@lru_cache(maxsize=64)
def may_name(header: str, allowed: tuple[str, ...], local: str | None) -> bool:
    """:func:`is_allowed` for the host of a ``Host`` header; the few that are used are remembered, 64 at most."""
    return is_allowed(host_of(header), allowed, local)


def is_allowed(host: str, allowed: Sequence[str], local: str | None) -> bool:
    """Whether a service may answer to this host.

    Names of the loopback, those in ``allowed`` (``*.example.com`` takes any below it), and ``local``, the very address that
    the connection came in on: an address cannot be rebound.
    """
    if not host:
        return False
    if host in _LOOPBACK_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return address.is_loopback or host == local or host in allowed
    return any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in allowed)
