"""``mmsearch models``: which models there are, which are on this machine, and how to get one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _output
from mmsearch.cli._app import App, Commands, pass_app
from mmsearch.cli._text import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmsearch.models import ModelInfo


@click.group(cls=Commands, name="models", short_help="List, describe and download models.")
def command() -> None:
    """List, describe and download the models that turn pictures and texts into vectors.

    Beside the names of the list, any open_clip model may be named as ARCHITECTURE/WEIGHTS, and a checkpoint of your own
    as ARCHITECTURE:FILE or local-dir:FOLDER.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def list_(app: App, *, as_json: bool) -> None:
    """List the recommended models, weakest first."""
    from mmsearch import models

    chosen, found = app.settings, models.installed()
    if as_json:
        _output.dump({"v": _output.VERSION, "models": [_json(one) for one in found]})
        return
    from mmsearch.cli import _table

    rows = [
        (one.name, "yes" if one.on_disk else "no", _size(one), _number(one.dim), _recall(one), one.licence or "–",
         one.summary)
        for one in found
    ]
    names = ("name", "here", "size", "dim", "recall", "licence", "what it is")
    _table.plain(names, rows, right=("size", "dim", "recall"))
    standard = chosen.model or models.default_model()
    app.say(f"new collections get: {standard} ({chosen.origins['model']}); "
            "recall is the mean at 1, 5 and 10 in Immich's published table")


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def info(app: App, *, name: str, as_json: bool) -> None:
    """Say what is known of one model. Loads nothing."""
    from mmsearch import models

    app.settings  # noqa: B018 - a --model-dir takes effect by being read
    found = models.info(name)
    if as_json:
        _output.dump({"v": _output.VERSION, **_json(found)})
        return
    from mmsearch.cli import _table

    side = f"{found.image_size[0]}×{found.image_size[1]} pixels" if found.image_size else "–"
    rows = [
        ("model", found.name if found.name == found.model else f"{found.name}, which is {found.model}"),
        ("what it is", found.summary),
        ("on disk", f"{found.path}, {size(found.bytes or 0)}" if found.on_disk else f"no: mmsearch models pull {name}"),
        ("download", size(found.download) if found.download else "–"),
        ("vectors", f"{found.dim} dimensions" if found.dim else "–"),
        ("images", side),
        ("recall", _recall(found)),
        ("licence", found.licence or "–"),
    ]
    _table.details([row for row in rows if row[1]])


@command.command()
@click.argument("name")
@click.option("--token", metavar="TOKEN", help="The access token of the hub; better kept in MMSEARCH_TOKEN.")
@pass_app
def pull(app: App, *, name: str, token: str | None) -> None:
    """Download a model, unless it is here already. No other command downloads anything."""
    from mmsearch import models

    app.flags["token"] = token
    chosen = app.settings
    if models.info(name).on_disk:
        app.say(f"{name} is here already")
        return
    with _progress(app) as progress:
        found = models.pull(name, progress=progress, offline=chosen.offline, token=chosen.token)
    app.say(f"{name} is at {found.path} ({size(found.bytes or 0)})")


@command.command()
@click.argument("name")
@pass_app
def export(app: App, *, name: str) -> None:
    """Write a model's towers for onnxruntime, so that queries start without torch.

    The copy must agree with the model (cosine of at least 0.9999), or it is not kept. Collections of this model use it
    for queries from then on. Needs: pip install 'mmsearch[export]'
    """
    from mmsearch import models

    app.settings  # noqa: B018 - a --model-dir takes effect by being read
    app.say(f"exporting {name}; this takes a minute")
    folder = models.export(name)
    app.say(f"{name} is at {folder} ({size(sum(file.stat().st_size for file in folder.iterdir()))})")


@contextmanager
def _progress(app: App) -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A bar for each file on a terminal."""
    if app.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.DownloadColumn(),
               bars.TransferSpeedColumn(), bars.TimeRemainingColumn())
    with bars.Progress(*columns, console=app.err) as bar:
        tasks: dict[str, bars.TaskID] = {}

        def update(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total)
            bar.update(tasks[file], completed=done, total=total)

        yield update


def _json(one: ModelInfo) -> dict[str, Any]:
    return {**asdict(one), "path": None if one.path is None else str(one.path), "on_disk": one.on_disk}


def _size(one: ModelInfo) -> str:
    number = one.bytes if one.on_disk else one.download
    return size(number) if number else "–"


def _number(value: int | None) -> str:
    return "–" if not value else f"{value:,}"


def _recall(one: ModelInfo) -> str:
    return "–" if one.recall is None else f"{one.recall:.1f}"
