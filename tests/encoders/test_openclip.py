"""OpenClipEncoder against open_clip's own encode on the same pixels and tokens, for each kind of tower."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from mmsearch.encoders import _towers
from mmsearch.encoders.openclip import OpenClipEncoder
from mmsearch.errors import ModelError, UsageError
from mmsearch.testing.encoders import TEXTS, pictures
from tests.encoders.conftest import SMALL_BPE, TEXT, VIT

RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "patch_size": None}
TIMM = {"image_size": 64, "timm_model_name": "resnet10t", "timm_model_pretrained": False,
        "timm_pool": "avg", "timm_proj": "linear"}
SIGLIP_TEXT = {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}
COCA = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1, "embed_cls": True,
        "output_tokens": True}
COCA_VIT = {**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}

KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "vit": ({}, True),
    "vit, wide pictures": ({"vision": {**VIT, "image_size": [32, 64]}}, True),
    "resnet": ({"vision": RESNET}, True),
    "timm": ({"vision": TIMM}, True),
    "custom text": ({"custom_text": True}, True),
    "end symbol by id": ({"custom_text": True, "text": {**TEXT, "pool_type": "eos", "eos_id": 49407}}, True),
    "siglip": ({"custom_text": True, "text": SIGLIP_TEXT, "init_logit_bias": -10.0}, False),
    "coca": ({"vision": COCA_VIT, "text": COCA, "multimodal_cfg": COCA, "custom_text": True}, False),
}
"""Name → the model's options, and whether texts may be cut to their length."""


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, make: Callable[..., Path]) -> tuple[Path, bool]:
    options, cuts = KINDS[request.param]
    return make(**options), cuts


