"""Make the README's picture: what the terminal shows of a few real queries over the demo's photos.

    make demo && python data/picture.py docs/results.svg

Only text is in it: the photos are not ours to commit.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

QUERIES = (
    'query "a cat" --top 3',
    'query "a rocket" --top 3',
    "query --kind text -i coffee.png --top 2",
)


def main(picture: Path, photos: Path) -> None:
    """Ask in the photos' folder, and draw what comes."""
    program = str(Path(sys.executable).with_name("mmsearch").resolve())
    screen = Console(record=True, width=84, file=open("/dev/null", "w"))  # noqa: SIM115 - ends with the script
    for query in QUERIES:
        done = subprocess.run(f"{program} -q {query}", shell=True, cwd=photos, capture_output=True, text=True, check=True)
        screen.print(Text.assemble(("$ ", "green"), (f"mmsearch {query}", "bold")))
        head, *rows = done.stdout.rstrip().splitlines()
        screen.print(Text(head, "dim"))
        screen.print(*(Text(row) for row in rows), sep="\n")
        screen.print()
    picture.write_text(screen.export_svg(title="22 photos, the built-in model, no network"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "photos")
