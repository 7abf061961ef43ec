"""How a service is set up: who may come in, and how much they may ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmsearch.errors import UsageError

MIN_TOKEN = 16
"""Shorter tokens are refused: they can be guessed."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The two secrets of a service: ``write`` may do everything, ``read`` may search and look. Either may be missing."""

    write: str | None = None
    read: str | None = None

    def __post_init__(self) -> None:
        if not (self.write or self.read):
            raise UsageError("a service needs a token", hint="leave --token-file out, and one is made")
        for value in (self.write, self.read):
            if value is not None and (len(value) < MIN_TOKEN or not value.isascii() or not value.isprintable() or " " in value):
                raise UsageError(
                    f"a token has at least {MIN_TOKEN} printable ASCII characters and no space",
                    hint="openssl rand -hex 32 makes a good one",
                )
        if self.write == self.read:
            raise UsageError("the tokens for reading and for writing must not be the same")

    def __repr__(self) -> str:
        return "Tokens(…)"  # never in a log


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one request, and all together, may use. Sizes in bytes, times in seconds."""

    body_bytes: int = 32 << 20
    image_bytes: int = 32 << 20
    megapixels: float = 50.0
    k: int = 200
    offset: int = 10_000
    terms: int = 32
    text_chars: int = 2_000
    where_chars: int = 4_000
    params: int = 64
    items: int = 1_000
    candidates: int = 2_000
    facets: int = 16
    body_seconds: float = 30.0
    write_wait: float = 5.0
    batch: int = 16
    queue: int = 256
    streams: int = 32


@dataclass(frozen=True, slots=True)
class Options:
    """All choices of a service. The defaults are safe: one machine, a token, no other origin, no fetching.

    ``hosts`` are names that requests may be addressed to beside the loopback ones (``*.example.com`` takes any name below);
    ``origins`` those of other sites whose pages may read answers (CORS); ``rerankers`` the names that a request may
    ask for; ``extra_folders`` hold files that may be served though their items belong to no root; ``workers`` threads run
    batches of queries; ``thumbnails`` is the longest side that may be asked for.
    """

    tokens: Tokens
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    read_only: bool = False
    allow_fetch: bool = False
    secure_cookie: bool = False
    rerankers: tuple[str, ...] = ("fast", "deep")
    extra_folders: tuple[Path, ...] = ()
    workers: int = 2
    thumbnails: int = 1024
    watch_seconds: float = 1.0
    limits: Limits = field(default_factory=Limits)
