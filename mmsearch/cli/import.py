"""``mmsearch import``: a collection out of one file, or of vectors that were made elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli import _output, _progress
from mmsearch.cli._app import App, Command, pass_app
from mmsearch.cli._text import count, local, printable

if TYPE_CHECKING:
    from mmsearch.backup import ImportReport


@click.command(cls=Command, short_help="Make a collection of an archive, or of vectors made elsewhere.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME", help="The model that must have made the vectors. Needed for those made elsewhere, "
                                              "where it is taken on your word.")
@click.option("--fingerprint", metavar="TEXT", help="Vectors made elsewhere: the model's fingerprint, where the model is not "
                                                    "on this machine.")
@click.option("--root", metavar="FOLDER", type=click.Path(path_type=Path),
              help="Vectors made elsewhere: the folder of the pictures; ids are paths below it.")
@click.option("--kind", type=click.Choice(["image", "text"]), default="image", show_default=True,
              help="Vectors made elsewhere: what they are of.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def command(app: App, source: Path, *, model: str | None, fingerprint: str | None, root: Path | None, kind: str,
            as_json: bool) -> None:
    """Make a collection of SOURCE, in a new folder (-c) or an empty collection.

    SOURCE is a file of "mmsearch export". All of it is checked before anything is to be seen.

    Or it holds vectors that another program has made: a folder of clip-retrieval (img_emb/, metadata/), an .npz file with
    "vectors" and "ids", or a Parquet file with a column "vector".

    \b
      mmsearch -c ./copy import photos.mmsearch
      mmsearch -c ./laion import ./embeddings --model base
    """
    from mmsearch.backup.tar import is_tar

    path = app.place.path
    with _progress.counted(app, "import") as told:
        if is_tar(source):
            report = _restore(path, source, model, told)
        else:
            report = _take(path, source, model, fingerprint, root, kind, told)
    if as_json:
        _output.dump({"v": _output.VERSION, "collection": str(path), **asdict(report)})
        return
    app.say(f"{count(report.items, 'item')} of {printable(report.model)} in {local(str(path))}")
    for name, folder in sorted(report.roots.items()):
        if not Path(folder).is_dir():
            app.say(printable(f"its files were in {folder}, which is not here: mmsearch -c {path} root move {name} FOLDER"))


def _restore(path: Path, source: Path, model: str | None, told: _progress.Told | None) -> ImportReport:
    from mmsearch.collection import Collection

    return Collection.import_archive(source, path, model=model, told=told)


def _take(path: Path, source: Path, model: str | None, fingerprint: str | None, root: Path | None, kind: str,
          told: _progress.Told | None) -> ImportReport:
    from mmsearch.collection import Collection
    from mmsearch.errors import SourceError

    if not source.exists():
        raise SourceError(f"there is no file or folder {source}")
    if model is None:
        raise click.UsageError(f"{source} is no archive of mmsearch; for vectors made elsewhere name their --model")
    return Collection.import_vectors(source, path, model=model, fingerprint=fingerprint, kind=kind, root=root, told=told)
