"""``mmsearch serve``: the collection as an HTTP service, with a web page."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from urllib.parse import quote

import click

from mmsearch.cli import _output
from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.errors import MissingExtra, UsageError

PORT = 8765
_ANY = {"0.0.0.0", "::", ""}


@click.command(cls=Command, short_help="Serve the collection over HTTP, with a web page.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="The port; 0 takes a free one.")
@click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Lines 'write TOKEN' and 'read TOKEN'. Otherwise they are made once and kept in your data folder.")
@click.option("--read-only", is_flag=True, help="Refuse every change.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME",
              help="A name that the service is reached by (*.example.com: any below it). Repeatable.")
@click.option("--cors", "origins", multiple=True, metavar="ORIGIN",
              help="A site whose pages may read answers, as https://shop.example.com. Repeatable.")
@click.option("--allow-fetch", is_flag=True, help="Let callers name pictures by https addresses, which are then fetched.")
@click.option("--files-under", "folders", multiple=True, metavar="FOLDER",
              type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="Also serve files of items that lie here, though no root holds them. Repeatable.")
@click.option("--rerankers", default="fast,deep", show_default=True, metavar="NAMES", help="What callers may ask for, with commas.")
@click.option("--secure-cookie", is_flag=True, help="The page is reached over https (behind a proxy): keep its cookie to that.")
@click.option("--queue", type=click.IntRange(1, 100_000), default=256, show_default=True,
              help="Queries that may wait; more get 503.")
@click.option("--batch", type=click.IntRange(1, 1024), default=16, show_default=True, help="Queries answered by one call at most.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True,
              help="Threads that answer such calls: while one compares rows, another reads and writes. On a single core take 1.")
@click.option("--max-body", type=click.IntRange(1, 1024), default=32, show_default=True, metavar="MIB", help="The largest body.")
@pass_app
def command(app: App, /, *, host: str, port: int, token_file: Path | None, read_only: bool, hosts: tuple[str, ...],
            origins: tuple[str, ...], allow_fetch: bool, folders: tuple[Path, ...], rerankers: str, secure_cookie: bool,
            queue: int, batch: int, workers: int, max_body: int) -> int:
    """Serve the collection over HTTP: searches, items, thumbnails, a web page. Safe as it comes: this machine only, and a token.

    \b
      mmsearch serve
      mmsearch serve --host 0.0.0.0 --allow-host search.example.com --token-file /run/secrets/mmsearch
    """
    try:
        from mmsearch.server import Limits, Options, create_app, logs, running, tokens
    except ImportError as error:
        if (error.name or "").startswith("mmsearch"):
            raise
        raise MissingExtra(f"serving needs a package that is not installed: {error.name}",
                           hint="pip install 'mmsearch[serve]'") from None
    if host in _ANY and not hosts:
        raise UsageError("the names that the service is reached by are not known",
                         hint="name them: --allow-host search.example.com")
    from mmsearch.settings import data_path

    kept = token_file or data_path() / "serve-tokens"
    found = tokens.load(kept)
    limits = Limits(queue=queue, batch=batch, image_bytes=max_body << 20, body_bytes=max_body << 20)
    options = Options(
        tokens=found.tokens, hosts=tuple(name.lower() for name in hosts), origins=tuple(map(origin, origins)),
        read_only=read_only, allow_fetch=allow_fetch, secure_cookie=secure_cookie, extra_folders=folders,
        rerankers=tuple(name for name in rerankers.split(",") if name), workers=workers, limits=limits,
    )
    app.open().close()  # a collection that cannot be opened is told before the port is taken
    with running.listen(host, port) as place:
        address = f"http://{_shown(host, hosts)}:{place.getsockname()[1]}"
        if not app.quiet:
            logs.to_stderr()

        def started() -> None:
            token = found.tokens.read if read_only and found.tokens.read else found.tokens.write or found.tokens.read or ""
            # a terminal is its owner's, who can read the file anyway; a log is not
            show = found.made or sys.stdout.isatty()
            _output.write(f"serving {app.place.path}\n  {address}/{f'?token={quote(token)}' if show else ''}\n")
            told = "made now; the link logs a browser in" if found.made else "as before"
            _output.write(f"  tokens: {kept} ({told})\n")

        came_up = running.serve(create_app(app.place.path, options), place, started=started)
    return OK if came_up else 1


def origin(value: str) -> str:
    """An origin as browsers write it. Raises :class:`UsageError` for anything else, ``*`` and ``null`` too."""
    from urllib.parse import urlsplit

    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or f"{parts.scheme}://{parts.netloc}" != value.lower():
        raise UsageError(f"{value!r} is not an origin", hint="it looks like https://shop.example.com")
    return value.lower()


def _shown(host: str, hosts: tuple[str, ...]) -> str:
    if host in _ANY:
        host = next((name for name in hosts if not name.startswith("*")), "localhost")
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
