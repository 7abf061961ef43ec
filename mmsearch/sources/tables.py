"""The rows of a CSV, JSONL or Parquet file, one at a time, with their line numbers and with what is wrong with them."""

from __future__ import annotations

import codecs
import csv
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

from mmsearch.errors import MissingExtra, SourceError
from mmsearch.texts import decode_loosely

FORMATS = ("csv", "jsonl", "parquet")
MAX_LINE_BYTES = 16 << 20
"""A longer field of a CSV or line of JSONL is broken: an unclosed quote would otherwise swallow the rest of the file."""

_BY_SUFFIX = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+")
_NAMES = {"true": True, "false": False}


class Row(NamedTuple):
    """One record: its line (or row number, from 1), and its values, or what is wrong with it."""

    line: int
    values: Mapping[str, Any]
    error: str | None = None


def format_of(path: str, given: str | None) -> str:
    """The format given, or that of the suffix. Raises :class:`SourceError`."""
    found = given or _BY_SUFFIX.get(os.path.splitext(path)[1].lower())
    if found not in FORMATS:
        raise SourceError(f"{path}: the format {given or 'of this file'} is not known", hint=f"formats: {', '.join(FORMATS)}")
    return found


def columns_of(path: str, format: str) -> list[str] | None:
    """The columns that the file declares; ``None`` for JSONL, which declares none. Raises :class:`SourceError`."""
    if format == "csv":
        with _opened(path) as stream:
            return _header(path, csv.reader(stream, delimiter=_delimiter(path)))
    if format == "parquet":
        with _parquet(path) as file:
            return list(file.schema_arrow.names)
    return None


def rows(path: str, format: str) -> Iterator[Row]:
    """The rows in their order. Streams: at most one row (of Parquet, 1,024) is in memory.

    Raises :class:`OSError` and :class:`SourceError` for the file as a whole; a broken row is yielded with its ``error``.
    """
    return {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}[format](path)


# --- CSV --------------------------------------------------------------------------------------------------------------


def _csv_rows(path: str) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    with _opened(path) as stream:
        # strict: a quote that is never closed is an error, and not one field made of all the rows behind it
        reader = csv.reader(stream, delimiter=_delimiter(path), strict=True)
        header = _header(path, reader)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line, {}, str(error))
                continue
            if not any(cells):
                continue
            if len(cells) > len(header):
                yield Row(line, {}, f"{len(cells)} cells, but there are {len(header)} columns")
                continue
            pairs = zip(header, cells, strict=False)  # trailing empty cells may be missing
            yield Row(line, {name: cell for name, cell in pairs if name and cell})


def _header(path: str, lines: Iterator[list[str]]) -> list[str]:
    try:
        names = [as_text(cell).strip() for cell in next(lines, [])]
    except csv.Error as error:
        raise SourceError(f"{path}: the header line cannot be read: {error}") from error
    known = [name for name in names if name]
    twice = {name for name in known if known.count(name) > 1}
    if twice or not known:
        what = f"the column {min(twice)!r} is there twice" if twice else "there is no header line"
        raise SourceError(f"{path}: {what}", hint="the first line must name the columns, each once")
    return names


def _opened(path: str) -> IO[str]:
    """The file, decoded by its byte order mark, else as UTF-8 with other bytes kept as surrogates: a path may be anything."""
    with open(path, "rb") as binary:
        start = binary.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return open(path, encoding="utf-16", errors="replace", newline="")
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _delimiter(path: str) -> str:
    with _opened(path) as stream:
        line = re.sub(r'"[^"]*"', "", stream.readline(MAX_LINE_BYTES))
    return max(",\t;|", key=line.count)


def as_text(cell: str) -> str:
    """A cell whose bytes were not UTF-8 read as Windows-1252, as an old spreadsheet writes them."""
    if cell.isascii():
        return cell
    try:
        cell.encode()
    except UnicodeEncodeError:
        return decode_loosely(cell.encode("utf-8", "surrogateescape"))
    return cell


def guess(cell: str) -> Any:
    """A number or a boolean where a cell can be nothing else, else the text.

    >>> [guess(cell) for cell in ("40", "-1.50", "TRUE", "007", "1e5", "+1", "12345678901234567890")]
    [40, -1.5, True, '007', '1e5', '+1', '12345678901234567890']
    """
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _DECIMAL.fullmatch(cell) and math.isfinite(number := float(cell)):
        return number
    return _NAMES.get(cell.lower(), as_text(cell))


# --- JSONL ------------------------------------------------------------------------------------------------------------


def _jsonl_rows(path: str) -> Iterator[Row]:
    with open(path, "rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                yield Row(number, {}, f"more than {MAX_LINE_BYTES:,} bytes")
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES)
                continue
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield _jsonl_row(number, line)


def _jsonl_row(number: int, line: bytes) -> Row:
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"))
    except RecursionError:
        return Row(number, {}, "nested too deeply")
    except ValueError as error:
        return Row(number, {}, str(error))
    return Row(number, value) if isinstance(value, dict) else Row(number, {}, "not a JSON object")


# --- Parquet ----------------------------------------------------------------------------------------------------------


def _parquet(path: str) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        hint = "pip install 'mmsearch[parquet]'"
        raise MissingExtra(f"{path}: reading Parquet needs pyarrow", hint=hint) from error
    try:
        file = ParquetFile(path)
        file.schema_arrow.names  # noqa: B018  raises here where a name is not UTF-8
        return file
    except (ArrowException, ValueError) as error:
        raise SourceError(f"{path} is not a Parquet file: {str(error).splitlines()[0]}") from error


def _parquet_rows(path: str) -> Iterator[Row]:
    from pyarrow import ArrowException

    number = 0
    with _parquet(path) as file:
        try:
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, values)
        except (ArrowException, ValueError, OverflowError) as error:  # also a text that is not UTF-8, a time beyond the calendar
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise SourceError(f"{path}: broken after row {number:,}: {why}") from error
