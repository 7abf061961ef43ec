"""The program as a whole: light, documented, complete; settings on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

import mmsearch
from mmsearch import models
from mmsearch.cli._app import program
from mmsearch.collection import Collection
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.ingest import IngestOptions
from mmsearch.types import IngestReport

COMMANDS = ["compact", "config", "failures", "index", "models", "query", "repair", "root", "similar", "status", "verify"]
HEAVY = {"torch", "open_clip", "timm", "faiss", "onnxruntime", "sqlalchemy", "sqlglot", "rich", "numpy", "PIL"}


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, (*path, name))


ALL = dict(walk(program))


def test_the_commands() -> None:
    assert set(COMMANDS) <= {path[0] for path in ALL if len(path) == 1}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_and_option_has_help(inside: Any, path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help
    assert command.help.strip().splitlines()[0].endswith((".", ":"))
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
            assert option.help.endswith((".", "\".")), option.help
    done = inside(*path, "--help")
    assert done.code == 0
    assert done.out.startswith(b"Usage: mmsearch")
    if not isinstance(command, click.Group):
        assert b"-c, --collection" in done.out


def test_without_arguments_help_is_shown(inside: Any) -> None:
    for args in ((), ("models",), ("root",)):
        done = inside(*args)
        assert (done.code, done.out) == (2, b"")
        assert done.err.startswith("Usage: mmsearch")


def imported(code: str, env: Mapping[str, str]) -> set[str]:
    """The top-level packages that a process has imported after ``code``."""
    script = f"import sys, json\n{code}\nsys.stderr.write(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], env=dict(env), capture_output=True, timeout=60, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_imports_nothing_heavy(sealed_env: Mapping[str, str]) -> None:
    paths = [list(path) for path in ALL]
    code = f"from mmsearch.cli import main\nfor path in {paths!r}: main([*path, '--help'])\nmain(['--version'])"
    assert not imported(code, sealed_env) & HEAVY


def test_a_query_for_programs_imports_no_model_library(sealed_env: Mapping[str, str], library: Any) -> None:
    args = ["query", "red", "--jsonl", "-q", "-c", str(library.collection)]
    found = imported(f"from mmsearch.cli import main\nassert main({args!r}) == 0", sealed_env)
    assert not found & {"torch", "open_clip", "timm", "torchvision", "faiss", "rich", "PIL"}


def test_the_built_in_model_needs_no_torch(sealed_env: Mapping[str, str], photos: Path, tmp_path: Path) -> None:
    if not models.info("mini").on_disk:
        pytest.skip("the weights of mini are not in this tree")
    where = ["-c", str(tmp_path / "c"), "-q"]
    runs = [["index", str(photos), "--model", "mini", *where], ["query", "a red square", "--jsonl", *where]]
    found = imported(f"from mmsearch.cli import main\nfor run in {runs!r}: assert main(run) == 0", sealed_env)
    assert "onnxruntime" in found
    assert not found & {"torch", "open_clip", "timm", "torchvision", "faiss"}


def test_version(inside: Any) -> None:
    assert inside("--version").out.decode() == f"mmsearch {mmsearch.__version__}\n"


def test_completion_is_clicks_own(sealed_env: Mapping[str, str]) -> None:
    for shell in ("zsh", "fish"):
        done = subprocess.run([sys.executable, "-c", "from mmsearch.cli import main; main()"], capture_output=True,
                              env={**sealed_env, "_MMSEARCH_COMPLETE": f"{shell}_source"}, timeout=60, check=False)
        assert b"_MMSEARCH_COMPLETE" in done.stdout, done.stderr
    env = {**sealed_env, "_MMSEARCH_COMPLETE": "zsh_complete", "COMP_WORDS": "mmsearch qu", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", "from mmsearch.cli import main; main()"], capture_output=True, env=env,
                          timeout=60, check=False)
    assert b"query" in done.stdout


def test_common_options_may_stand_first_or_last(inside: Any, library: Any) -> None:
    for args in (["-c", library.collection, "status", "--json"], ["status", "--json", "-c", library.collection]):
        assert inside(*args).json["images"] == 8


def test_config(inside: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "home" / ".config" / "mmsearch" / "config.toml"
    assert inside("config", "path").out.decode() == f"{file}\n"
    assert inside("config", "set", "device", "cpu").err == f"device written to {file}\n"
    assert inside("config", "set", "token", "hf_secret").code == 0
    assert inside("config", "set", "collection", "mine").code == 0
    monkeypatch.setenv("MMSEARCH_MODEL", "toy")
    shown = inside("config", "show", "--json", "--offline").json
    values = {name: (row["value"], row["origin"]) for name, row in shown["settings"].items()}
    assert values == {
        "collection": (str(tmp_path / "mine"), "config file"), "model": ("toy", "environment (MMSEARCH_MODEL)"),
        "device": ("cpu", "config file"), "model_dir": (None, "default"), "offline": (True, "flag"),
        "remember": (True, "default"), "worker": (False, "default"),
        "token": ("********", "config file"),
    }
    assert shown["uses"] == {"collection": str(tmp_path / "mine"), "origin": "config file"}
    people = inside("config")
    assert "hf_secret" not in people.out.decode() + people.err
    assert str(file) in people.err
    assert inside("config", "set", "device", "--unset").code == 0
    assert inside("config", "show", "--json").json["settings"]["device"] == {"value": "auto", "origin": "default"}


def test_a_model_of_the_environment_is_for_new_collections_only(inside: Any, photos: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_MODEL", "toy")
    assert "model toy" in inside("index", photos, "-c", "c").err.splitlines()[0]
    monkeypatch.setenv("MMSEARCH_MODEL", "toy:32")
    assert inside("index", photos, "-c", "c").code == 0
    assert inside("query", "red", "-c", "c").code == 0
    assert inside("index", photos, "-c", "c", "--model", "toy:32").code == 6


def test_without_a_model_the_built_in_one_is_used_and_said(inside: Any, photos: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("mmsearch.models.resolve", lambda name, **options: asked.append(name) or ToyEncoder())
    for default, lines in (("mini", 1), ("base", 0)):
        monkeypatch.setattr("mmsearch.models.default_model", lambda default=default: default)
        done = inside("index", photos, "-c", default)
        assert done.code == 0, done.err
        assert asked.pop() == default
        assert done.err.count("no model was named and 'base' is not on this machine: using 'mini'") == lines
        assert f"model {default})" in done.err


def test_the_options_of_index_reach_source_and_decoder(inside: Any, photos: Path, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def sync(self: Collection, source: Any, **options: Any) -> IngestReport:
        calls.append((source, options))
        return IngestReport()

    monkeypatch.setattr(Collection, "sync", sync)
    args = ("--include", "*.png", "--exclude", "a", "--exclude", "b", "--hidden", "--follow-symlinks", "--no-prune",
            "--checksum", "--wait", "3", "--batch-size", "7", "--workers", "2", "--max-megapixels", "5", "--gps")
    assert inside("index", photos, "-c", "c", "--model", "toy", "--captions", "sidecar", *args).code == 0
    [(source, options)] = calls
    assert (source.path, source.include, source.exclude) == (str(photos), ("*.png",), ("a", "b"))
    assert (source.hidden, source.follow_symlinks, source.captions) == (True, True, True)
    assert options.pop("progress") is None
    assert options.pop("options") == IngestOptions(batch_size=7, workers=2, max_megapixels=5.0, gps=True)
    assert options == {"prune": False, "checksum": True, "wait": 3.0, "dry_run": False}


def test_models(inside: Any) -> None:
    rows = inside("models", "list", "--json").json["models"]
    assert [row["name"] for row in rows][:3] == ["mini", "small", "base"]
    assert "base" in inside("models", "list").out.decode()
    base = inside("models", "info", "base", "--json").json
    assert (base["dim"], base["licence"]) == (512, "MIT")
    assert "512 dimensions" in inside("models", "info", "base").out.decode()
    unknown = inside("models", "info", "nothing-like-it")
    assert (unknown.code, unknown.err.startswith("error: no model is called 'nothing-like-it'")) == (1, True)


def test_pull_offline_opens_no_connection(inside: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMSEARCH_OFFLINE", raising=False)
    monkeypatch.setenv("MMSEARCH_OFFLINE", "0")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    done = inside("models", "pull", "base", "--offline")
    assert done.code == 1
    assert "downloads are switched off" in done.err
