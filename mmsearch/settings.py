"""What the user has settled, and where: flag > environment > config file > default; and which collection is meant.

The config file is flat TOML in the user's configuration folder (``mmsearch config path`` shows it)::

    model = "mini"
    device = "cpu"
    offline = true
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.errors import StorageError, UsageError

__all__ = ["KEYS", "Key", "Place", "Settings", "config_path", "data_path", "find_collection", "load", "set_value", "texts_path"]

FOLDER = ".mmsearch"
"""The name of a collection that belongs to the folder it lies in, as ``.git`` does."""

_YES, _NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: ``kind`` is ``text``, ``path``, ``flag`` or ``device``."""

    name: str
    kind: str
    default: str | bool | None
    help: str
    secret: bool = False

    @property
    def variable(self) -> str:
        return f"MMSEARCH_{self.name.upper()}"


KEYS: Mapping[str, Key] = {
    key.name: key
    for key in (
        Key("collection", "path", None, "the collection to use where no .mmsearch/ folder is found upward"),
        Key("model", "text", None, "the model of new collections"),
        Key("device", "device", "auto", "where the model runs: auto, cpu, cuda, cuda:1, mps"),
        Key("model_dir", "path", None, "the folder that downloaded models are kept in"),
        Key("remember", "flag", True, "keep the vectors of searched texts, so that the same query again is faster"),
        Key("worker", "flag", False, "let the first query start a warm worker, which ends after 15 idle minutes"),
        Key("offline", "flag", False, "never open a network connection"),
        Key("token", "text", None, "the access token for model downloads", secret=True),
    )
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their values; ``origins`` says for each where the value was found."""

    collection: str | None = None
    model: str | None = None
    device: str = "auto"
    model_dir: str | None = None
    remember: bool = True
    worker: bool = False
    offline: bool = False
    token: str | None = field(default=None, repr=False)
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the collection is, and ``how`` that was decided (for messages)."""

    path: Path
    how: str


def config_path() -> Path:
    """The user's config file; it need not exist."""
    import platformdirs

    return platformdirs.user_config_path("mmsearch", appauthor=False) / "config.toml"


def data_path() -> Path:
    """The folder of the user's default collection and of downloaded models; it need not exist."""
    import platformdirs

    return platformdirs.user_data_path("mmsearch", appauthor=False)


def texts_path() -> Path:
    """The folder for vectors of texts that were searched for; it need not exist, and may be deleted."""
    import platformdirs

    return platformdirs.user_cache_path("mmsearch", appauthor=False) / "texts"


def load(flags: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] | None = None,
         file: Path | None = None) -> Settings:
    """Read all settings. ``flags`` holds what was given by hand; ``None`` values in it count as not given.

    Raises :class:`~mmsearch.errors.UsageError` that names the file and line, or the variable, of a bad value.

    >>> load({"device": "cpu"}, environ={"MMSEARCH_DEVICE": "mps"}, file=Path("/nowhere")).device
    'cpu'
    """
    environ = os.environ if environ is None else environ
    stored = read_file(file or config_path())
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key in KEYS.values():
        given = (flags or {}).get(key.name)
        if given is not None:
            flag = f"--{key.name.replace('_', '-')}"
            values[key.name], origins[key.name] = _check(key, given, flag), "flag"
        elif environ.get(key.variable):
            values[key.name] = _check(key, environ[key.variable], key.variable)
            origins[key.name] = f"environment ({key.variable})"
        elif key.name in stored:
            values[key.name], origins[key.name] = stored[key.name], "config file"
        else:
            values[key.name], origins[key.name] = key.default, "default"
    return Settings(**values, origins=origins)


def find_collection(settings: Settings, start: Path | None = None) -> Place:
    """The collection that is meant, found as git finds a repository. It need not exist yet.

    ``-c``, else ``MMSEARCH_COLLECTION``, else the nearest ``.mmsearch/`` folder upward from ``start``, else the one of
    the config file, else the default in the user's data folder.
    """
    origin = settings.origins.get("collection", "default")
    if settings.collection and origin != "config file":
        return Place(Path(os.path.expanduser(settings.collection)), origin)
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir():
            return Place(folder / FOLDER, f"{FOLDER}/ found upward")
    if settings.collection:
        return Place(Path(os.path.expanduser(settings.collection)), "config file")
    return Place(data_path() / "default", "your default collection")


