"""``mmsearch judge``: say which hits fit a query; list and forget what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmsearch.cli import _output
from mmsearch.cli._app import FAILED, OK, App, Command, pass_app
from mmsearch.cli._text import count

if TYPE_CHECKING:
    from mmsearch.judgements import Judgement


@click.command(cls=Command, short_help="Say which hits fit a query, so that it finds better ones.")
@click.argument("text", nargs=-1)
@click.option("--like", multiple=True, metavar="ID", help="An item that fits (repeatable).")
@click.option("--unlike", multiple=True, metavar="ID", help="An item that does not fit (repeatable).")
@click.option("--forget", is_flag=True, help="Forget what was said of this query.")
@_output.formats("json", "jsonl")
@pass_app
def command(app: App, /, *, text: tuple[str, ...], like: tuple[str, ...], unlike: tuple[str, ...], forget: bool,
            form: str | None) -> int:
    """Say which hits fit a query and which do not. Later queries with the same text are moved by it; --unjudged leaves it out.

    With a query alone, and with none, what was said is listed. Nothing leaves this machine.

    \b
      mmsearch judge evening dress --like sku-7 --unlike sku-3
      mmsearch judge
      mmsearch judge evening dress --forget
    """
    query = " ".join(text)
    if not query and (like or unlike or forget):
        raise click.UsageError("name the query that is judged")
    if forget and (like or unlike):
        raise click.UsageError("--forget takes neither --like nor --unlike")
    with app.open() as collection:
        if forget:
            found = collection.forget(query)
            app.say(f"forgotten: what was said of {query!r}" if found else f"nothing was said of {query!r}")
            return OK if found else FAILED
        said = like or unlike
        listed = [collection.judge(query, like=like, unlike=unlike)] if said else collection.judgements(query or None)
    _print(app, listed, form)
    return OK


def _print(app: App, listed: list[Judgement], form: str | None) -> None:
    rows = [{"query": one.query, "like": list(one.like), "unlike": list(one.unlike)} for one in listed]
    if form == "json":
        _output.dump({"v": _output.VERSION, "judgements": rows})
    elif form == "jsonl":
        _output.dump_lines({"v": _output.VERSION, **row} for row in rows)
    elif rows:
        from mmsearch.cli._table import plain

        plain(["query", "fit", "do not fit"], [[one.query, ", ".join(one.like), ", ".join(one.unlike)] for one in listed])
    if not form:
        app.say(f"{count(len(rows), 'query', 'queries')} judged")
