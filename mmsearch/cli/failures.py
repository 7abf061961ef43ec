"""``mmsearch failures``: which files were skipped, and why."""

from __future__ import annotations

import os

import click

from mmsearch.cli import _output
from mmsearch.cli._app import FAILED, OK, App, Command, pass_app
from mmsearch.cli._text import count, local


@click.command(cls=Command, short_help="List the files that were skipped, and why.")
@click.option("--reason", metavar="WORD", help="Only those skipped for this reason (truncated, too_large …).")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are any.")
@_output.formats("paths", "print0", "json", "jsonl")
@pass_app
def command(app: App, *, reason: str | None, exit_code: bool, form: str | None) -> int:
    """List the files that were skipped, and why. Each is tried again once it has changed."""
    with app.open() as collection:
        roots = collection.roots()
        found = [failure for failure in collection.failures() if reason in (None, failure.reason)]
    paths = [os.path.join(roots.get(failure.root, ""), failure.path) for failure in found]
    if form in ("paths", "print0"):
        _output.dump_paths(paths, null=form == "print0")
    elif form == "jsonl":
        _output.dump_lines(map(_output.failure_json, found))
    elif form == "json":
        _output.dump({"v": _output.VERSION, "failures": list(map(_output.failure_json, found))})
    elif not found:
        app.say("nothing was skipped")
    else:
        from mmsearch.cli import _table

        _table.plain(("reason", "path", "detail"), [
            (failure.reason, local(path), failure.detail) for failure, path in zip(found, paths, strict=True)
        ], path="path")
        app.say(f"{count(len(found), 'file')} skipped")
    return FAILED if exit_code and found else OK
