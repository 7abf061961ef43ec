"""Where published weights lie on this machine, and how they get there: the Hugging Face cache and open_clip's table.

:func:`local` never opens a socket; :func:`download` is the only function of the package that fetches a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

from mmsearch.encoders._facts import recall, remember
from mmsearch.errors import ModelNotFound, StorageError

__all__ = ["PICKLES", "WEIGHTS", "DownloadFn", "Tag", "download", "family", "files_of", "local", "tag"]

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
"""Names that weights go by in a repository of open_clip, best first."""
PICKLES = ("open_clip_pytorch_model.bin",)
"""Older names: a pickle, which is opened only when that is allowed."""

_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")

DownloadFn = Callable[[str, int, int | None], None]
"""``(file, bytes so far, bytes in all or None)``, called now and then while a file is fetched."""


class Tag(TypedDict):
    """What open_clip's table says of ``arch/tag``; ``file`` is ``""`` where the repository has a usual name."""

    repo: str
    file: str
    url: str
    preprocess: dict[str, Any]
    quick_gelu: bool


def tag(arch: str, name: str) -> Tag | None:
    """The row of open_clip's table, or ``None``. Imports open_clip (5 s) once per open_clip version, then ~0.1 ms."""
    key = f"tag {version('open_clip_torch')} {arch} {name}"
    known: Tag | None = recall(key)
    if known is None:
        from open_clip.pretrained import get_pretrained_cfg

        row = get_pretrained_cfg(arch, name)
        if not row:
            return None
        repo, _, file = str(row.get("hf_hub", "")).rpartition("/")
        known = {  # plain JSON, as it comes back from the cache
            "repo": repo,
            "file": file,
            "url": row.get("url", ""),
            "preprocess": {key: _plain(row[key]) for key in _PREPROCESS if key in row},
            "quick_gelu": bool(row.get("quick_gelu", False)),
        }
        remember(key, known)
    return known


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def family(arch: str) -> dict[str, Any]:
    """The preprocessing that all published weights of an architecture share, ``{}`` where they do not agree.

    It is what a bare weights file most likely needs. open_clip itself falls back to CLIP's there, which makes a SigLIP
    silently worse.
    """
    key = f"family {version('open_clip_torch')} {arch}"
    known: dict[str, Any] | None = recall(key)
    if known is None:
        from open_clip.pretrained import list_pretrained_tags_by_model

        rows = [row["preprocess"] for name in list_pretrained_tags_by_model(arch) if (row := tag(arch, name))]
        known = rows[0] if rows and all(row == rows[0] for row in rows) else {}
        remember(key, known)
    return known


def files_of(row: Tag) -> tuple[str, ...]:
    """The names to look for in the tag's repository, safetensors first."""
    if not row["file"]:
        return *WEIGHTS, *PICKLES
    if row["file"].endswith((".bin", ".pt", ".pth")):
        return str(Path(row["file"]).with_suffix(".safetensors")), row["file"]
    return (row["file"],)


def local(repo: str, files: Sequence[str], cache: Path | None) -> Path | None:
    """The first of ``files`` that the Hugging Face cache holds of a repository. No socket; ~0.2 s for the import."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for file in files:
        try:
            found = try_to_load_from_cache(repo, file, cache_dir=cache)
        except HFValidationError as error:
            raise ModelNotFound(f"{repo!r} is not the name of a repository", hint="write hf-hub:ORG/NAME") from error
        if isinstance(found, str):
            return Path(found)
    return None


def download(
    repo: str, files: Sequence[str], cache: Path | None, *, progress: DownloadFn | None = None, token: str | None = None
) -> Path:
    """Fetch the first of ``files`` that the repository has into the Hugging Face cache; what is there is not fetched.

    Raises :class:`ModelNotFound` where the hub cannot be reached or has no such file, :class:`StorageError` for a disk.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    for file in files:
        try:
            # the client tries a download for half a minute before it gives up; this asks once
            get_hf_file_metadata(hf_hub_url(repo, file), token=token, timeout=10)
            bar = _bar(file, progress) if progress else None
            return Path(hf_hub_download(repo, file, cache_dir=cache, token=token, tqdm_class=bar))
        except LocalEntryNotFoundError as error:  # a subclass of EntryNotFoundError: the network is what failed
            raise _unreachable(repo, error) from error
        except EntryNotFoundError:
            continue
        except GatedRepoError as error:
            raise ModelNotFound(
                f"{repo} asks its users to accept a licence first",
                hint=f"accept it at https://huggingface.co/{repo} and set MMSEARCH_TOKEN",
            ) from error
        except RepositoryNotFoundError as error:
            message = f"the model hub has no repository {repo!r}, or it is private"
            raise ModelNotFound(message, hint="check the name, or set MMSEARCH_TOKEN") from error
        except OSError as error:
            if error.errno is not None and error.filename is not None:
                raise StorageError(f"the model cannot be stored in {error.filename}: {error.strerror}") from error
            raise _unreachable(repo, error) from error
        except Exception as error:  # noqa: BLE001 -- the hub's client raises its HTTP library's own errors
            raise _unreachable(repo, error) from error
    raise ModelNotFound(f"{repo} has none of the files {', '.join(files)}", hint="name another model, or a local file")


def _unreachable(repo: str, error: Exception) -> ModelNotFound:
    reason = type(error.__cause__ or error).__name__
    return ModelNotFound(
        f"cannot reach the model hub for {repo} ({reason})",
        hint="connect and try again, or copy the model here and use local-dir:PATH; the model 'mini' needs no network",
    )


def _bar(file: str, progress: DownloadFn) -> Any:
    """A class for the hub's client that hands on its progress and draws nothing."""
    tqdm: Any = import_module("tqdm").tqdm

    def init(self: Any, *args: Any, **options: Any) -> None:
        options.pop("name", None)  # the client's own class knows it, tqdm does not
        tqdm.__init__(self, *args, **{**options, "disable": False, "file": _Nowhere()})

    def update(self: Any, n: float | None = 1) -> Any:
        shown = tqdm.update(self, n)
        progress(file, int(self.n), None if self.total is None else int(self.total))
        return shown

    return type("Bar", (tqdm,), {"__init__": init, "update": update})


class _Nowhere:
    def write(self, _: str) -> int:
        return 0

    def flush(self) -> None: ...
