"""``mmsearch query``: search by words, pictures, items, and sums of these."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _query
from mmsearch.cli._app import FAILED, OK, App, Command, pass_app
from mmsearch.cli._ranking import ranking_options, wanted
from mmsearch.cli._show import search_options, show
from mmsearch.errors import InputError

if TYPE_CHECKING:
    from mmsearch.collection import Collection


@click.command(cls=Command, short_help="Search by words, pictures, and sums of these.")
@click.argument("text", nargs=-1)
@click.option("-i", "--image", "images", multiple=True, metavar="IMAGE|-",
              help="Search by a picture: a file, or - for one on stdin (repeatable).")
@click.option("--text", "texts", multiple=True, metavar="W:TERM", help="Add a text, never taken for a file name.")
@click.option("--not", "nots", multiple=True, metavar="W:TERM|IMAGE", help="Move away from a text or a picture.")
@click.option("--like", multiple=True, metavar="ID", help="Add an item of the collection.")
@click.option("--unlike", multiple=True, metavar="ID", help="Move away from an item of the collection.")
@click.option("--remember", is_flag=True, help="Keep what --like and --unlike say for later queries with the same text.")
@click.option("--crop", metavar="X,Y,W,H", help="Use this part of the picture: pixels, or fractions from 0 to 1.")
@click.option("--heatmap", "heat", is_flag=True, help="With --html: show on each picture where it answers the query.")
@click.option("--device", metavar="auto|cpu|cuda[:N]|mps", help="Where the model runs.")
@search_options(kind="images where there are any, else texts")
@ranking_options
@pass_app
def command(app: App, /, *, text: tuple[str, ...], device: str | None, form: str | None, **options: Any) -> int:
    """Search by words, pictures, items of the collection, and sums of these.

    Words in a row are one text. "2:cat" gives a weight, "./cat.jpg" (an image that exists) searches by the picture,
    + and - between blanks add and subtract. The folders are not looked at: run "mmsearch index" for what is new.

    \b
      mmsearch query a cat asleep on a sofa
      mmsearch query ./dress.jpg --not red --where 'price < 50' -k 20
      mmsearch query horse + 0.5:stripes - grass
      mmsearch query -i photo.jpg --kind text
      mmsearch query sunset -0 | xargs -0 cp -t ~/best
    """
    names = ("images", "texts", "nots", "like", "unlike", "crop")
    judged = {name: options[name] for name in ("like", "unlike")}
    remember = options.pop("remember")
    if remember:
        if not any(judged.values()):
            raise click.UsageError("--remember keeps what --like and --unlike say, and there is neither")
        options |= {"like": (), "unlike": ()}  # the query moves by what is kept
    query = _query.build(text, **{name: options.pop(name) for name in names})
    app.flags["device"] = device
    params = _query.parameters(options.pop("params"))
    chosen = {name: options.pop(name) for name in ("html", "open_best", "explain", "heat")}
    if chosen["heat"] and not chosen["html"]:
        raise click.UsageError("--heatmap is drawn on the page of --html; for one picture: mmsearch why PATH TEXT --heatmap FILE")
    exit_code = options.pop("exit_code")
    ranking = wanted(options)
    with app.open() as collection:
        try:
            if remember:
                collection.judge(query, **judged)
            hits = collection.search(query, params=params, **options, **ranking)
        except InputError as error:
            raise _query.named(error, query) from error
        _say_age(app, collection)
        show(app, collection, hits, query, form=form, **chosen)
    if app.settings.worker:
        _start_worker()
    return FAILED if exit_code and not hits else OK


def _start_worker() -> None:
    """So that the next query finds one. It is not waited for."""
    from mmsearch.cli import _warm, worker

    if not os.path.exists(_warm.socket_path()):
        worker.launch()


def _say_age(app: App, collection: Collection) -> None:
    if app.quiet:
        return
    from mmsearch.cli.status import age

    app.say(f"{age(collection.status(), time.time())}")
