"""Heat from inside a torch model: a ViT's patch tokens, or gradients for every other tower.

``patches``: in the last block of a ViT the class token gathers from all patches, and the patches' own places are lost. So
there each patch keeps its own *value*, as if it attended to itself alone, and goes on through the rest of the tower; its
cosine with the query is its heat (MaskCLIP: Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP", ECCV 2022; CLIP Surgery: Li
et al., 2023).

``gradients``: the derivative of the cosine at the last feature map, times the map itself, summed over channels (HiResCAM: Draelos,
Carin, 2020; where the map is pooled by its mean it is Grad-CAM: Selvaraju et al., ICCV 2017).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor, nn

from mmsearch.errors import UsageError
from mmsearch.preprocess import normalize

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["gradient_grid", "is_vit", "patch_grid"]

_LEAST = 4  # cells of a side: a coarser map says nothing of where


def is_vit(towers: Any) -> bool:
    """Whether the image tower is open_clip's own ViT with a class token or a mean at its end."""
    visual = towers.model.visual
    return all(hasattr(visual, name) for name in ("conv1", "transformer", "ln_post", "_embeds")) and visual.attn_pool is None


def patch_grid(towers: Any, picture: Image, vector: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(h, w)``: the cosine of each patch with the query. One forward pass."""
    visual = towers.model.visual
    with torch.inference_mode():
        x = visual._embeds(_input(towers, picture))
        *blocks, last = visual.transformer.resblocks
        sequence_first = not getattr(visual.transformer, "batch_first", True)
        if sequence_first:
            x = x.transpose(0, 1)
        for block in blocks:
            x = block(x)
        x = x + last.ls_1(_own_values(last.attn, last.ln_1(x)))
        x = x + last.ls_2(last.mlp(last.ln_2(x)))
        if sequence_first:
            x = x.transpose(0, 1)
        x = visual.ln_post(x)
        if visual.proj is not None:
            x = x @ visual.proj
        rows, columns = visual.grid_size
        patches = nn.functional.normalize(x[0, -rows * columns :].float(), dim=-1)
        return np.asarray((patches @ _query(towers, vector)).reshape(rows, columns).cpu().numpy(), dtype=np.float64)


def _own_values(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """What the attention gives when every token attends to itself alone: its value, projected."""
    width = attention.embed_dim
    bias = attention.in_proj_bias
    value = nn.functional.linear(x, attention.in_proj_weight[2 * width :], None if bias is None else bias[2 * width :])
    return attention.out_proj(value)  # type: ignore[no-any-return]


def gradient_grid(towers: Any, picture: Image, vector: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(h, w)``: gradient times activation of the last feature map, negative places as 0. One forward and one backward pass.

    Raises :class:`UsageError` for a tower without any map of places.
    """
    maps: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad and _places(output) is not None:
            maps.append(output)

    # in inference mode nothing could be derived, and hooks are a model's own: another thread may run it meanwhile, so
    # what it adds is told apart by the graph below
    hooks = [module.register_forward_hook(keep) for module in towers.model.visual.modules()]
    try:
        with torch.enable_grad():
            row = towers.model.encode_image(_input(towers, picture).requires_grad_(True))
            score = nn.functional.normalize(row[0].float(), dim=-1) @ _query(towers, vector)
    finally:
        for hook in hooks:
            hook.remove()
    flat = [one for one in maps if one.ndim == 4] or maps
    for activation in reversed(flat):
        (slope,) = torch.autograd.grad(score, activation, retain_graph=True, allow_unused=True)
        if slope is not None:
            return _heat(activation.detach(), slope)
    raise UsageError("this model's picture tower has no map of places", hint="use method='windows'")


def _places(x: Tensor) -> tuple[int, int] | None:
    """Rows and columns of a map ``(1, c, h, w)``, ``(1, h, w, c)`` or of tokens ``(1, n, c)``, with or without a class token."""
    if x.ndim == 4 and x.shape[0] == 1:
        rows, columns = (x.shape[1], x.shape[2]) if _channels_last(x) else (x.shape[2], x.shape[3])
        return (rows, columns) if min(rows, columns) >= _LEAST else None
    if x.ndim == 3 and x.shape[0] == 1:
        side = int(x.shape[1] ** 0.5)
        return (side, side) if side >= _LEAST and x.shape[1] - side * side <= 1 else None
    return None


def _channels_last(x: Tensor) -> bool:
    return x.shape[1] == x.shape[2] != x.shape[3]


def _heat(activation: Tensor, slope: Tensor) -> NDArray[np.float64]:
    places = _places(activation)
    assert places is not None
    product = (activation * slope).float()
    if product.ndim == 4:
        heat = product.sum(dim=3 if _channels_last(product) else 1)[0]
    else:
        heat = product[0, -places[0] * places[1] :].sum(dim=1).reshape(places)
    return np.asarray(heat.clamp_min(0).cpu().numpy(), dtype=np.float64)


def _input(towers: Any, picture: Image) -> Tensor:
    """The whole picture squashed to the model's input, ``(1, 3, h, w)``: a cropped border would have no heat."""
    pre = towers.preprocessing
    pixels = np.asarray(picture.resize((pre.width, pre.height), Pillow.Resampling.BICUBIC))
    return torch.from_numpy(normalize([pixels], pre.mean, pre.std)).to(towers.device, towers.dtype)


def _query(towers: Any, vector: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.asarray(vector, dtype=np.float32)).to(towers.device)
