"""The program around the commands: finds them, holds what they share, and turns errors into lines and exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch import errors
from mmsearch.cli._text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from mmsearch.collection import Collection
    from mmsearch.settings import Place, Settings

OK, FAILED, USAGE, SKIPPED, DISK, LOCKED, COLLECTION, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130

_DISK_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.ENODEV, errno.ESTALE}


_VARIABLES = ("MMSEARCH_MODEL_DIR", "MMSEARCH_OFFLINE")


class App:
    """What one run of the program shares between its commands: settings, streams, the collection."""

    def __init__(self) -> None:
        self.flags: dict[str, Any] = {}
        self.debug = False
        self.quiet = False

    @cached_property
    def settings(self) -> Settings:
        from mmsearch import settings

        loaded = settings.load(self.flags)
        # models are looked up far below this layer, where settings are read again: flags must be seen there
        for name, value in zip(_VARIABLES, (loaded.model_dir, "1" if loaded.offline else None), strict=True):
            if value:
                os.environ[name] = value
        return loaded

    @cached_property
    def place(self) -> Place:
        from mmsearch import settings

        return settings.find_collection(self.settings)

    def open(self, *, create: bool = False, model: str | None = None, precision: str = "auto") -> Collection:
        """The collection that is meant, opened. The caller closes it."""
        from mmsearch import settings
        from mmsearch.collection import Collection

        path, device = self.place.path, self.settings.device
        if not create and not Collection.exists(path):
            raise errors.CollectionNotFound(
                f"there is no collection at {path} ({self.place.how})",
                hint=f"make one with: mmsearch index PATH{self.again}; or name another with -c",
            )
        remember = settings.texts_path() if self.settings.remember else None
        return Collection.open(path, create=create, model=model, device=device, precision=precision, remember=remember)

    @property
    def again(self) -> str:
        """The ``-c`` to repeat in an advice, empty where none is needed."""
        return f" -c {self.place.path}" if self.place.how == "flag" else ""

    def say(self, line: str) -> None:
        """One line of talk on stderr."""
        if not self.quiet:
            stderr_line(line)

    @cached_property
    def err(self) -> Console:
        """stderr as rich sees it."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)


pass_app = click.make_pass_decorator(App, ensure=True)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    app = ctx.ensure_object(App)
    if not value:
        return
    if param.name in ("debug", "quiet"):
        setattr(app, param.name, True)
    else:
        app.flags[str(param.name)] = value


_SHARED = ("collection", "model_dir", "offline", "quiet", "debug", "help")


def _common() -> list[click.Parameter]:
    """The options that may stand before or behind any command."""
    option: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return [
        click.Option(["-c", "--collection"], metavar="FOLDER", type=click.Path(path_type=Path), **option,
                     help="The collection. Otherwise MMSEARCH_COLLECTION, the nearest .mmsearch/ upward, or your own."),
        click.Option(["--model-dir"], metavar="FOLDER", type=click.Path(path_type=Path), **option,
                     help="Where downloaded models are kept."),
        click.Option(["--offline"], is_flag=True, default=None, **option, help="Never open a network connection."),
        click.Option(["-q", "--quiet"], is_flag=True, **option, help="Say nothing but errors."),
        click.Option(["--debug"], is_flag=True, **option, help="Show the whole traceback of an error."),
    ]


class Command(click.Command):
    """A command that also takes the common options, so that they may be typed last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                (common if not param.expose_value and param.name in _SHARED else own).append(record)
        for title, records in (("Options", own), ("Options of every command", common)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Commands(click.Group):
    """A group of commands inside a command (``models list``)."""

    command_class = Command


class _Lazy(click.Group):
    """The program itself: one command for each file of this folder, imported when it is asked for."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        from mmsearch import cli

        return sorted(m.name for m in pkgutil.iter_modules(cli.__path__) if not m.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"mmsearch.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGone from error  # click would end the process with code 1


class _ReaderGone(Exception):
    """Whoever read our stdout has seen enough (``| head``)."""


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import mmsearch

        click.echo(f"mmsearch {mmsearch.__version__}")
        ctx.exit()


@click.group(
    cls=_Lazy,
    name="mmsearch",
    params=_common(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done (also when nothing is found), 1 failed, 2 wrong usage, 3 files were skipped under "
    "--strict, 4 disk trouble, 5 another process is writing, 6 no usable collection, 130 interrupted.\n\n"
    'Completion in bash: eval "$(_MMSEARCH_COMPLETE=bash_source mmsearch)"; likewise zsh_source and fish_source.',
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
              help="Show the version and exit.")
def program() -> None:
    """Find photos by words, words by photos, and photos by photos.

    \b
      mmsearch index ~/photos
      mmsearch query "a cat asleep on a sofa"
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code comes back. Called by the ``mmsearch`` script."""
    arguments = list(sys.argv[1:] if args is None else args)
    before = {name: os.environ.get(name) for name in _VARIABLES}
    try:
        return _guarded(arguments)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _guarded(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = program.main(arguments, prog_name="mmsearch", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, _ReaderGone):
        _drop_output()
        return OK
    except (KeyboardInterrupt, click.Abort):
        stderr_line("interrupted")
        return INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        try:
            sys.stdout.flush()
        except OSError:  # it was stdout that failed
            _drop_output()
        return report(error)
    return code if isinstance(code, int) else OK


def _drop_output() -> None:
    """What stdout could not take goes nowhere, or the interpreter complains when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def report(error: Exception) -> int:
    """Say in at most three lines what went wrong and what to do next. Returns the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return USAGE
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "mmsearch"
        _lines(error.format_message(), f"see {command} --help")
        return USAGE
    if isinstance(error, click.ClickException):
        _lines(error.format_message(), None)
        return error.exit_code
    if isinstance(error, errors.MMSearchError):
        _lines(error.message, error.hint)
        return exit_code(error)
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS | {errno.EACCES, errno.EPERM}:
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        _lines(f"{name}{error.strerror}", "check free space and permissions; what was committed is safe")
        return DISK
    text = " ".join(str(error).split())[:300]
    _lines(f"unexpected {type(error).__name__}{': ' if text else ''}{text}", "run again with --debug and report it")
    return FAILED


def exit_code(error: errors.MMSearchError) -> int:
    """The exit code of an error of the library."""
    table: tuple[tuple[type[errors.MMSearchError], int], ...] = (
        (errors.UsageError, USAGE),
        (errors.StorageError, DISK),
        (errors.LockedError, LOCKED),
        (errors.CollectionError, COLLECTION),
    )
    return next((code for kind, code in table if isinstance(error, kind)), FAILED)


def _lines(message: str, hint: str | None) -> None:
    first, *rest = [line for line in message.splitlines() if line.strip()] or ["failed"]
    if rest:  # at most two lines, and one for the hint
        first, rest = first, [" ".join(line.strip() for line in rest)]
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    label = click.style("error:", fg="red", bold=True) if colour else "error:"
    sys.stderr.write(f"{label} {printable(first)}\n")
    for line in rest:
        sys.stderr.write(f"       {printable(line)}\n")
    if hint:
        sys.stderr.write(f"{click.style('hint:', fg='cyan') if colour else 'hint:'}  {printable(hint)}\n")
    sys.stderr.flush()


def stderr_line(line: str) -> None:
    """One line on stderr, safe for a terminal. A closed stderr is nobody's loss."""
    try:
        sys.stderr.write(printable(line) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        pass
