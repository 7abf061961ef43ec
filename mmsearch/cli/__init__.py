"""The command line. Each command is one file that defines ``command``; files with a leading ``_`` are helpers."""

from __future__ import annotations

from mmsearch.cli._app import main

__all__ = ["main"]
