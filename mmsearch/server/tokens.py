"""Where tokens come from: a file that only its owner can read, made on first use."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import NamedTuple

from mmsearch.errors import UsageError
from mmsearch.server.options import Tokens


class Found(NamedTuple):
    """The tokens, and whether they were made just now."""

    tokens: Tokens
    made: bool


def load(path: Path) -> Found:
    """The tokens of a file, which is made with fresh ones (mode 0600) if it is not there.

    Each line is ``write TOKEN`` or ``read TOKEN``; a line with a token alone is one for writing. Raises :class:`UsageError`
    where others could read the file, or it has no token.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Found(_make(path), True)
    with os.fdopen(descriptor, "r", encoding="utf-8") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o027:  # a group may read: that is how Kubernetes hands a secret to a service that is not root
            raise UsageError(f"other users can read or change {path} (mode {mode:o})", hint=f"chmod 600 {path}")
        return Found(parse(file.read(), str(path)), False)


def parse(text: str, name: str) -> Tokens:
    """The tokens in a file's text; blank lines and those that start with ``#`` are passed over."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        scope, value = words if len(words) == 2 else ("write", words[0])
        if scope not in ("read", "write") or len(words) > 2 or scope in found:
            raise UsageError(f"{name} has a line that is not 'read TOKEN' or 'write TOKEN', one of each at most")
        found[scope] = value
    if not found:
        raise UsageError(f"{name} has no token in it", hint="write a line into it: write TOKEN")
    return Tokens(**found)


def _make(path: Path) -> Tokens:
    tokens = Tokens(write=secrets.token_urlsafe(32), read=secrets.token_urlsafe(32))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"# tokens of mmsearch serve\nwrite {tokens.write}\nread {tokens.read}\n")
    return tokens
