"""Bytes of a text file → the text, whatever it was written with."""

from __future__ import annotations

import codecs

from mmsearch.errors import InputError

_BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_loosely(data: bytes) -> str:
    """The text in ``data``: by its byte order mark, else as UTF-8, else as Windows-1252. Never fails.

    >>> decode_loosely(b"caf\\xc3\\xa9"), decode_loosely(b"caf\\xe9"), decode_loosely(b"\\xff\\xfec\\x00")
    ('café', 'café', 'c')
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def decode_text(data: bytes) -> str:
    """The text of a ``.txt`` or ``.md`` item, without the white space around it.

    Who calls it: the ingest, on what ``source.read`` gave for a text asset that came without its text. Raises
    :class:`InputError` with reason ``empty`` or ``not_text`` (a NUL in it: something binary with a text's name).
    """
    text = decode_loosely(data)
    if "\0" in text:
        raise InputError("not_text", "this is not text: there is a NUL byte in it")
    text = text.strip()
    if not text:
        raise InputError("empty", "there is no text in this file")
    return text
