"""A loaded open_clip model: built, proved on a probe batch, and run. The module that imports torch and open_clip.

Two things are proved rather than believed, and remembered by the fingerprint: that cutting texts to their real length
changes nothing (for a causal tower that pools the end symbol), and that low precision stays close to fp32.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import open_clip
import torch
from huggingface_hub import constants as hub_constants
from numpy.typing import NDArray
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from mmsearch.encoders._checkpoint import Checkpoint
from mmsearch.encoders._facts import recall, remember
from mmsearch.encoders._identity import MIN_PARITY, Preprocessing
from mmsearch.encoders._tokenize import Tokenizer, pad
from mmsearch.errors import MissingExtra, ModelCorrupt, ModelError, UsageError
from mmsearch.types import Vectors

__all__ = ["Towers", "build", "free_memory", "is_out_of_memory", "load", "pick_device", "pick_dtype", "probe_pixels"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CUT_TOLERANCE = 1e-5
"""Largest difference of any number of a unit row that counts as the same, when texts are cut."""
PROBE_TEXTS = ("a dog", "two children are playing football in the rain beside a very old red brick house, 1984", "sky")


@dataclass(frozen=True)
class Towers:
    """Both towers on their device. Safe to use from many threads."""

    model: nn.Module
    device: torch.device
    dtype: torch.dtype
    preprocessing: Preprocessing
    tokenizer: Tokenizer
    cut: Callable[[Tensor], Tensor] | None
    """Encodes token rows that are shorter than the context; ``None`` where that would change the result."""

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``fp16``."""
        return next(name for name, dtype in DTYPES.items() if dtype is self.dtype)

    def images(self, batch: Sequence[NDArray[np.uint8]]) -> Vectors:
        """``(n, dim)`` unit rows of ``n`` prepared pictures."""
        pixels = torch.from_numpy(np.stack(batch))
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        with torch.inference_mode():
            # the bytes travel, not floats; and (n, h, w, 3) seen as (n, 3, h, w) is channels_last already
            x = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
            mean = torch.tensor(self.preprocessing.mean, device=self.device).view(1, 3, 1, 1)
            std = torch.tensor(self.preprocessing.std, device=self.device).view(1, 3, 1, 1)
            x = x.sub_(255 * mean).div_(255 * std).to(self.dtype)
            return _unit(self.model.encode_image(x))  # type: ignore[operator]

    def texts(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """``(n, dim)`` unit rows of ``n`` token rows without padding."""
        encode: Callable[[Tensor], Tensor] = self.cut or self.model.encode_text  # type: ignore[assignment]
        length = max(map(len, rows)) if self.cut else self.tokenizer.context_length
        tokens = torch.from_numpy(pad(rows, length, self.tokenizer.padding))
        with torch.inference_mode():
            return _unit(encode(tokens.to(self.device)))


def load(
    checkpoint: Checkpoint, tokenizer: Tokenizer, *, identity: str, device: torch.device, precision: str
) -> Towers:
    """Read the weights and prove what may be done with them; ``identity`` is the fingerprint. Seconds.

    Raises :class:`ModelCorrupt`, and :class:`ModelError` where a precision that was asked for is too far from fp32.
    """
    dtype = pick_dtype(precision, device)
    model = build(checkpoint).to(device)
    cut = _prove_cut(model, tokenizer, device, f"cut {identity} {_versions()}")
    towers = Towers(model, device, torch.float32, checkpoint.preprocessing, tokenizer, cut)
    if dtype is torch.float32:
        return towers
    key = f"parity {identity} {dtype} {_machine(device)} {_versions()}"
    parity: float | None = recall(key)
    reference = _probe(towers) if parity is None else None
    if parity is None or parity >= MIN_PARITY:
        low = Towers(model.to(dtype), device, dtype, checkpoint.preprocessing, tokenizer, cut)
        if reference is None:
            return low
        parity = float((reference * _probe(low)).sum(axis=1).min())
        remember(key, parity)
        if parity >= MIN_PARITY:
            return low
        model = build(checkpoint).to(device)  # what was rounded cannot be taken back
    if precision != "auto":
        raise ModelError(
            f"{precision} changes what {checkpoint.name} sees (cosine {parity:.4f} to fp32)",
            hint="use precision='fp32'",
        )
    cut = _prove_cut(model, tokenizer, device, f"cut {identity} {_versions()}")
    return Towers(model, device, torch.float32, checkpoint.preprocessing, tokenizer, cut)


def build(checkpoint: Checkpoint) -> nn.Module:
    """The model in fp32 on the CPU, in evaluation mode (open_clip leaves models in training mode)."""
    if checkpoint.model_cfg.get("text_cfg", {}).get("hf_model_name") and find_spec("transformers") is None:
        raise MissingExtra(f"the text tower of {checkpoint.name} needs transformers", hint="pip install transformers")
    try:
        with _quiet(), _no_downloads():
            model = open_clip.create_model(
                checkpoint.source,
                pretrained=checkpoint.pretrained,
                force_quick_gelu=checkpoint.quick_gelu,
                force_preprocess_cfg=checkpoint.preprocessing.open_clip(),
                pretrained_text=False,
                require_pretrained=True,
                weights_only=True,
            )
    except Exception as error:  # noqa: BLE001 -- open_clip, torch, safetensors and pickle raise all kinds
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelCorrupt(
            f"{checkpoint.weights} cannot be loaded as {checkpoint.name}: {why[0][:200]}",
            hint="fetch the file again, or check that it belongs to this architecture",
        ) from error
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if sum(isinstance(module, nn.Conv2d) for module in model.visual.modules()) > 4:
        model.visual.to(memory_format=torch.channels_last)  # a ViT has one convolution and gains nothing
    return model.eval()  # type: ignore[no-any-return]


def pick_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. Raises :class:`UsageError` if the machine has none such."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        there = {
            "cpu": True,
            "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
            "mps": torch.backends.mps.is_available(),
        }.get(device.type, False)
    except RuntimeError:
        there = False
    if not there:
        raise UsageError(f"this machine has no device {name!r} that can be used", hint="use --device auto, or cpu")
    return device


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The arithmetic to try: for ``auto`` bf16 where the hardware has it, else fp32."""
    if precision != "auto":
        if precision not in DTYPES:
            raise UsageError(f"no precision is called {precision!r}", hint="precisions: auto, fp32, bf16, fp16")
        return DTYPES[precision]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        cpu: Any = torch.cpu
        fast = device.type == "cpu" and any(
            getattr(cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return torch.bfloat16 if fast else torch.float32


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's or the host's memory ran out; torch has no class of its own for the host's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("can't allocate memory", "not enough memory", "out of memory", "failed to allocate")
    )


def free_memory() -> None:
    """Give back what torch's allocator on the GPU keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _unit(features: Tensor) -> Vectors:
    rows: Vectors = nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    if not np.isfinite(rows).all():
        raise ModelError("the model returned numbers that are not finite", hint="use precision='fp32'")
    return rows


