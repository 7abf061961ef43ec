"""Models by name: the presets, what is on this machine, how to fetch the rest, and a name's encoder.

==================================  ==========================================================================
``mini small base multilingual max``  a preset of :data:`PRESETS`
``ViT-B-32/laion2b_s34b_b79k``      architecture and weights as open_clip names them (``openclip:`` may stand before)
``ViT-B-32:/path/w.safetensors``    open_clip's architecture, your weights
``local-dir:/path``                 a folder with ``open_clip_config.json`` and weights
``hf-hub:org/name``                 such a folder on the Hugging Face hub
``onnx:/path``                      a folder that :func:`mmsearch.encoders.export.export_onnx` wrote
``toy``, ``toy:32``                 colours for tests (32 dimensions)
``other``, ``other:argument``       an encoder that another package has registered
==================================  ==========================================================================

Importing this module imports no model library; only :func:`pull` opens a network connection.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from mmsearch import registry, settings
from mmsearch.encoders import _checkpoint, _hub
from mmsearch.encoders._checkpoint import absolute
from mmsearch.encoders._hub import DownloadFn
from mmsearch.encoders.onnx import CONFIG, DESCRIPTIONS, MINI, OnnxEncoder, mini
from mmsearch.errors import ModelNotFound, UsageError
from mmsearch.presets import PRESETS, Preset
from mmsearch.protocols import Encoder

__all__ = [
    "DEFAULT",
    "PRESETS",
    "ModelInfo",
    "Preset",
    "canonical",
    "default_model",
    "export",
    "info",
    "installed",
    "pull",
    "resolve",
    "twin",
]

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
DEFAULT = "base"
"""The preset of new collections where its weights are on this machine; ``mini`` stands in for it."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model without loading it. ``path`` and ``bytes`` are ``None`` where it is not on this machine.

    ``image_size`` is (width, height), ``download`` bytes, ``recall`` that of :class:`mmsearch.presets.Preset`; whatever
    is not known is ``None``.
    """

    name: str
    model: str
    path: Path | None = None
    bytes: int | None = None
    summary: str = ""
    licence: str | None = None
    dim: int | None = None
    image_size: tuple[int, int] | None = None
    download: int | None = None
    recall: float | None = None

    @property
    def on_disk(self) -> bool:
        """Whether it can be used without a download."""
        return self.path is not None


def canonical(name: str) -> str:
    """The name to store: presets resolved to their model, paths made absolute. Raises :class:`UsageError`.

    >>> canonical("base"), canonical("openclip:ViT-B-32/openai")
    ('ViT-B-32/laion2b_s34b_b79k', 'ViT-B-32/openai')
    """
    name = name.strip().removeprefix("openclip:")
    if name in ("onnx", "openclip"):
        raise UsageError(f"{name!r} is a kind of model and names none", hint=f"write {name}:NAME, or a preset")
    if name in PRESETS:
        return PRESETS[name].model
    scheme, colon, rest = name.partition(":")
    if scheme in ("onnx", "local-dir") and rest:
        return f"{scheme}:{absolute(rest)}"
    if colon and scheme.replace("/", "-") in _checkpoint.architectures() and rest:
        return f"{scheme.replace('/', '-')}:{absolute(rest)}"
    if scheme == "hf-hub" or scheme in registry.names("encoders"):
        return name
    folder = Path(os.path.expanduser(name))
    # os.path: a name may be one that no file can have, and Path raises where it is too long
    if os.path.isfile(folder / "text.onnx") and any(os.path.isfile(folder / file) for file in DESCRIPTIONS):
        return f"onnx:{absolute(folder)}"
    if os.path.isfile(folder / CONFIG):
        return f"local-dir:{absolute(folder)}"
    if os.path.isfile(folder):
        raise UsageError(f"{name} does not say its architecture", hint=f"write, for instance, ViT-B-32:{name}")
    arch, slash, tag = name.rpartition("/")
    if slash and tag and arch.replace("/", "-") in _checkpoint.architectures():
        return f"{arch.replace('/', '-')}/{tag}"
    raise _unknown(name)


def resolve(
    name: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    model_dir: str | Path | None = None,
    allow_pickle: bool = False,
) -> Encoder:
    """The encoder of a name (see the module's table). Cheap: nothing is loaded, and nothing is ever downloaded.

    ``mini`` and ``onnx:`` run in onnxruntime on the CPU; ``mini`` with ``device="cuda"`` or ``"mps"`` runs in torch, in
    the same space. ``model_dir`` is where downloaded models are kept (default: the user's setting, else the Hugging
    Face cache). Raises :class:`ModelNotFound` for a name that means nothing; files that are missing show on first use.
    """
    full = canonical(name)
    scheme, _, rest = full.partition(":")
    if full == "mini" and device in ("auto", "cpu"):
        return mini(batch_size=batch_size)
    if scheme == "onnx":
        return OnnxEncoder(rest, batch_size=batch_size)
    if full != "mini" and scheme in registry.names("encoders"):
        factory = registry.load("encoders", scheme)
        made: Encoder = factory(*([int(rest) if rest.isdecimal() else rest] if rest else []))
        return made
    from mmsearch.encoders.openclip import OpenClipEncoder

    return OpenClipEncoder(
        full,
        device=device,
        precision=precision,
        batch_size=batch_size,
        model_dir=_model_dir(model_dir),
        allow_pickle=allow_pickle,
        licence=next((preset.licence for preset in PRESETS.values() if preset.model == full), "unknown"),
    )


def default_model(model_dir: str | Path | None = None) -> str:
    """The preset for a collection whose model nobody named: ``base`` where its weights are here, else ``mini``."""
    return DEFAULT if info(DEFAULT, model_dir=model_dir).on_disk else "mini"


def info(name: str, *, model_dir: str | Path | None = None) -> ModelInfo:
    """What a name stands for, and whether it is on this machine. Reads small files; the first name of a hub: 0.2 s."""
    full, cache = canonical(name), _model_dir(model_dir)
    preset = next((preset for preset in PRESETS.values() if preset.model == full), None)
    path = _where(full, preset, cache)
    size = None if path is None else _bytes(path)
    known = ModelInfo(preset.name if preset else full, full, path, size, preset.summary if preset else "")
    if preset is not None and preset.repo is not None:
        return replace(
            known,
            licence=preset.licence,
            dim=preset.dim,
            image_size=(preset.image_size, preset.image_size),
            download=preset.download,
            recall=preset.recall,
        )
    if path is None:
        return known
    if full == "mini" or full.startswith(("onnx:", "toy")):
        spec = resolve(full).spec
        return replace(known, licence=spec.licence, dim=spec.dim, image_size=spec.image_size)
    found = _checkpoint.find(full, model_dir=cache, allow_pickle=True)
    sides = (found.preprocessing.width, found.preprocessing.height)
    return replace(known, dim=int(found.model_cfg["embed_dim"]), image_size=sides)


def installed(*, model_dir: str | Path | None = None) -> list[ModelInfo]:
    """All presets, with what of them is on this machine."""
    return [info(name, model_dir=model_dir) for name in PRESETS]


def pull(
    name: str,
    *,
    progress: DownloadFn | None = None,
    model_dir: str | Path | None = None,
    offline: bool | None = None,
    token: str | None = None,
) -> ModelInfo:
    """Fetch a model's weights, unless they are here; the only function of the package that downloads.

    ``progress(file, bytes so far, bytes in all or None)`` is called now and then. ``offline=None`` follows the user's
    setting. Raises :class:`ModelNotFound` where the hub cannot be reached, :class:`StorageError` for a full disk.
    """
    known, wanted = info(name, model_dir=model_dir), settings.load()
    if known.on_disk:
        return known
    if wanted.offline if offline is None else offline:
        raise ModelNotFound(
            f"{name} is not on this machine, and downloads are switched off",
            hint="unset MMSEARCH_OFFLINE (or drop --offline), or use 'mini', which is built in",
        )
    for repo, files, needed in _parts(known.model):
        try:
            _hub.download(repo, files, _model_dir(model_dir), progress=progress, token=token or wanted.token)
        except ModelNotFound:
            if needed:
                raise
    return info(name, model_dir=model_dir)


def export(name: str, *, model_dir: str | Path | None = None) -> Path:
    """Write a model's ONNX twin to where :func:`twin` finds it, for queries that start without torch."""
    from mmsearch.encoders.export import export_onnx
    from mmsearch.encoders.openclip import OpenClipEncoder

    encoder = OpenClipEncoder(canonical(name), device="cpu", precision="fp32", model_dir=_model_dir(model_dir))
    return export_onnx(encoder, _twin_folder(encoder.spec.fingerprint, model_dir))


_kept: dict[tuple[str, Path], OnnxEncoder] | None = None


def keep_loaded() -> None:
    """From now on :func:`twin` gives the encoder that it gave before, with its weights: for a process of many queries."""
    global _kept
    _kept = {} if _kept is None else _kept


def twin(fingerprint: str, *, model_dir: str | Path | None = None) -> OnnxEncoder | None:
    """The ONNX encoder of this fingerprint, if one is on this machine: ``mini``, or one of :func:`export`. ~1 ms."""
    if _kept is None:
        return _find_twin(fingerprint, model_dir)
    key = (fingerprint, _twin_folder(fingerprint, model_dir))
    if key not in _kept and (found := _find_twin(fingerprint, model_dir)):
        _kept[key] = found
    return _kept.get(key)


def _find_twin(fingerprint: str, model_dir: str | Path | None) -> OnnxEncoder | None:
    if any((MINI / name).is_file() for name in DESCRIPTIONS):
        built_in = mini()
        if built_in.spec.fingerprint == fingerprint:
            return built_in
    folder = _twin_folder(fingerprint, model_dir)
    return OnnxEncoder(folder) if folder.is_dir() else None


def _parts(model: str) -> list[tuple[str, tuple[str, ...], bool]]:
    """What a model consists of on the hub: repository, alternative names of a file in it, whether it is needed."""
    weights = (*_hub.WEIGHTS, *_hub.PICKLES)
    if model.startswith("hf-hub:"):
        repo = model.removeprefix("hf-hub:")
        return [(repo, (CONFIG,), True), (repo, weights, True), *((repo, (file,), False) for file in TOKENIZER)]
    arch, _, tag = model.rpartition("/")
    if ":" in model or not arch:
        raise ModelNotFound(f"there is no model at {model}", hint="check the path")
    row = _hub.tag(arch, tag)
    if row is None:
        _checkpoint.find(model)  # raises, naming the tags that there are
        raise _unknown(model)
    if not row["repo"]:
        raise ModelNotFound(
            f"{model} is not on the hub; its publisher has it as a pickle at {row['url']}",
            hint=f"download it by hand and use {arch}:PATH with allow_pickle=True",
        )
    words = _checkpoint.read_architecture(arch).get("text_cfg", {}).get("hf_tokenizer_name")
    files = TOKENIZER if words else ()
    return [(row["repo"], _hub.files_of(row), True), *((words, (file,), False) for file in files)]


def _where(full: str, preset: Preset | None, cache: Path | None) -> Path | None:
    """The file or folder of a model that is on this machine."""
    if preset is not None and preset.repo is not None:  # without open_clip's table, whose import takes seconds
        return _hub.local(preset.repo, (*_hub.WEIGHTS, *_hub.PICKLES), cache)
    folder = MINI if full == "mini" else Path(full.removeprefix("onnx:")) if full.startswith("onnx:") else None
    if folder is not None:
        return folder if any((folder / name).is_file() for name in DESCRIPTIONS) else None
    if full.partition(":")[0] == "toy":
        return MINI.with_name("toy.py")
    if full.partition(":")[0] in registry.names("encoders"):
        return None
    try:
        return _checkpoint.find(full, model_dir=cache, allow_pickle=True).weights
    except ModelNotFound:
        return None


def _bytes(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _model_dir(given: str | Path | None) -> Path | None:
    chosen = given or settings.load().model_dir
    return None if chosen is None else absolute(chosen)


def _twin_folder(fingerprint: str, model_dir: str | Path | None) -> Path:
    return (_model_dir(model_dir) or settings.data_path() / "models") / "onnx" / fingerprint[:32]


def _unknown(name: str) -> ModelNotFound:
    known = [*PRESETS, *registry.names("encoders"), *_checkpoint.architectures()]
    if name in _checkpoint.architectures():
        return ModelNotFound(
            f"{name} is an architecture; which of its weights?", hint=f"write {name}/TAG, or {name}:PATH for a file"
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    like = f"; did you mean {', '.join(near)}?" if near else ""
    return ModelNotFound(f"no model is called {name!r}{like}", hint=f"presets: {', '.join(PRESETS)}; or ARCH/TAG")
