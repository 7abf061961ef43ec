"""Who is asking: a token in the header, or the cookie that a login link has set."""

from __future__ import annotations

import hashlib
import hmac
from enum import IntEnum
from http.cookies import CookieError, SimpleCookie

from mmsearch.server.options import Tokens

COOKIE_SECONDS = 30 * 24 * 3600


class Scope(IntEnum):
    """What a caller may do; a larger one includes the smaller."""

    NONE = 0
    READ = 1
    WRITE = 2


class Doorkeeper:
    """Knows the tokens. Compares in constant time, and always against all, so that time tells nothing."""

    def __init__(self, tokens: Tokens) -> None:
        pairs = ((tokens.read, Scope.READ), (tokens.write, Scope.WRITE))
        self._tokens = [(value.encode(), scope) for value, scope in pairs if value]
        # what the cookie holds is derived: who reads a browser's cookies does not have the token
        self._sessions = [(_derive(token, b"session"), scope) for token, scope in self._tokens]
        self.cookie = f"mmsearch-{_derive(self._tokens[-1][0], b'name')[:8].decode()}"
        """The cookie's name; one per service, since ports of one host share their cookies."""

    def by_token(self, token: bytes) -> Scope:
        """What the bearer of this token may do."""
        return _scope(token, self._tokens)

    def by_header(self, authorization: bytes) -> Scope:
        """The scope of an ``Authorization: Bearer TOKEN`` header."""
        scheme, _, token = authorization.strip().partition(b" ")
        return self.by_token(token.strip()) if scheme.lower() == b"bearer" else Scope.NONE

    def by_cookie(self, header: str) -> Scope:
        """The scope of a ``Cookie`` header."""
        try:
            morsel = SimpleCookie(header).get(self.cookie)
        except CookieError:
            return Scope.NONE
        return _scope(morsel.value.encode("utf-8", "replace"), self._sessions) if morsel else Scope.NONE

    def session(self, token: bytes, *, secure: bool) -> str | None:
        """The ``Set-Cookie`` value for a right token, else ``None``."""
        scope = self.by_token(token)
        if not scope:
            return None
        value = next(value for value, known in self._sessions if known is scope).decode()
        flags = "; Secure" if secure else ""
        return f"{self.cookie}={value}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Strict{flags}"


def _derive(token: bytes, purpose: bytes) -> bytes:
    return hmac.new(token, b"mmsearch " + purpose, hashlib.sha256).hexdigest().encode()


def _scope(given: bytes, known: list[tuple[bytes, Scope]]) -> Scope:
    best = Scope.NONE
    for value, scope in known:
        if hmac.compare_digest(given, value):
            best = max(best, scope)
    return best
