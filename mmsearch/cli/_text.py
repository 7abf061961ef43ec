"""Text that comes from files and goes to a terminal: made safe, made short."""

from __future__ import annotations

import os
import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: a file's name must not move the cursor or set the title
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of writing around
    "\u2028\u2029\ud800-\udfff]"  # line and paragraph ends, and bytes that are not UTF-8
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""The text with all that could act on a terminal written out.

    >>> print(printable("a\nb\x1b[31m\udcff"))
    a\nb\x1b[31m\xff
    """
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's way to carry a byte
        code -= 0xDC00
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def excerpt(text: str, width: int = 0) -> str:
    """One safe line of a longer text, cut at its end to ``width`` cells (0: not cut)."""
    line = printable(" ".join(text.split()))
    if not width:
        return line
    if width_of(line) <= width:
        return line
    from rich.cells import set_cell_size

    return set_cell_size(line, max(width - 1, 0)).rstrip() + "…"


def shorten(path: str, width: int) -> str:
    """A path cut in the middle to ``width`` terminal cells; its end, which tells files apart, stays longest.

    >>> shorten("photos/2023/summer/beach/cat.jpg", 20)
    'photos…beach/cat.jpg'
    """
    if width_of(path) <= width:
        return path
    from rich.cells import cell_len, set_cell_size

    if width < 5:
        return set_cell_size(path, max(width, 0))
    head = set_cell_size(path, (width - 1) // 3).rstrip()
    room, tail = width - 1 - cell_len(head), ""
    for char in reversed(path):
        if cell_len(char) > room:
            break
        room -= cell_len(char)
        tail = char + tail
    return f"{head}…{tail}"


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 image``, ``1,234 images``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(number: float) -> str:
    """Bytes for people: ``1.4 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """A time for people: ``0.4 s``, ``2 min 5 s``, ``3 h 10 min``, ``4 days``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} days"


def width_of(text: str) -> int:
    """How many cells of a terminal a text takes. rich, which knows, is asked only where letters differ in width."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def share(room: int, wants: dict[str, int]) -> dict[str, int]:
    """Divide ``room`` cells: who needs less than an equal share gets all it needs, the others share the rest."""
    widths: dict[str, int] = {}
    for name, want in sorted(wants.items(), key=lambda pair: pair[1]):
        equal = (room - sum(widths.values())) // (len(wants) - len(widths))
        widths[name] = min(want, max(equal, 8))
    return widths


def local(path: str) -> str:
    """A path for people: from the working folder where it lies below it; safe to print; no leading dash."""
    here = os.getcwd().rstrip("/") + "/"
    near = path.removeprefix(here)
    return printable(f"./{near}" if near.startswith("-") else near)
