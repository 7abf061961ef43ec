"""What SECURITY.md promises of the code, held to it: nothing that runs what it reads, no sockets, no secrets, no old packages."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image

import mmsearch
from mmsearch import settings
from mmsearch.decoding.process import _environment

PACKAGE = Path(mmsearch.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))

# --- nothing runs what it reads ---------------------------------------------------------------------------------------

PICKLES = {
    "decoding/pool.py": {"dumps"},
    "decoding/process.py": {"dumps"},
    "decoding/worker.py": {"loads"},  # from the parent, whose preparer may be any picklable object; back comes JSON
    "testing/encoders.py": {"dumps", "loads"},
    "testing/sources.py": {"dumps", "loads"},
}
"""Who may touch pickle, and how. Nobody reads one from a file, and no parent reads one from a worker."""
IMPORTS = {"yaml", "marshal", "shelve", "dill", "cloudpickle", "joblib", "telnetlib", "ftplib", "xmlrpc"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "torch.hub.load", "ctypes.CDLL"}
LOADERS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False), "numpy.load": ("allow_pickle", False)}


def offences(tree: ast.AST, pickles: set[str]) -> list[str]:
    """What in a module could run what it reads, with lines."""
    found = []
    for node in ast.walk(tree):
        names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"{name} is imported" for name in names if name.split(".")[0] in IMPORTS]
        found += ["pickle is imported" for name in names if name == "pickle" and not pickles]
        found += ["names out of pickle" for _ in names if isinstance(node, ast.ImportFrom) and node.module == "pickle"]
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {key.arg: key.value for key in node.keywords}
        at = f"{called}, line {node.lineno}"
        if called in CALLS or re.fullmatch(r"os\.(exec|spawn)\w+", called):
            found.append(at)
        if called.startswith("pickle.") and called.removeprefix("pickle.") not in pickles:
            found.append(at)
        if called in LOADERS:
            name, wanted = LOADERS[called]
            value = given.get(name, ast.Constant(False))  # False is torch's old default, and numpy's
            if not (isinstance(value, ast.Constant) and value.value is wanted):
                found.append(at)
        if "shell" in given:
            found.append(f"{at}, with shell")
        if called.startswith("subprocess.") and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr | ast.BinOp):
            found.append(f"{at}, of a string")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_runs_what_it_reads(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    assert offences(ast.parse(path.read_text()), PICKLES.get(name, set())) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import yaml", "eval('1')", "exec(text)", "import os; os.system('ls')",
        "import os; os.execvp('ls', [])", "import torch; torch.load(file)", "import torch; torch.load(file, weights_only=False)",
        "import numpy as np; np.load(file, allow_pickle=True)", "import subprocess; subprocess.run('ls')",
        "import subprocess; subprocess.run(f'ls {name}')", "import subprocess; subprocess.run(['ls'], shell=True)",
        "import subprocess; subprocess.Popen('ls ' + name)",
    ],
)  # fmt: skip
def test_the_check_finds_what_it_looks_for(code: str) -> None:
    assert offences(ast.parse(code), set())


def test_a_parent_reads_no_pickle_of_its_worker() -> None:
    assert all("loads" not in PICKLES[f"decoding/{name}.py"] for name in ("pool", "process"))


# --- no socket --------------------------------------------------------------------------------------------------------

GUARD = '''
import os, sys
def _guard(event, args):
    if event == "socket.__new__" and args[1] != 1 or event in ("socket.getaddrinfo", "socket.gethostbyname"):  # 1: AF_UNIX
        with open(os.environ["GUARD_LOG"], "a") as log:
            log.write(f"{event} {args[1:]}\\n")
        raise RuntimeError("a socket was opened")
sys.addaudithook(_guard)
'''


@pytest.fixture
def guarded(tmp_path: Path) -> dict[str, str]:
    """An environment in which no Python program, decode workers included, opens a socket to anywhere unseen."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    names = ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HF_HOME")
    homes = {name: str(tmp_path / name.lower()) for name in names}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MMSEARCH_", "HF_"))}
    path = os.pathsep.join([str(tmp_path / "guard"), str(ROOT)])
    return {**kept, **homes, "PYTHONPATH": path, "GUARD_LOG": str(tmp_path / "sockets"), "MMSEARCH_TOKEN": "hf_very_secret"}


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_the_guard_sees_sockets(guarded: dict[str, str]) -> None:
    for code in ("import socket; socket.socket()", "import socket; socket.getaddrinfo('localhost', 80)"):
        done = run(guarded, "-c", code)
        assert "a socket was opened" in done.stderr
    assert len(Path(guarded["GUARD_LOG"]).read_text().splitlines()) == 2


