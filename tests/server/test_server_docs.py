"""docs/serving.md tells the truth: its blocks run, in their order, as a new user's would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from mmsearch.server.options import Limits
from mmsearch.server.running import listen
from tests.server.conftest import picture

PAGE = (Path(__file__).parent.parent.parent / "docs" / "serving.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_block_runs(tmp_path):
    (tmp_path / "bag.jpg").write_bytes(picture("red", (200, 150), "JPEG"))
    (tmp_path / "towel.jpg").write_bytes(picture("blue", (200, 150), "JPEG"))
    rows = ("id,image,title,brand,price", "1,bag.jpg,a red bag,Acme,30", "2,towel.jpg,a blue towel,Other,20", "")
    (tmp_path / "products.csv").write_text("\n".join(rows))
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    script = ["set -euo pipefail", "trap 'test -f serve.pid && kill $(cat serve.pid) 2>/dev/null || true' EXIT"]
    for kind, text in BLOCKS:
        assert kind in ("sh", "python")
        text = text.replace("8765", str(port)).replace("pip install 'mmsearch[serve,client]' >/dev/null\n", "")
        script.append(text if kind == "sh" else f"{sys.executable} -W error - <<'PYTHON'\n{text}PYTHON")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MMSEARCH_", "XDG_"))}
    env |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}", "MMSEARCH_OFFLINE": "1"}
    done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=110)
    told = f"{done.stdout}\n{done.stderr}\n{(tmp_path / 'serve.log').read_text()}"
    assert done.returncode == 0, told
    assert re.search(r"}1 0\.\d+\n", done.stdout), told
    assert '"status":"added"' in done.stdout
    assert '"status":"updated"' in done.stdout
    assert '"status":"deleted"' in done.stdout


def test_the_limits_are_those_of_the_program():
    limits = Limits()
    said = PAGE.split("## Limits")[1]
    for number in (limits.k, limits.offset, limits.terms, limits.text_chars, limits.where_chars, limits.params, limits.items):
        assert f"{number:,}" in said, number
    assert f"{limits.megapixels:.0f} megapixels" in said
    assert f"{limits.image_bytes >> 20} MiB a request" in said
    assert limits.image_bytes == limits.body_bytes
