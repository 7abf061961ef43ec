"""Text on its way into the catalogue and back: what UTF-8 cannot hold is kept as a BLOB, see ``schema.py``."""

from __future__ import annotations


def pack(value: str) -> str | bytes:
    """What is stored for a string: itself, or bytes (``surrogatepass``, which is one-to-one) if UTF-8 cannot hold it."""
    if value.isascii():  # most are, and it is known without looking: a fifth of the time of encoding
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def pack_or_none(value: str | None) -> str | bytes | None:
    """:func:`pack`, for a column that may be NULL."""
    return None if value is None else pack(value)


def unpack(value: str | bytes) -> str:
    """The string that :func:`pack` was given."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def unpack_or_none(value: str | bytes | None) -> str | None:
    """:func:`unpack`, for a column that may be NULL."""
    return None if value is None else unpack(value)
