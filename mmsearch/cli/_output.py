"""Results for programs: JSON, JSON lines, CSV, bare paths. Nothing here is shortened.

A JSON hit is versioned (``"v": 1``): fields may be added to a version, never renamed or removed.
"""

from __future__ import annotations

import base64
import csv
import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli._text import printable
from mmsearch.errors import StorageError

if TYPE_CHECKING:
    from mmsearch.types import Failure, Hit

F = TypeVar("F", bound=Callable[..., Any])

VERSION = 1
FIELDS = ("rank", "id", "kind", "group", "path", "text", "score", "relevance", "rerank", "meta", "box", "exact")


def formats(*names: str) -> Callable[[F], F]:
    """Adds the options of the named formats; the command gets the one chosen as ``form`` (``None``: for people)."""
    options = {
        "paths": (["-f", "--paths"], "Print file paths only, one a line."),
        "print0": (["-0", "--print0"], "Print file paths only, raw, each ended by a NUL byte (for xargs -0)."),
        "json": (["--json"], "Print one JSON object."),
        "jsonl": (["--jsonl"], "Print one JSON object a line."),
        "csv": (["--csv"], "Print CSV with a header line."),
        "preview": (["-p", "--preview"], "Show the pictures in the terminal."),
    }

    def keep(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            other = ctx.meta.setdefault("form", param.name)
            if other != param.name:
                raise click.UsageError(f"--{other} and --{param.name} exclude each other", ctx)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> Any:
            return function(*args, form=click.get_current_context().meta.get("form"), **kwargs)

        for name in reversed(names):
            flags, text = options[name]
            click.option(*flags, is_flag=True, expose_value=False, callback=keep, help=text)(command)
        return command  # type: ignore[return-value]

    return decorate


def write(data: str | bytes) -> None:
    """Data on stdout. Text is UTF-8 with the bytes of names that are not UTF-8 as they were."""
    stream = sys.stdout.buffer
    stream.write(data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape"))
    stream.flush()


def write_page(page: str, target: str) -> bool:
    """A web page into a file, or on stdout for ``-``. Whether it went into a file."""
    if target == "-":
        write(page)
        return False
    try:
        with open(target, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(page)
    except OSError as error:
        raise StorageError(f"the page {target} cannot be written: {error.strerror}") from error
    return True


def clean(value: Any) -> Any:
    """JSON that any parser takes: bytes which are not UTF-8 become U+FFFD."""
    if isinstance(value, str):
        return value if value.isascii() else os.fsencode(value).decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {clean(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    return value


def encoded(name: str, value: str | None) -> dict[str, str]:
    """``{"path_b64": …}`` for a value that is not UTF-8, else nothing."""
    if value is None or value.isascii():
        return {}
    raw = os.fsencode(value)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(raw).decode("ascii")}
    return {}


def hit_json(hit: Hit) -> dict[str, Any]:
    """One hit as INTERFACES has it; ``path_b64`` and ``id_b64`` are added where those are not UTF-8."""
    fields = {name: clean(getattr(hit, name)) for name in FIELDS}
    parts = {name: clean(value) for name in ("matches", "stages") if (value := getattr(hit, name))}
    return {"v": VERSION, **fields, **parts, **encoded("path", hit.path), **encoded("id", hit.id)}


def failure_json(failure: Failure) -> dict[str, Any]:
    """One skipped file."""
    names = ("root", "path", "reason", "detail", "size", "mtime_ns", "tries")
    return {"v": VERSION, **{n: clean(getattr(failure, n)) for n in names}, **encoded("path", failure.path)}


def dump(value: Any, *, indent: int | None = 2) -> None:
    """One JSON value and a line end."""
    write(json.dumps(clean(value), ensure_ascii=False, indent=indent) + "\n")


def dump_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines."""
    write("".join(json.dumps(clean(row), ensure_ascii=False) + "\n" for row in rows))


def dump_csv(hits: Sequence[Hit]) -> None:
    """CSV as RFC 4180 has it; ``meta`` and ``box`` are JSON in their cells."""
    text = io.StringIO()
    out = csv.DictWriter(text, [*FIELDS, "path_b64"], extrasaction="ignore")
    out.writeheader()
    for hit in hits:
        row = hit_json(hit)
        for name in ("meta", "box"):
            row[name] = None if row[name] is None else json.dumps(row[name], ensure_ascii=False)
        out.writerow(row)
    write(text.getvalue())


def dump_paths(paths: Sequence[str], *, null: bool) -> None:
    """Absolute paths. With ``null`` they are raw; else control characters are written out, so that a line is a path."""
    if null:
        write(b"".join(os.fsencode(path) + b"\0" for path in paths))
        return
    terminal = sys.stdout.isatty()
    write("".join((printable(path) if terminal else _one_line(path)) + "\n" for path in paths))


def _one_line(path: str) -> str:
    return "".join(char if "\udc80" <= char <= "\udcff" else printable(char) for char in path)
