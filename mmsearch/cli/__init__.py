"""The command line. Each command is one file that defines ``command``; files with a leading ``_`` are helpers."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code comes back. A query goes to the warm worker where there is one."""
    import sys

    from mmsearch.cli import _warm

    arguments = list(sys.argv[1:] if args is None else args)
    code = _warm.ask(arguments)
    if code is None:
        from mmsearch.cli._app import main as run

        code = run(arguments)
    return code
