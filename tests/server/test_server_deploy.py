"""The files for deployment: read by their linters where those are at hand, and true about the program. No engine ran them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from mmsearch.cli.serve import command
from mmsearch.server.metrics import Metrics

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def linter(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_hadolint_finds_nothing_in_the_dockerfile():
    done = run(linter("hadolint"), str(DEPLOY / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, "")


def test_systemd_takes_the_unit(tmp_path):
    unit = tmp_path / "mmsearch.service"
    text = (DEPLOY / "mmsearch.service").read_text()
    unit.write_text(text.replace("/opt/mmsearch/bin/mmsearch", "/bin/true"))  # that it is not installed here is no fault
    done = run(linter("systemd-analyze"), "verify", str(unit))
    assert [line for line in done.stderr.splitlines() if "mmsearch.service" in line] == []
    assert done.returncode == 0


def test_systemd_calls_the_unit_well_protected():
    done = run(linter("systemd-analyze"), "security", "--offline=yes", "--threshold=20", str(DEPLOY / "mmsearch.service"))
    assert done.returncode == 0, done.stdout[-300:]


def test_kubernetes_takes_the_manifest():
    done = run(linter("kubernetes-validate"), "--strict", str(DEPLOY / "kubernetes" / "mmsearch.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def documents(path: Path) -> list[dict]:
    return list(pytest.importorskip("yaml").safe_load_all(path.read_text()))


def given(where: str) -> list[str]:
    """The arguments of ``mmsearch`` as a file has them."""
    if where == "Dockerfile":
        return json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    if where == "systemd":
        line = re.search(r"^ExecStart=(.*)$", (DEPLOY / "mmsearch.service").read_text(), re.MULTILINE)[1]
        return shlex.split(line)[1:]
    if where == "compose":
        return documents(DEPLOY / "compose.yaml")[0]["services"]["search"]["command"]
    deployment = next(one for one in documents(DEPLOY / "kubernetes" / "mmsearch.yaml") if one["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.mark.parametrize("where", ["Dockerfile", "systemd", "compose", "kubernetes"])
def test_the_program_understands_what_they_start(where):
    name, *arguments = given(where)
    assert name == "serve"
    with command.make_context("serve", arguments, resilient_parsing=False, obj=None) as context:
        assert context.params["token_file"] is not None
        if context.params["host"] == "0.0.0.0":
            assert context.params["hosts"]


def test_unknown_options_would_be_noticed():
    with pytest.raises(click.NoSuchOption):
        command.make_context("serve", ["--no-such-option"])


def test_no_container_runs_as_root_or_is_open_to_the_world():
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.index("USER 10001") > DOCKERFILE.rindex("FROM")
    assert "HEALTHCHECK" in DOCKERFILE
    compose = documents(DEPLOY / "compose.yaml")[0]
    search = compose["services"]["search"]
    assert all(port.startswith("127.0.0.1:") for port in search["ports"])
    assert search["read_only"] is True
    assert {volume.partition(":")[0] for volume in search["volumes"]} <= compose["volumes"].keys()
    assert set(search["secrets"]) <= compose["secrets"].keys()
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for copied in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for name in copied.split():
            assert f"!{name}" in ignored
            assert (DEPLOY.parent / name).exists()


def test_the_dashboard_asks_for_metrics_that_there_are():
    dashboard = json.loads((DEPLOY / "grafana" / "mmsearch.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"mmsearch_\w+", target["expr"])
    }
    told = {
        name + suffix
        for family in Metrics().registry.collect()
        for name in [family.name]
        for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}[family.type]
    }
    assert asked <= told
    families = {family.name for family in Metrics().registry.collect()}
    shown = {family for family in families if any(name.startswith(family) for name in asked)}
    assert families == shown  # nothing is counted that nobody sees
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
