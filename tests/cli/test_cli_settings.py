"""Where settings come from, which of them wins, and what a wrong one says."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mmsearch import settings
from mmsearch.errors import UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "config.toml"


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(file: Path) -> None:
    write(file, 'device = "cuda:1"\nmodel = "base"\noffline = true\n')
    environ = {"MMSEARCH_DEVICE": "mps", "MMSEARCH_MODEL": "small"}
    found = settings.load({"device": "cpu", "model": None}, environ=environ, file=file)
    assert (found.device, found.model, found.offline, found.token) == ("cpu", "small", True, None)
    assert found.origins == {
        "device": "flag", "model": "environment (MMSEARCH_MODEL)", "offline": "config file", "remember": "default",
        "worker": "default",
        "collection": "default", "model_dir": "default", "token": "default",
    }


def test_an_empty_variable_counts_as_not_set(file: Path) -> None:
    assert settings.load(environ={"MMSEARCH_DEVICE": ""}, file=file).device == "auto"


@pytest.mark.parametrize(("value", "means"), [("1", True), ("yes", True), ("TRUE", True), ("0", False), ("off", False)])
def test_yes_and_no_in_the_environment(file: Path, value: str, means: bool) -> None:
    assert settings.load(environ={"MMSEARCH_OFFLINE": value}, file=file).offline is means


@pytest.mark.parametrize(("text", "line", "says"), [
    ('model = "mini"\n\ncolour = "red"\n', 3, "no setting 'colour'"),
    ('# a comment\ndevice = "abacus"\n', 2, "no device is called 'abacus'"),
    ('offline = "yes"\n', 1, "must be true or false"),
    ('model = 3\n', 1, "must be a text in quotes"),
    ('model = ""\n', 1, "empty"),
    ('model = "mini"\ndevice = = 1\n', 2, "Invalid value"),
    ('[index]\nbatch = 3\n', 1, "no setting 'index'"),
])
def test_a_bad_line_of_the_file_is_named(file: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        settings.load(environ={}, file=write(file, text))
    assert f"{file}, line {line}: " in caught.value.message


def test_a_bad_variable_is_named(file: Path) -> None:
    with pytest.raises(UsageError, match="MMSEARCH_OFFLINE: 'maybe' is neither yes nor no"):
        settings.load(environ={"MMSEARCH_OFFLINE": "maybe"}, file=file)


def test_paths_in_the_file_are_relative_to_it(file: Path) -> None:
    assert settings.load(environ={}, file=write(file, 'collection = "photos"\n')).collection == str(file.parent / "photos")


def test_set_keeps_other_lines_and_comments(file: Path) -> None:
    write(file, '# mine\nmodel = "base"   # for now\noffline = true\n')
    settings.set_value("model", 'a "quoted" ü', file=file)
    settings.set_value("device", "cpu", file=file)
    settings.set_value("offline", "no", file=file)
    assert file.read_text() == '# mine\nmodel = "a \\"quoted\\" ü"\noffline = false\ndevice = "cpu"\n'
    assert settings.load(environ={}, file=file).model == 'a "quoted" ü'
    settings.set_value("model", None, file=file)
    assert file.read_text() == "# mine\noffline = false\ndevice = \"cpu\"\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_set_refuses_what_load_would_refuse(file: Path) -> None:
    for name, value in (("colour", "red"), ("device", "abacus"), ("offline", "maybe"), ("model", "")):
        with pytest.raises(UsageError):
            settings.set_value(name, value, file=file)
    assert not file.exists()


def test_the_collection_is_found_as_git_finds_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "a" / ".mmsearch").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    missing = tmp_path / "none.toml"
    stored = write(tmp_path / "config.toml", 'collection = "/stored"\n')

    def find(start: str, flags: dict[str, str], environ: dict[str, str], file: Path = missing) -> tuple[Path, str]:
        place = settings.find_collection(settings.load(flags, environ=environ, file=file), tmp_path / start)
        return place.path, place.how

    environ = {"MMSEARCH_COLLECTION": "/environ"}
    assert find("a/b/c", {"collection": "/flag"}, environ) == (Path("/flag"), "flag")
    assert find("a/b/c", {}, environ) == (Path("/environ"), "environment (MMSEARCH_COLLECTION)")
    assert find("a/b/c", {}, {}, stored) == (tmp_path / "a" / ".mmsearch", ".mmsearch/ found upward")
    assert find("", {}, {}, stored) == (Path("/stored"), "config file")
    assert find("", {}, {}) == (tmp_path / "data" / "mmsearch" / "default", "your default collection")
