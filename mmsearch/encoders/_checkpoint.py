"""From a model's name to what has to be read for it: configuration, weights file, preprocessing. No torch.

==================================  =======================================================================
``ViT-B-32/laion2b_s34b_b79k``      open_clip's architecture and tag; the weights are in the Hugging Face cache
``ViT-B-32:/path/w.safetensors``    open_clip's architecture, weights from a file
``local-dir:/path``                 a folder with ``open_clip_config.json`` and weights
``hf-hub:org/name``                 such a folder in the Hugging Face cache
``mini``                            the built-in model, in this package
==================================  =======================================================================
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmsearch.encoders import _hub
from mmsearch.encoders._identity import Preprocessing
from mmsearch.errors import ModelCorrupt, ModelNotFound, UsageError

__all__ = ["Checkpoint", "absolute", "architectures", "find", "read_architecture", "read_config"]

CONFIG = "open_clip_config.json"
_FOLDER_WEIGHTS = (  # in the order in which open_clip itself chooses
    *_hub.WEIGHTS, *_hub.PICKLES, "open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin",
    "pytorch_model.pth", "model.pth", "*.safetensors", "*.bin", "*.pth",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that is on this machine. ``source`` and ``pretrained`` are what open_clip's ``create_model`` takes.

    ``name`` is canonical: absolute where it holds a path, so that it means the same from another folder.
    """

    name: str
    source: str
    pretrained: str | None
    weights: Path
    model_cfg: Mapping[str, Any]
    preprocessing: Preprocessing
    quick_gelu: bool = False

    @property
    def context_length(self) -> int:
        """Tokens that the text tower takes."""
        return int(self.model_cfg.get("text_cfg", {}).get("context_length", 77))


def find(name: str, *, model_dir: Path | None = None, allow_pickle: bool = False) -> Checkpoint:
    """Resolve a name of the table above. Reads small files only, and opens no socket.

    Raises :class:`ModelNotFound` (unknown, or its weights are not here), :class:`ModelCorrupt` (a configuration that
    does not parse), :class:`UsageError` (a pickle without ``allow_pickle``, a name of no known form).
    """
    if name == "mini":
        found = _folder("mini", Path(__file__).parent / "mini")
    elif name.startswith("local-dir:"):
        folder = absolute(name.removeprefix("local-dir:"))
        found = _folder(f"local-dir:{folder}", folder)
    elif name.startswith("hf-hub:"):
        found = _hub_repo(name, model_dir)
    elif ":" in name:
        found = _file(name)
    elif "/" in name:
        found = _tag(name, model_dir)
    else:
        raise _unknown(name)
    if found.weights.suffix not in (".safetensors", ".npz", ".npy") and not allow_pickle:
        raise UsageError(
            f"{found.weights} is a pickle, which may run code when it is opened",
            hint="convert it to .safetensors, or pass allow_pickle=True where you trust its source",
        )
    return found


def read_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """``model_cfg`` and ``preprocess_cfg`` of a folder's ``open_clip_config.json``."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return dict(config["model_cfg"]), dict(config.get("preprocess_cfg") or {})
    except OSError as error:
        raise ModelNotFound(
            f"{folder} is no model: its {CONFIG} cannot be read ({error.strerror})",
            hint="name the folder that holds it",
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelCorrupt(f"{folder / CONFIG} is not a model's configuration: {error!r}") from error


@cache
def architectures() -> dict[str, Path]:
    """open_clip's own architectures and their files, found without importing open_clip."""
    package = find_spec("open_clip")
    if package is None or package.origin is None:
        return {}
    return {path.stem: path for path in sorted((Path(package.origin).parent / "model_configs").glob("*.json"))}


def absolute(path: str | Path) -> Path:
    """The same path from any folder; links stay as they are."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def _folder(name: str, folder: Path) -> Checkpoint:
    model_cfg, preprocess_cfg = read_config(folder)
    found = (path for pattern in _FOLDER_WEIGHTS for path in sorted(folder.glob(pattern)))
    weights = next(found, None)
    if weights is None:
        raise ModelNotFound(f"{folder} holds no weights", hint=f"put {_hub.WEIGHTS[0]} beside {CONFIG}")
    preprocessing = Preprocessing.of(model_cfg, preprocess_cfg)
    return Checkpoint(name, f"local-dir:{folder}", None, weights, model_cfg, preprocessing)


def _hub_repo(name: str, model_dir: Path | None) -> Checkpoint:
    repo = name.removeprefix("hf-hub:")
    config = _hub.local(repo, (CONFIG,), model_dir)
    weights = _hub.local(repo, (*_hub.WEIGHTS, *_hub.PICKLES), model_dir)
    if config is None or weights is None:
        raise _not_here(name)
    return _folder(name, config.parent)


def _file(name: str) -> Checkpoint:
    arch, _, rest = name.partition(":")
    arch, weights = arch.replace("/", "-"), absolute(rest)
    model_cfg = read_architecture(arch)
    if not weights.is_file():
        raise ModelNotFound(f"there is no weights file {weights}", hint="check the path after the colon")
    return Checkpoint(
        f"{arch}:{weights}", arch, str(weights), weights, model_cfg, Preprocessing.of(model_cfg, _hub.family(arch))
    )


def _tag(name: str, model_dir: Path | None) -> Checkpoint:
    arch, _, tag_name = name.rpartition("/")
    arch = arch.replace("/", "-")
    model_cfg = read_architecture(arch)
    row = _hub.tag(arch, tag_name)
    if row is None:
        raise _unknown_tag(arch, tag_name)
    weights = _hub.local(row["repo"], _hub.files_of(row), model_dir) if row["repo"] else None
    if weights is None:
        raise _not_here(f"{arch}/{tag_name}")
    preprocessing = Preprocessing.of(model_cfg, row["preprocess"])
    quick_gelu = row["quick_gelu"] or model_cfg.get("quick_gelu", False)  # some architectures lack what a tag needs
    model_cfg["quick_gelu"] = quick_gelu
    return Checkpoint(f"{arch}/{tag_name}", arch, str(weights), weights, model_cfg, preprocessing, quick_gelu)


def read_architecture(arch: str) -> dict[str, Any]:
    """``model_cfg`` of one of open_clip's own architectures. Raises :class:`ModelNotFound` with near names."""
    known = architectures()
    if arch not in known:
        raise _unknown(arch)
    return dict(json.loads(known[arch].read_text(encoding="utf-8")))


def _not_here(name: str) -> ModelNotFound:
    return ModelNotFound(
        f"the weights of {name} are not on this machine",
        hint=f"fetch them once with: mmsearch models pull {name}   (or use 'mini', which is built in)",
    )


def _unknown(name: str) -> ModelNotFound:
    near = difflib.get_close_matches(name, architectures(), n=3, cutoff=0.5)
    like = f"; did you mean {', '.join(near)}?" if near else ""
    return ModelNotFound(f"no model is called {name!r}{like}", hint="mmsearch models list shows what there is")


def _unknown_tag(arch: str, name: str) -> ModelNotFound:
    from open_clip.pretrained import list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(arch)
    near = difflib.get_close_matches(name, tags, n=3, cutoff=0.3) or tags[:3]
    hint = f"tags of {arch}: {', '.join(near)}" if near else f"{arch} has no published weights; use {arch}:PATH"
    return ModelNotFound(f"{arch} has no weights called {name!r}", hint=hint)
