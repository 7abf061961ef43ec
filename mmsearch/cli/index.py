"""``mmsearch index``: bring a collection up to date with folders, files and manifests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import _progress, _sources
from mmsearch.cli._app import INTERRUPTED, OK, SKIPPED, App, Command, pass_app
from mmsearch.cli._text import count, duration, printable

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.types import Failure, IngestReport

NAMED = 10
"""So many skipped files are named at the end of a run; ``mmsearch failures`` names all."""


@click.command(cls=Command, short_help="Bring the collection up to date with your files.")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--manifest", "manifests", multiple=True, metavar="FILE", help="A CSV, JSONL or Parquet file of items.")
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME",
              help="Which column of a manifest is image, text, id or group, where its name does not tell.")
@click.option("--captions", multiple=True, metavar="FILE|sidecar",
              help="'sidecar': captions are in cat.txt or cat.json beside cat.jpg. FILE: a COCO JSON of images and "
              "captions; PATH is then the folder of its images, if that is not found beside it.")
@click.option("--files-from", metavar="FILE|-", help="Index the files named in FILE or on stdin, one a line.")
@click.option("-0", "null", is_flag=True, help="--files-from has names that are ended by NUL bytes.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only files that match (as in .gitignore; repeatable).")
@click.option("--exclude", multiple=True, metavar="GLOB", help="No files that match (repeatable).")
@click.option("--hidden", is_flag=True, help="Take hidden files and folders too.")
@click.option("--follow-symlinks", is_flag=True, help="Follow symbolic links; loops are seen.")
@click.option("--model", metavar="NAME", help="The model of a new collection; an existing one must be made by it.")
@click.option("--device", metavar="auto|cpu|cuda[:N]|mps", help="Where the model runs.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True,
              help="The model's arithmetic.")
@click.option("--batch-size", metavar="auto|N", default="auto", show_default=True, help="Images per pass of the model.")
@click.option("--workers", type=click.IntRange(0), metavar="N",
              help="Processes that decode images (0: none, this one does).")
@click.option("--max-megapixels", type=click.FloatRange(0, min_open=True), metavar="N", help="Skip larger images.")
@click.option("--gps", is_flag=True, help="Keep where a photo was taken, if its EXIF says so.")
@click.option("--prune/--no-prune", default=True, show_default=True, help="Remove items whose files are gone.")
@click.option("--checksum", is_flag=True, help="Compare contents instead of size and time.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--strict", is_flag=True, help="Exit with 3 if any file was skipped.")
@click.option("--wait", type=click.FloatRange(0), default=0.0, metavar="SECONDS",
              help="How long to wait for another process that is writing.")
@click.option("--optimize", is_flag=True, help="Afterwards, where it pays: mmsearch optimize --background.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@pass_app
def command(app: App, /, paths: tuple[str, ...], *, model: str | None, device: str | None, as_json: bool, strict: bool,
            **options: Any) -> int:
    """Bring the collection up to date with folders, single files, manifests.

    Only what is new or changed is read; what is gone is removed. Files that cannot be used are skipped and listed by
    "mmsearch failures". An interrupted run loses nothing that was done: the next one goes on from there.

    The collection is the one of -c, else MMSEARCH_COLLECTION, else the nearest folder .mmsearch upward (make one to have
    a collection beside your files), else your own.

    \b
      mmsearch index ~/photos
      mmsearch index ~/photos --captions sidecar --exclude 'raw/'
      mmsearch index --manifest products.csv -c ./shop
      find . -name '*.jpg' -print0 | mmsearch index --files-from - -0
    """
    names = ("manifests", "columns", "captions", "files_from", "null", "include", "exclude", "hidden", "follow_symlinks")
    wanted = _sources.Wanted(paths=paths, **{name: options.pop(name) for name in names})
    _sources.check(wanted)
    batch, optimize = options.pop("batch_size"), options.pop("optimize")
    if batch != "auto" and not (batch.isdecimal() and int(batch)):
        raise click.BadParameter(f"{batch!r} is neither 'auto' nor a number above 0", param_hint="--batch-size")
    app.flags.update(model=model, device=device)
    limits = {"batch_size": None if batch == "auto" else int(batch)}
    limits |= {name: options.pop(name) for name in ("workers", "max_megapixels", "gps")}
    with _open(app, options.pop("precision"), dry_run=options["dry_run"]) as collection:
        try:
            reports = _run(app, collection, wanted, limits, options)
            if not options["dry_run"]:
                _optimize(app, collection, optimize)
        except KeyboardInterrupt:
            app.say("interrupted: what was done is kept, and the same command goes on from there")
            return INTERRUPTED
    return _finish(app, reports, as_json=as_json, strict=strict)


@contextmanager
def _open(app: App, precision: str, *, dry_run: bool) -> Iterator[Collection]:
    """The collection to write to, with a line that says which and with what model."""
    from mmsearch.collection import Collection

    path = app.place.path
    flag = app.settings.model if app.settings.origins["model"] == "flag" else None
    if Collection.exists(path):
        with app.open(create=False, model=flag, precision=precision) as collection:
            app.say(f"indexing into {path} ({app.place.how}; model {collection.info.model})")
            yield collection
        return
    model = app.settings.model or _default_model(app)
    app.say(f"{'would make' if dry_run else 'making'} a new collection at {path} ({app.place.how}; model {model})")
    if not dry_run:
        with app.open(create=True, model=model, precision=precision) as collection:
            yield collection
        return
    with tempfile.TemporaryDirectory(prefix="mmsearch-") as folder:  # compared with nothing, and nothing is left behind
        where = os.path.join(folder, "dry")
        with Collection.open(where, create=True, model=model, device=app.settings.device) as collection:
            yield collection


def _default_model(app: App) -> str:
    from mmsearch import models

    name: str = models.default_model()
    if name == "mini":
        app.say("no model was named and 'base' is not on this machine: using 'mini', which is built in and small "
                "(for better results: mmsearch models pull base, then make a new collection)")
    return name


def _run(app: App, collection: Collection, wanted: _sources.Wanted, limits: dict[str, Any],
         options: dict[str, Any]) -> list[tuple[str, IngestReport]]:
    from mmsearch.ingest import IngestOptions

    reports = []
    for title, source in _sources.build(wanted, list(collection.roots().values())):
        with _progress.shown(app, title) as progress:
            report = collection.sync(source, progress=progress, options=IngestOptions(**limits), **options)
        _say(app, title, report)
        reports.append((title, report))
    if not reports:
        app.say("the list of files is empty: nothing to index")
    return reports


def _optimize(app: App, collection: Collection, wanted: bool) -> None:
    due = collection.index_due()
    if due and wanted:
        from mmsearch.cli.optimize import start_in_background

        start_in_background(app, "--if-needed")
    elif due:
        app.say(f"searches may become faster by: mmsearch optimize{app.again} ({'; '.join(due)})")


def _say(app: App, title: str, report: IngestReport) -> None:
    done = [f"{getattr(report, word):,} {word}" for word in ("added", "updated", "moved", "removed", "unchanged")
            if getattr(report, word)]
    if report.skipped:
        done.append(f"{len(report.skipped):,} skipped")
    if report.skipped_before:
        done.append(f"{report.skipped_before:,} skipped as before")
    would = "would be: " if report.dry_run else ""
    slow = f" (limited by {report.bottleneck})" if report.bottleneck and report.seconds > 5 else ""
    app.say(f"{title}: {would}{', '.join(done) or 'nothing found'} in {duration(report.seconds)}{slow}")
    if report.reused:
        app.say(f"  {count(report.reused, 'item')} took the vector of a file with the same bytes")
    if report.pruning_refused:
        app.say(f"  nothing was removed: {report.pruning_refused}")
    for failure in report.skipped[:NAMED]:
        app.say(f"  skipped {failure.path}: {failure.reason}{_detail(failure)}")
    if len(report.skipped) > NAMED:
        app.say(f"  and {len(report.skipped) - NAMED:,} more: mmsearch failures{app.again}")


def _detail(failure: Failure) -> str:
    return f" ({printable(failure.detail)})" if failure.detail else ""


def _finish(app: App, reports: list[tuple[str, IngestReport]], *, as_json: bool, strict: bool) -> int:
    skipped = sum(len(report.skipped) + report.skipped_before for _, report in reports)
    if as_json:
        from mmsearch.cli import _output

        _output.dump({
            "v": _output.VERSION,
            "collection": str(app.place.path),
            "sources": [_report_json(title, report) for title, report in reports],
        })
    return SKIPPED if strict and skipped else OK


def _report_json(title: str, report: IngestReport) -> dict[str, Any]:
    from mmsearch.cli import _output

    fields = asdict(report)
    fields["skipped"] = [_output.failure_json(failure) for failure in report.skipped]
    return {"source": title, **fields}