def reference(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What open_clip itself makes of the suite's pictures and texts."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(list(TEXTS))
    model.eval()
    with torch.inference_mode():
        images = model.encode_image(torch.stack([transform(picture) for picture in pictures()]), normalize=True)
        texts = model.encode_text(tokens, normalize=True)
    return images.numpy(), texts.numpy()


def test_rows_are_those_of_open_clip(kind: tuple[Path, bool]) -> None:
    folder, cuts = kind
    encoder = OpenClipEncoder(f"local-dir:{folder}", precision="fp32", device="cpu")
    images, texts = reference(folder)
    prepared = [encoder.preparer(picture) for picture in pictures()]
    np.testing.assert_allclose(encoder.encode_images(prepared), images, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=1e-5)
    assert (encoder.towers.cut is not None) == cuts
    assert not encoder.towers.model.training


def test_texts_are_cut_to_the_longest_of_their_batch(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = OpenClipEncoder(f"local-dir:{vit}", precision="fp32", device="cpu", batch_size=2)
    seen: list[tuple[int, ...]] = []
    cut = encoder.towers.cut
    assert cut is not None
    spied = dataclasses.replace(encoder.towers, cut=lambda tokens: seen.append(tuple(tokens.shape)) or cut(tokens))
    monkeypatch.setattr(encoder, "_loaded", (spied, encoder._load()[1]))
    encoder.encode_texts(["one two three four five six", "a", "a b c", "word " * 100, "b"])
    assert seen == [(2, 3), (2, 8), (1, 24)]


def test_low_precision_stays_close(vit: Path) -> None:
    exact = OpenClipEncoder(f"local-dir:{vit}", precision="fp32", device="cpu")
    prepared = [exact.preparer(picture) for picture in pictures()]
    for precision in ("bf16", "fp16"):
        low = OpenClipEncoder(f"local-dir:{vit}", precision=precision, device="cpu")
        assert low.spec.fingerprint == exact.spec.fingerprint
        cosines = (low.encode_images(prepared) * exact.encode_images(prepared)).sum(axis=1)
        assert 0.999 <= cosines.min() < 1
        assert low.spec.precision == precision
        assert low.towers.dtype is _towers.DTYPES[precision]


@pytest.mark.parametrize("has_bf16", [True, False])
def test_auto_uses_bf16_where_the_hardware_has_it(
    vit: Path, has_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: has_bf16)
    encoder = OpenClipEncoder(f"local-dir:{vit}", device="cpu")
    assert encoder.spec.precision == "auto"
    encoder.encode_texts(["a"])
    assert encoder.spec.precision == ("bf16" if has_bf16 else "fp32")


def test_too_far_from_fp32(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(seed=1)
    monkeypatch.setattr(_towers, "MIN_PARITY", 1.1)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    auto = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    exact = OpenClipEncoder(f"local-dir:{folder}", device="cpu", precision="fp32")
    np.testing.assert_array_equal(auto.encode_texts(TEXTS), exact.encode_texts(TEXTS))
    assert auto.spec.precision == "fp32"
    with pytest.raises(ModelError, match="bf16 changes what .* sees") as caught:
        OpenClipEncoder(f"local-dir:{folder}", device="cpu", precision="bf16").encode_texts(["a"])
    assert caught.value.hint == "use precision='fp32'"


def test_what_was_proved_is_not_proved_again(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    OpenClipEncoder(f"local-dir:{vit}", device="cpu", precision="bf16").encode_texts(["a"])
    monkeypatch.setattr(_towers, "_probe", lambda towers: pytest.fail("proved again"))
    OpenClipEncoder(f"local-dir:{vit}", device="cpu", precision="bf16").encode_texts(["a"])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError(),
    ],
)
def test_batches_are_halved_when_memory_runs_out(
    small: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = OpenClipEncoder(f"local-dir:{small}", precision="fp32", device="cpu", batch_size=16)
    prepared = [encoder.preparer(picture) for picture in pictures()] * 4
    expected = encoder.encode_images(prepared)
    whole, sizes = _towers.Towers.images, []

    def images(self: _towers.Towers, batch: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 5:
            raise error
        return whole(self, batch)

    monkeypatch.setattr(_towers.Towers, "images", images)
    np.testing.assert_allclose(encoder.encode_images(prepared), expected, atol=1e-5)
    assert sizes == [16, 8, 4, 4, 4, 4, 4]
    assert encoder.batch_size == 4


def test_one_item_that_does_not_fit(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = OpenClipEncoder(f"local-dir:{small}", precision="fp32", device="cpu")

    def full(self: object, batch: object) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(_towers.Towers, "texts", full)
    with pytest.raises(ModelError, match="not enough memory to encode a single item"):
        encoder.encode_texts(["a", "b"])


def test_other_errors_are_named_and_keep_their_cause(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = OpenClipEncoder(f"local-dir:{small}", precision="fp32", device="cpu")

    def broken(self: object, batch: object) -> Any:
        raise RuntimeError("expected scalar type Float")

    monkeypatch.setattr(_towers.Towers, "texts", broken)
    with pytest.raises(ModelError, match="cannot encode this: expected scalar") as caught:
        encoder.encode_texts(["a"])
    assert type(caught.value.__cause__) is RuntimeError
    assert encoder.batch_size == 32


def test_numbers_that_are_not_finite(make: Callable[..., Path]) -> None:
    encoder = OpenClipEncoder(f"local-dir:{make(seed=2)}", precision="fp32", device="cpu")
    encoder.towers.model.text_projection.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        encoder.encode_texts(["a"])


def test_arrays_of_a_wrong_shape(small: Path) -> None:
    encoder = OpenClipEncoder(f"local-dir:{small}")
    with pytest.raises(UsageError, match=r"takes uint8 arrays \(32, 32, 3\), and got uint8 \(31, 32, 3\)"):
        encoder.encode_images([np.zeros((31, 32, 3), dtype=np.uint8)])
    with pytest.raises(UsageError, match="got float32"):
        encoder.encode_images([np.zeros((32, 32, 3), dtype=np.float32)])


def test_devices_and_precisions_that_do_not_exist(small: Path) -> None:
    for device in ("cuda:99", "tpu", "cpu:x"):
        with pytest.raises(UsageError, match="no device"):
            OpenClipEncoder(f"local-dir:{small}", device=device).encode_texts(["a"])
    with pytest.raises(UsageError, match="no precision is called 'int4'"):
        OpenClipEncoder("x", precision="int4")
    with pytest.raises(UsageError, match="a batch of 0"):
        OpenClipEncoder("x", batch_size=0)


def test_the_spec_needs_no_torch(small: Path) -> None:
    code = (
        "import sys; from mmsearch.encoders.openclip import OpenClipEncoder\n"
        f"encoder = OpenClipEncoder('local-dir:{small}'); print(encoder.spec.dim, encoder.preparer.size)\n"
        "assert not {'torch', 'open_clip', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("24 (64, 64)\n", "")


def test_fingerprint_is_of_what_matters(small: Path, make: Callable[..., Path]) -> None:
    def of(folder: Path, **options: Any) -> str:
        return OpenClipEncoder(f"local-dir:{folder}", **options).spec.fingerprint

    same = of(small)
    assert of(small, device="cpu", precision="bf16", batch_size=3, licence="MIT") == same
    assert of(make(text=SMALL_BPE, merges=200)) == same, "the same model in another folder"
    others = {
        "weights": of(make(text=SMALL_BPE, merges=200, seed=9)),
        "mean": of(make(text=SMALL_BPE, merges=200, preprocess={"mean": [0.4, 0.5, 0.5], "std": [0.5] * 3})),
        "mode": of(make(text=SMALL_BPE, merges=200, preprocess={"mean": [0.5] * 3, "std": [0.5] * 3,
                                                                "resize_mode": "longest"})),
        "tokenizer": of(make(text=SMALL_BPE, merges=199)),
    }
    assert len({same, *others.values()}) == 5


def test_nothing_reaches_the_network(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> Any:
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    encoder = OpenClipEncoder(f"local-dir:{vit}", device="cpu")
    assert encoder.encode_texts(["a"]).shape == (1, 24)
