"""``mmsearch config``: the settings, where each comes from, and how to change one."""

from __future__ import annotations

import click

from mmsearch import settings
from mmsearch.cli import _output
from mmsearch.cli._app import App, Commands, pass_app


@click.group(cls=Commands, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show and change settings. A flag beats the environment, that beats the config file, that beats the default."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def show(app: App, *, as_json: bool = False) -> None:
    """Show every setting, its value, and where that comes from."""
    loaded, place = app.settings, app.place
    values = {name: getattr(loaded, name) for name in settings.KEYS}
    values |= {name: "********" for name, key in settings.KEYS.items() if key.secret and values[name]}
    if as_json:
        rows = {name: {"value": value, "origin": loaded.origins[name]} for name, value in values.items()}
        _output.dump({"v": _output.VERSION, "file": str(settings.config_path()), "settings": rows,
                      "uses": {"collection": str(place.path), "origin": place.how}})
        return
    from mmsearch.cli import _table

    _table.plain(("setting", "value", "from"), [
        (name, _shown(value), loaded.origins[name]) for name, value in values.items()
    ])
    app.say(f"the collection here: {place.path} ({place.how})")
    app.say(f"the config file: {settings.config_path()}")


@command.command()
def path() -> None:
    """Print the path of the config file."""
    _output.write(f"{settings.config_path()}\n")


@command.command("set")
@click.argument("name", metavar="NAME", type=click.Choice(list(settings.KEYS)))
@click.argument("value", required=False)
@click.option("--unset", is_flag=True, help="Take the setting out of the file.")
@pass_app
def set_(app: App, *, name: str, value: str | None, unset: bool) -> None:
    """Write one setting into the config file.

    \b
      mmsearch config set device cpu
      mmsearch config set model --unset
    """
    if (value is None) != unset:
        raise click.UsageError("give a value, or --unset")
    written = settings.set_value(name, value)
    app.say(f"{name} {'taken out of' if unset else 'written to'} {written}")


def _shown(value: str | bool | None) -> str:
    if value is None:
        return "–"
    return ("yes" if value else "no") if isinstance(value, bool) else value