def test_indexing_and_asking_open_no_socket_and_keep_the_secret(guarded: dict[str, str], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for colour in ("red", "blue", "green"):
        Image.new("RGB", (40, 30), colour).save(photos / f"{colour}.png")
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    place = tmp_path / "c"
    said = []
    for arguments in (
        ("index", photos, "--model", "mini", "--workers", "1"),
        ("query", "a red square"),
        ("query", "-i", photos / "red.png", "--json"),
        ("config", "show"),
        ("config", "show", "--json"),
        ("failures",),
        ("models", "pull", "base", "--offline", "--debug"),
        ("query", "x", "--where", "price <", "--debug"),
    ):
        done = run(guarded, "-m", "mmsearch", "-c", place, *arguments)
        said.append(done.stdout + done.stderr)
        assert done.returncode == (0 if "--debug" not in arguments else done.returncode or 1), said[-1]
    assert not Path(guarded["GUARD_LOG"]).exists(), Path(guarded["GUARD_LOG"]).read_text()
    assert "red.png" in said[2]
    assert "Traceback" in said[-1]
    assert not [text for text in said if "secret" in text]
    assert "********" in said[3]
    assert "********" in said[4]
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert b"hf_very_secret" not in file.read_bytes(), f"the token was written into {file}"


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_the_token_shows_nowhere_that_settings_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = settings.load(environ={"MMSEARCH_TOKEN": "hf_very_secret"}, file=tmp_path / "none")
    assert loaded.token == "hf_very_secret"
    assert "secret" not in repr(loaded)
    file = tmp_path / "config.toml"
    for value in ('["hf_very_secret"]', "{ a = 'hf_very_secret' }", "123456789"):
        file.write_text(f"token = {value}\n")
        with pytest.raises(settings.UsageError) as caught:
            settings.load(environ={}, file=file)
        assert "secret" not in str(caught.value)
        assert "123456789" not in str(caught.value)
    for name in ("MMSEARCH_TOKEN", "HF_TOKEN"):
        monkeypatch.setenv(name, "hf_very_secret")
    assert "hf_very_secret" not in _environment().values(), "a decoder has no use for it"
    settings.set_value("token", "hf_very_secret", file=tmp_path / "new" / "config.toml")
    assert (tmp_path / "new" / "config.toml").stat().st_mode & 0o077 == 0


# --- packages ---------------------------------------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
HOLES = {"pillow": "13", "faiss-cpu": "1.15", "torch": "2.10"}
"""Below these there are holes that a prepared file gets through; see SECURITY.md."""


def test_what_is_installed_is_what_is_declared() -> None:
    for wanted in [*DECLARED, *(one for one in EXTRAS if one.name != "mmsearch")]:
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            assert wanted not in DECLARED, f"{wanted.name} is needed and not installed"
            continue
        assert wanted.specifier.contains(Version(found).base_version, prereleases=True), f"{wanted} is wanted, {found} is here"


def test_every_requirement_has_a_floor_and_known_holes_lie_below_it() -> None:
    floors = {}
    for wanted in [*DECLARED, *(one for one in EXTRAS if one.name != "mmsearch")]:
        lowest = [Version(one.version) for one in wanted.specifier if one.operator in (">=", "==", "~=")]
        assert lowest, f"{wanted} may be any version, the oldest too"
        floors[wanted.name] = max(lowest)
    for name, least in HOLES.items():
        assert floors[name] >= Version(least), f"{name} {floors[name]} has known holes"


def test_an_audit_that_nobody_answered_is_no_clean_one() -> None:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "benchmarks" / "audit.py")
    assert spec
    assert spec.loader
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    assert {"pillow", "torch", "open-clip-torch"} <= audit.declared()
    good, skipped = {"name": "Pillow", "version": "13.0", "vulns": []}, {"name": "torch", "skip_reason": "not found on PyPI"}
    hole = {"name": "pillow", "version": "9.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["13.0"]}]}
    clean = ["1 of 1 installed packages were looked up", "no known holes"]
    assert audit.verdict({"dependencies": [good]}, {"pillow"}) == (0, clean)
    assert audit.verdict({"dependencies": [hole]}, {"pillow"})[0] == 1
    assert "PYSEC-1, fixed in 13.0" in audit.verdict({"dependencies": [hole]}, {"pillow"})[1][0]
    silent = [({"dependencies": [good, skipped]}, {"pillow", "torch"}), ({"dependencies": [good]}, {"torch"}), (None, set())]
    for report, wanted in silent:
        status, lines = audit.verdict(report, wanted)
        assert (status, lines[-1][:12]) == (2, "NOT AUDITED:")