def read_file(path: Path) -> dict[str, Any]:
    """The checked values of a config file; empty where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file {path} cannot be read: {error}") from error
    return _parse(text, path)


def set_value(name: str, value: str | None, *, file: Path | None = None) -> Path:
    """Write one setting into the config file (``None`` removes it), keep all other lines, return the file's path."""
    key = KEYS.get(name.replace("-", "_"))
    if key is None:
        raise _unknown(name, "")
    path = file or config_path()
    read_file(path)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    at = _line_of(lines, key.name)
    if value is not None:
        if key.kind == "path" and value:
            value = os.path.abspath(os.path.expanduser(value))
        line = f"{key.name} = {_toml(_check(key, value, key.name))}"
        lines[at - 1 : at] = [line] if at else []
        lines = lines if at else [*lines, line]
    elif at:
        del lines[at - 1]
    text = "\n".join(lines) + "\n" if lines else ""
    _parse(text, path)
    _write(path, text)
    return path


def _write(path: Path, text: str) -> None:
    """Replace the file in one step; only its owner may read it, as it may hold a token."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with open(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise StorageError(f"the config file {path} cannot be written: {error.strerror}") from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    import tomllib

    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        lines = text.splitlines()
        line = found[1] if found else len(lines)  # "at end of document"
        why = re.sub(r" \(at .*\)$", "", str(error))
        raise UsageError(f"{path}, line {line}: {why}", hint='lines look like: model = "mini"') from error
    values = {}
    for name, value in raw.items():
        where = f"{path}, line {_line_of(text.splitlines(), name) or '?'}: "
        if name not in KEYS:
            raise _unknown(name, where)
        key = KEYS[name]
        if isinstance(value, bool) != (key.kind == "flag") or not isinstance(value, str | bool):
            wanted = "true or false" if key.kind == "flag" else "a text in quotes"
            raise UsageError(f"{where}{name} must be {wanted}, not {'********' if key.secret else repr(value)}")
        checked = _check(key, value, f"{where}{name}")
        if key.kind == "path" and isinstance(checked, str):
            checked = str(path.parent / os.path.expanduser(checked))
        values[name] = checked
    return values


def _check(key: Key, value: Any, where: str) -> str | bool:
    """The value in its own type; ``where`` begins the error's line."""
    if key.kind == "flag":
        if isinstance(value, bool):
            return value
        if value.lower() in _YES | _NO:
            return value.lower() in _YES
        raise UsageError(f"{where}: {value!r} is neither yes nor no", hint="use 1 or 0")
    text = os.fsdecode(value)
    if not text:
        raise UsageError(f"{where}: the value is empty")
    if "\0" in text:
        raise UsageError(f"{where}: there is a NUL in the value")
    if key.kind == "device" and not _DEVICE.fullmatch(text):
        raise UsageError(f"{where}: no device is called {text!r}", hint="devices: auto, cpu, cuda, cuda:N, mps")
    return text


def _unknown(name: str, where: str) -> UsageError:
    return UsageError(f"{where}there is no setting {name!r}", hint=f"settings: {', '.join(KEYS)}")


def _line_of(lines: list[str], name: str) -> int:
    """The 1-based line that sets ``name`` (a key or a table); 0 where none does."""
    pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[=.\]]""")
    return next((at for at, line in enumerate(lines, 1) if pattern.match(line)), 0)


def _toml(value: str | bool) -> str:
    import json

    try:
        value.encode() if isinstance(value, str) else None
    except UnicodeEncodeError as error:
        raise UsageError("a value in the config file must be UTF-8") from error
    return json.dumps(value, ensure_ascii=False)  # a JSON text or boolean is a TOML one too
