"""Make the README's picture: a real answer on the demo's photos, as ``mmsearch query --html`` shows it.

    make demo && python data/picture.py "a motorcycle in a garage" docs/results.png

Only photos in the public domain or under CC0 are in it. Needs Chromium, which is installed where apt-get can do that.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def chromium() -> str:
    """The browser's program; Debian's package where there is none yet."""
    if shutil.which("chromium") is None:
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=True)
    return shutil.which("chromium") or "chromium"


def free_photos(to: Path) -> None:
    """The demo's photos that may be shown anywhere."""
    to.mkdir()
    for photo in json.loads((HERE / "demo.json").read_text()):
        if photo["licence"].startswith(("CC0", "public domain")):
            shutil.copy(HERE / "photos" / Path(photo["file"]).name, to)


def main(query: str, picture: Path, height: int = 720) -> None:
    """Index, ask, and take the page's picture."""
    program = str(Path(sys.executable).with_name("mmsearch"))
    with tempfile.TemporaryDirectory() as tmp:
        photos, page = Path(tmp) / "photos", Path(tmp) / "page.html"
        free_photos(photos)
        subprocess.run([program, "-q", "-c", f"{tmp}/c", "index", "photos", "--model", "mini"], check=True, cwd=tmp)
        asked = [program, "-q", "-c", f"{tmp}/c", "query", query, "-k", "8", "--html", str(page)]
        subprocess.run(asked, check=True, cwd=tmp)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"]
        shot = [f"--user-data-dir={tmp}/profile", f"--screenshot={picture.resolve()}", f"--window-size=1200,{height}"]
        subprocess.run([chromium(), *flags, *shot, page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
