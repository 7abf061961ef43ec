"""The arrows of ARCHITECTURE.md, read from the code: who may import whom, no circles, nobody below the CLI prints."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mmsearch

PACKAGE = Path(mmsearch.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = ("mmsearch", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in FILES}

BASE = {"errors", "types"}
SEAM = BASE | {"protocols"}
PICTURES = {"images", "preprocess", "files", "decoding", "texts"}
ADAPTERS = {"encoders", "indexes", "sources", "rerankers"}

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "facts": set(),
    "types": {"errors", "facts"},
    "protocols": BASE,
    "registry": SEAM,
    "settings": BASE,
    "cache": set(),
    **{room: SEAM | PICTURES for room in PICTURES},
    "store": BASE,
    **{room: SEAM | PICTURES | {"smallfiles"} for room in ADAPTERS},
    "presets": set(),
    "models": SEAM | {"registry", "encoders", "presets", "settings"},
    "matchers": SEAM | {"cache", "encoders", "rerankers", "settings", "store"},
    "adapter": BASE,
    "embed": SEAM | {"adapter", "cache", "images", "store", "files", "textvectors"},
    "smallfiles": set(),
    "textvectors": {"smallfiles"},
    "catalogue": SEAM | {"cache", "store"},
    "search": SEAM | {"cache", "catalogue", "store"},
    "ingest": SEAM | PICTURES | {"store"},
    "ranking": SEAM
    | {"cache", "calibrate", "judgements", "matchers", "models", "registry", "relevance", "rerankers", "settings", "store"},
    "relevance": SEAM,
    "explain": SEAM | PICTURES,
    "judgements": SEAM | {"store"},
    "calibrate": SEAM | {"relevance", "store"},
    "clusters": SEAM,
    "duplicates": SEAM | PICTURES | {"store"},
    "roots": SEAM | {"sources"},
    "status": BASE | {"adapter", "store"},
    "hubs": SEAM | {"relevance", "settings", "store"},
    "backup": SEAM | {"store"},
    "collection": SEAM
    | PICTURES
    | {
        "adapter",
        "backup",
        "cache",
        "calibrate",
        "catalogue",
        "clusters",
        "duplicates",
        "embed",
        "explain",
        "hubs",
        "indexes",
        "ingest",
        "judgements",
        "models",
        "ranking",
        "relevance",
        "roots",
        "search",
        "settings",
        "status",
        "store",
        "textvectors",
    },
    "aio": SEAM | {"collection"},
    "evaluation": BASE | {"catalogue"},
    "training": SEAM | PICTURES | {"adapter", "encoders"},
    "server": SEAM | PICTURES | {"collection", "explain", "ingest"},
    "client": BASE,
    "testing": SEAM | PICTURES | {"encoders", "indexes"},
    "cli": SEAM
    | PICTURES
    | {
        "adapter",
        "facade",
        "backup",
        "status",
        "collection",
        "evaluation",
        "ingest",
        "models",
        "server",
        "settings",
        "sources",
        "training",
    },
}
"""Each room (a file or folder of the package) and the rooms it may import from, beside itself."""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The modules of this package that a file imports, anywhere in it but under ``if TYPE_CHECKING``."""
    found = set()

    class Reader(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:
            found.update(name.name for name in node.names if name.name.split(".")[0] == "mmsearch")
            if "mmsearch" in found:  # the package's face: all public names
                found.symmetric_difference_update({"mmsearch", "mmsearch.facade"})

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            module = node.module or ""
            if module.split(".")[0] == "mmsearch":
                for name in node.names:
                    whole = f"{module}.{name.name}"
                    found.add(whole if whole in MODULES or module == "mmsearch" else module)

    Reader().visit(ast.parse(path.read_text()))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_arrow_runs_upward(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in ALLOWED, f"{room} is a new room: say in this test what it may import"
    rooms = {module.split(".")[1] for module in imports(path)} - {"__version__"}  # a number, not an arrow
    assert rooms - {room} <= ALLOWED[room]


def test_the_rooms_form_no_circle() -> None:
    arrows = {room: set() for room in ALLOWED}
    for path in FILES:
        if (room := room_of(path)) in arrows:
            arrows[room] |= {module.split(".")[1] for module in imports(path)} - {room}
    pictures = "pictures"  # the files about pictures are one room with several doors
    merged: dict[str, set[str]] = {}
    for room, targets in arrows.items():
        name = pictures if room in PICTURES else room
        merged.setdefault(name, set()).update({pictures if t in PICTURES else t for t in targets} - {name})
    while merged:
        free = [room for room, targets in merged.items() if not targets & merged.keys()]
        assert free, f"a circle among {sorted(merged)}"
        for room in free:
            del merged[room]


def test_no_two_files_import_each_other() -> None:
    arrows = {module_of(path): imports(path) - {module_of(path)} for path in FILES if path.name != "__init__.py"}
    while arrows:
        free = [module for module, targets in arrows.items() if not targets & arrows.keys()]
        assert free, f"a circle among {_in_circles(arrows)}"
        for module in free:
            del arrows[module]


def _in_circles(arrows: dict[str, set[str]]) -> list[str]:
    """What is left when all that nobody imports is taken away too: the circles themselves."""
    left = dict(arrows)
    while unused := [module for module in left if not any(module in targets for targets in left.values())]:
        for module in unused:
            del left[module]
    return sorted(left)


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) not in ("cli", "training", "__main__")], ids=str)
def test_the_library_neither_prints_nor_exits(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("print", "sys.exit", "exit", "quit"), f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_small_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
