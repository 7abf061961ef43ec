"""What ``verify`` and ``repair`` share: showing findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsearch.cli import _output
from mmsearch.cli._app import COLLECTION, OK, App

if TYPE_CHECKING:
    from mmsearch.store import Finding


def show(app: App, findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print the findings; the exit code says whether there is an error among them."""
    bad = [finding for finding in findings if finding.level == "error"]
    if as_json:
        names = ("level", "what", "detail", "advice")
        rows = [{name: getattr(finding, name) for name in names} for finding in findings]
        _output.dump({"v": _output.VERSION, "sound": not bad, "findings": rows})
    elif findings:
        from mmsearch.cli import _table

        _table.findings(findings)
    return COLLECTION if bad else OK
