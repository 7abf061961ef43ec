"""What starts quickly must not drag heavy libraries in: each case is a fresh process that lists its modules."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import mmsearch

HEAVY = {"torch", "torchvision", "open_clip", "timm", "faiss", "huggingface_hub", "transformers"}
MINI = Path(mmsearch.__file__).parent / "encoders" / "mini" / "mini.json"


def imported(code: str, tmp_path: Path) -> set[str]:
    """The top-level modules that a new Python has loaded after ``code``."""
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_mmsearch(tmp_path: Path) -> None:
    assert not (HEAVY | {"onnxruntime", "tokenizers", "safetensors"}) & imported("import mmsearch", tmp_path)


def test_every_public_name(tmp_path: Path) -> None:
    code = "import mmsearch\nfor name in getattr(mmsearch, '__all__', ()): getattr(mmsearch, name)"
    assert not (HEAVY | {"onnxruntime"}) & imported(code, tmp_path)


@pytest.mark.parametrize("module", ["models", "presets", "registry", "protocols", "settings", "encoders.toy",
                                    "encoders.onnx", "encoders.openclip"])  # fmt: skip
def test_modules_that_only_describe(module: str, tmp_path: Path) -> None:
    assert not (HEAVY | {"onnxruntime"}) & imported(f"import mmsearch.{module}", tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("mmsearch.cli") is None, reason="there is no command line in this tree")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["query", "--help"], ["status", "--help"]])
def test_help(arguments: list[str], tmp_path: Path) -> None:
    code = f"import sys\nfrom mmsearch.cli import main\ntry: main({arguments!r})\nexcept SystemExit as end: assert not end.code"
    assert not (HEAVY | {"onnxruntime"}) & imported(code, tmp_path)


@pytest.mark.skipif(not MINI.is_file(), reason="this tree has no weights of mini")
def test_a_text_query_of_mini(tmp_path: Path) -> None:
    code = (
        "from mmsearch import models\n"
        "encoder = models.resolve('mini')\n"
        "assert encoder.encode_texts(['a cat']).shape == (1, encoder.spec.dim)"
    )
    found = imported(code, tmp_path)
    assert "onnxruntime" in found
    assert not (HEAVY | {"PIL"}) & found, "a text query decodes no picture either"


def test_a_text_query_of_a_collection(tmp_path: Path) -> None:
    """The whole way: open, search, read the hits."""
    code = (
        "import mmsearch as mm\n"
        f"with mm.Collection.open({str(tmp_path / 'c')!r}, create=True, model='toy') as c:\n"
        "    c.add([mm.Item(id='a', text='a red square')])\n"
        f"with mm.Collection.open({str(tmp_path / 'c')!r}) as c:\n"
        "    assert c.search(mm.text('red'), kind='text')[0].id == 'a'"
    )
    assert not (HEAVY | {"onnxruntime"}) & imported(code, tmp_path)


def test_a_filter_loads_no_database_toolkit(tmp_path: Path) -> None:
    """What columns answer needs the filter's parser, and neither SQLAlchemy nor a catalogue's writer."""
    with mmsearch.Collection.open(tmp_path / "c", create=True, model="toy") as made:
        made.add([mmsearch.Item(id=f"{n}", text=f"square {n}", meta={"price": n}) for n in range(9)])
    code = (
        "import mmsearch as mm\n"
        f"with mm.Collection.open({str(tmp_path / 'c')!r}) as c:\n"
        "    assert c.search(mm.item('7'), kind='text', where='price > 7').ids == ['8']"
    )
    found = imported(code, tmp_path)
    assert "sqlglot" in found
    assert not (HEAVY | {"sqlalchemy"}) & found