def _prove_cut(
    model: nn.Module, tokenizer: Tokenizer, device: torch.device, key: str
) -> Callable[[Tensor], Tensor] | None:
    """A function that encodes short token rows exactly as padded ones, or ``None`` where none does."""
    encode: Callable[[Tensor], Tensor] = _causal(model) or model.encode_text  # type: ignore[assignment]
    known = recall(key)
    if known is not None:
        return encode if known else None
    rows = sorted(tokenizer.rows(PROBE_TEXTS), key=len)
    rows = [row for row in rows if len(row) < tokenizer.context_length]  # a small vocabulary makes long rows
    exact = len(rows) > 1
    full = torch.from_numpy(pad(rows, tokenizer.context_length, tokenizer.padding)).to(device)
    try:
        with torch.inference_mode():
            padded = _unit(model.encode_text(full))  # type: ignore[operator]
            for count in (1, len(rows)):
                cut = _unit(encode(full[:count, : len(rows[count - 1])]))
                exact = exact and bool(np.abs(cut - padded[:count]).max() < CUT_TOLERANCE)
    except (RuntimeError, IndexError, ValueError):
        exact = False  # this tower takes its full length only
    remember(key, exact)
    return encode if exact else None


def _causal(model: Any) -> Callable[[Tensor], Tensor] | None:
    """open_clip's text forward, with positions and mask cut to the rows' length; open_clip's own wants them full."""
    text = getattr(model, "text", model)
    parts = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
    if not all(hasattr(text, part) for part in parts) or getattr(text, "cls_emb", None) is not None:
        return None
    if getattr(text, "attn_mask", None) is None:
        return None
    pool = text.pool_type if hasattr(text, "pool_type") else text.text_pool_type
    end = getattr(text, "eos_id", getattr(text, "text_eos_id", None))

    def encode(tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        dtype = text.transformer.get_cast_dtype()
        x: Tensor = text.token_embedding(tokens).to(dtype) + text.positional_embedding[:length].to(dtype)
        x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask[:length, :length]))
        x = text_global_pool(x, tokens, pool, eos_token_id=end)
        if isinstance(text.text_projection, nn.Linear):
            x = text.text_projection(x)
        elif text.text_projection is not None:
            x = x @ text.text_projection
        return x

    return encode


def probe_pixels(preprocessing: Preprocessing) -> list[NDArray[np.uint8]]:
    """Four made pictures: ramps, rings, stripes, coarse noise. The same on every machine."""
    width, height = preprocessing.width, preprocessing.height
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    rings = np.sin(40 * np.hypot(x - 0.4, y - 0.6))
    noise = np.random.default_rng(0).random((8, 8, 3))
    coarse = noise[(y * 7.99).astype(int), (x * 7.99).astype(int)]
    pictures = [
        np.stack([x, y, 1 - x], axis=2),
        np.stack([rings, x, y], axis=2) / 2 + 0.5,
        np.stack([np.sin(60 * x) > 0, y > 0.5, x * y], axis=2),
        coarse,
    ]
    return [(np.clip(picture, 0, 1) * 255).astype(np.uint8) for picture in pictures]


def _probe(towers: Towers) -> Vectors:
    pixels = probe_pixels(towers.preprocessing)
    return np.concatenate([towers.images(pixels), towers.texts(towers.tokenizer.rows(PROBE_TEXTS))])


def _versions() -> str:
    return f"torch {torch.__version__} open_clip {open_clip.__version__}"


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"


@contextlib.contextmanager
def _no_downloads() -> Iterator[None]:
    """Towers from transformers fetch their configuration by themselves; here, only what is cached may be used."""
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs through the root logger, which would install a handler that writes to stderr for all."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
