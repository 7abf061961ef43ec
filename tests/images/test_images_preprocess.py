"""Our preprocessing against open_clip's own transform: no pixel differs; drafts hardly move an embedding."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.images import open_image
from mmsearch.preprocess import SIZE_FACTOR, Preprocess, normalize

from .image_samples import encode, noise, photo, smooth

SIZES = [
    (1, 1), (1, 300), (300, 1), (2, 5), (7, 3), (31, 1000), (223, 224), (224, 224), (224, 223), (224, 300), (225, 224),
    (333, 517), (517, 333), (640, 480), (481, 640), (777, 778), (449, 1), (1, 449),
]  # fmt: skip


@pytest.fixture(scope="module")
def transform() -> Any:
    return pytest.importorskip("open_clip.transform")


def theirs(transform: Any, picture: Image.Image, **config: Any) -> np.ndarray:
    steps = transform.image_transform_v2(transform.PreprocessCfg(**config), is_train=False).transforms
    for step in steps[:-2]:  # all but ToTensor and Normalize
        picture = step(picture)
    return np.asarray(picture)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [224, 32, (96, 160), (160, 96)], ids=str)
def test_no_pixel_differs_from_open_clip(transform: Any, size: Any, mode: Any, interpolation: Any) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng(width + height)
    some = [SIZES[i] for i in rng.choice(len(SIZES), 6, replace=False)]
    random = [(int(w), int(h)) for w, h in rng.integers(1, 700, (3, 2))]
    for shape in some + random:
        picture = noise(*shape, seed=shape[0])
        ours = Preprocess(width, height, mode, interpolation, 127)(picture)
        assert ours.shape == (height, width, 3)
        assert ours.dtype == np.uint8
        try:
            expected = theirs(transform, picture, size=size, resize_mode=mode, interpolation=interpolation, fill_color=127)
        except ValueError:  # open_clip rounds the thin side to 0 there
            assert mode == "longest"
            assert max(shape) / min(shape) > 2 * min(width, height) * 0.9
            continue
        assert (ours == expected).all(), shape


@pytest.mark.parametrize("mode", ["P", "L", "CMYK", "RGBA"])
def test_other_modes_are_converted_as_open_clip_does(transform: Any, mode: str) -> None:
    picture = noise(90, 70).convert(mode)
    assert (Preprocess(32, 32)(picture) == theirs(transform, picture, size=32)).all()


def test_a_picture_of_1_by_20000(transform: Any) -> None:
    # open_clip would need 4 GB for it. At a scale of exactly 224 its middle is the same as that of a shorter one.
    tall = noise(1, 20_000)
    short = tall.crop((0, 9_900, 1, 10_100))
    expected = theirs(transform, short, size=224)
    assert (Preprocess(224, 224)(tall) == expected).all()
    wide = tall.transpose(Image.Transpose.ROTATE_90)
    middle = wide.crop((9_900, 0, 10_100, 1))
    assert (Preprocess(224, 224)(wide) == theirs(transform, middle, size=224)).all()
    for mode in ("longest", "squash"):
        assert Preprocess(224, 224, mode)(tall).shape == (224, 224, 3)  # type: ignore[arg-type]


def test_long_pictures_are_resized_the_same_on_both_sides_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = smooth(37, 4000)  # smooth: Pillow may take the two passes in another order, and each one clips
    ordinary = Preprocess(224, 224)(picture).astype(int)
    monkeypatch.setattr("mmsearch.preprocess.MAX_RESIZED", 1)
    windowed = Preprocess(224, 224)(picture).astype(int)
    assert np.abs(ordinary - windowed).max() <= 2
    assert (ordinary != windowed).mean() < 0.05


def test_normalize_is_totensor_and_normalize(transform: Any) -> None:
    pictures = [np.asarray(noise(48, 32, seed)) for seed in range(3)]
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    config = transform.PreprocessCfg(size=(32, 48), mean=mean, std=std)
    steps = transform.image_transform_v2(config, is_train=False).transforms[-2:]
    expected = np.stack([steps[1](steps[0](Image.fromarray(p))).numpy() for p in pictures])
    for batch in (pictures, np.stack(pictures)):
        got = normalize(batch, mean, std)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        assert np.abs(got - expected).max() <= 1e-6


def test_the_whole_way_is_open_clips(transform: Any) -> None:
    picture = photo(333, 517)
    config = transform.PreprocessCfg(size=64)
    expected = transform.image_transform_v2(config, is_train=False)(picture).numpy()
    ours = normalize([Preprocess(64, 64)(picture)], config.mean, config.std)[0]
    assert np.abs(ours - expected).max() <= 1e-6


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    """JPEGs large enough to be decoded at a quarter of their size."""
    return [encode(photo(1600 + 37 * seed, 1300 - 51 * seed, seed), "JPEG", quality=90) for seed in range(4)]


def draft_vectors(encode_batch: Any, preprocess: Any, photos: list[bytes]) -> tuple[np.ndarray, np.ndarray, float]:
    """Vectors of photos decoded in full and as drafts, and how much smaller the drafts were."""
    full, draft, smaller = [], [], []
    for data in photos:
        whole, _ = open_image(data)
        quick, _ = open_image(data, at_least=preprocess.size)
        smaller.append(whole.width / quick.width)
        full.append(preprocess(whole))
        draft.append(preprocess(quick))
    return encode_batch(full), encode_batch(draft), min(smaller)


def test_drafts_hardly_move_an_embedding_of_a_random_vit(photos: list[bytes]) -> None:
    """A small randomly initialised ViT, as trained weights need not be at hand; see the next test for ours."""
    torch = pytest.importorskip("torch")
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    tower = open_clip.transformer.VisionTransformer(
        image_size=96, patch_size=16, width=192, layers=4, heads=3, mlp_ratio=4, output_dim=128
    ).eval()
    mean, std = open_clip.constants.OPENAI_DATASET_MEAN, open_clip.constants.OPENAI_DATASET_STD

    def run(batch: list[np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            vectors = tower(torch.from_numpy(normalize(batch, mean, std))).numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    full, draft, smaller = draft_vectors(run, Preprocess(96, 96), photos)
    assert smaller >= 3.9, "the drafts were drafts"
    assert (full * draft).sum(axis=1).min() >= 0.999
    assert np.abs(full @ full.T - np.eye(len(full))).max() > 0, "vectors of different photos differ"


def test_drafts_hardly_move_an_embedding_of_mini(photos: list[bytes]) -> None:
    onnx = pytest.importorskip("mmsearch.encoders.onnx")
    if not (onnx.MINI / "image.onnx").exists():
        pytest.skip("mini's weights are not in this tree")
    encoder = onnx.mini()
    full, draft, smaller = draft_vectors(encoder.encode_images, encoder.preparer, photos)
    assert smaller > 1.9
    assert (full * draft).sum(axis=1).min() >= 0.999


def test_the_draft_rule() -> None:
    assert SIZE_FACTOR == 2
    assert Preprocess(224, 160).size == (448, 320)


def test_it_pickles_and_compares() -> None:
    one = Preprocess(224, 160, "longest", "bilinear", 3)
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(one) == hash(Preprocess(224, 160, "longest", "bilinear", 3))
    assert one != Preprocess(224, 160, "longest", "bilinear", 4)


@pytest.mark.parametrize("wrong", [(0, 5), (5, -1), (5, 5, "crop"), (5, 5, "squash", "nearest")])
def test_what_has_no_meaning_is_refused(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Preprocess(*wrong)


def test_it_is_light() -> None:
    code = (
        "import sys, mmsearch.preprocess, mmsearch.images, mmsearch.decoding.loader\n"
        "heavy = {'torch', 'open_clip', 'torchvision', 'sqlalchemy', 'faiss', 'onnxruntime', 'rawpy', 'pillow_heif'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
