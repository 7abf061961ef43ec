"""Known holes in what is installed, by pip-audit: and a failure, not a silence, where nobody could be asked.

    python benchmarks/audit.py --pip-audit build/audit/bin/pip-audit --path .venv/lib/python3.11/site-packages

Without a network pip-audit may say "No known vulnerabilities found" of packages none of which it could look up. Here the exit
status is 0 only if every package that ``pyproject.toml`` declares was looked up and none has a known hole, 1 if one has, and 2
if one could not be looked up. What needs no network is in ``tests/test_safety.py``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CLEAN, HOLES, UNKNOWN = 0, 1, 2


def declared() -> set[str]:
    """The names of the packages that an installation needs."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return {_plain(re.split(r"[\s<>=!~\[;]", line)[0]) for line in lines}


def verdict(report: dict[str, Any] | None, wanted: set[str], said: str = "") -> tuple[int, list[str]]:
    """The exit status and lines for a report of pip-audit's (``None``: it gave none, and ``said`` what it last said)."""
    if report is None:
        return UNKNOWN, [f"NOT AUDITED: the service that knows the holes cannot be reached ({said[:160]})"]
    found = {_plain(one["name"]): one for one in report["dependencies"]}
    skipped = {name for name, one in found.items() if "skip_reason" in one}
    unknown = sorted(wanted & skipped | wanted - found.keys())
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for one in found.values()
        for hole in one.get("vulns", ())
    ]
    lines = [*holes, f"{len(found) - len(skipped)} of {len(found)} installed packages were looked up"]
    if unknown:
        shown = ", ".join(unknown[:6]) + (" …" if len(unknown) > 6 else "")
        lines.append(f"NOT AUDITED: {len(unknown)} of the {len(wanted)} that mmsearch needs ({shown}): is the network there?")
    elif not holes:
        lines.append("no known holes")
    return HOLES if holes else UNKNOWN if unknown else CLEAN, lines


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pip-audit", required=True, help="the program")
    parser.add_argument("--path", required=True, help="the folder of installed packages")
    options = parser.parse_args()
    command = [options.pip_audit, "--progress-spinner", "off", "--format", "json", "--path", options.path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        print(f"NOT AUDITED: {options.pip_audit} cannot be started: {error.strerror}")
        sys.exit(UNKNOWN)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = None
    status, lines = verdict(report, declared(), (done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    print("\n".join(lines))
    sys.exit(status)


if __name__ == "__main__":
    main()
