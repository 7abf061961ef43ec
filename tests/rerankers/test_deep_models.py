"""A user's own matching models: tiny random ones, saved by the libraries that they come from."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import mmsearch as mm
from mmsearch.errors import ModelCorrupt
from mmsearch.matchers import matcher

COLOURS = ("red", "blue", "green")


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    """A folder as BLIP's own save_pretrained leaves it, and the model."""
    transformers = pytest.importorskip("transformers")
    import torch

    folder = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", *COLOURS, "square"]
    (folder / "vocab.txt").write_text("\n".join(words))
    sides = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BlipConfig(
        text_config={**sides, "vocab_size": 16, "encoder_hidden_size": 32, "projection_dim": 16, "max_position_embeddings": 16,
                     "pad_token_id": 0, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3},
        vision_config={**sides, "image_size": 32, "patch_size": 8}, projection_dim=16, image_text_hidden_size=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BlipForImageTextRetrieval(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and ("crossattention" in name or "vision" in name):
                parameter.normal_(0, 0.5)  # or the pictures hardly change the logits
    model.save_pretrained(folder)
    processor = transformers.BlipProcessor(
        transformers.BlipImageProcessor(size={"height": 32, "width": 32}), transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    )
    processor.save_pretrained(folder)
    return folder, model, processor


def squares():
    """A colour in the corner, and tiles that differ from picture to picture."""
    out = []
    for seed, colour in enumerate(COLOURS):
        picture = Image.new("RGB", (40, 30), colour)
        tiles = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        picture.paste(Image.fromarray(tiles).resize((32, 22), Image.Resampling.NEAREST), (8, 8))
        out.append(picture)
    return out


def test_blip_gives_what_transformers_gives(blip):
    import torch

    folder, model, processor = blip
    ours = matcher(f"deep:{folder}")
    got = ours.match("a red square", ours.look([ours.prepare(picture) for picture in squares()]))
    given = processor(images=squares(), text=["a red square"] * 3, return_tensors="pt")
    with torch.inference_mode():
        scores = model(**given, use_itm_head=True).itm_score
    np.testing.assert_allclose(got, (scores[:, 1] - scores[:, 0]).numpy(), atol=5e-3)
    assert np.ptp(got) > 0.02


def test_a_search_reranked_by_blip(blip, tmp_path):
    folder = blip[0]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for colour, picture in zip(COLOURS, squares(), strict=True):
        picture.save(pictures / f"{colour}.png")
    ours = matcher(f"deep:{folder}")
    logits = ours.match("a square", ours.look([ours.prepare(picture) for picture in squares()]))
    with mm.Collection.open(tmp_path / "c", create=True, model="toy") as collection:
        collection.sync(mm.Folder(pictures))
        hits = collection.search("a square", rerank=f"deep:{folder}")
    assert [hit.id for hit in hits] == [f"{COLOURS[at]}.png" for at in np.argsort(-logits)]


def test_a_model_without_its_weights_is_refused(blip, tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip"}))
    with pytest.raises(ModelCorrupt, match="cannot be loaded"):
        matcher(f"deep:{tmp_path}").look([np.zeros((3, 32, 32), np.float32)])


def test_a_cross_encoder_is_asked_with_text_and_picture(tmp_path, monkeypatch):
    """The library's own loading is its own affair: what is proved here is which pairs it is given, and in which order."""
    library = pytest.importorskip("sentence_transformers")
    seen = []

    class Stub:
        def __init__(self, where, *, local_files_only):
            assert (where, local_files_only) == (str(tmp_path), True)

        def predict(self, pairs, *, batch_size, show_progress_bar):
            seen.extend(pairs)
            return np.array([float(picture.getpixel((0, 0))[0]) for _, picture in pairs])

    monkeypatch.setattr(library, "CrossEncoder", Stub)
    (tmp_path / "modules.json").write_text("[]")
    ours = matcher(f"deep:{tmp_path}")
    assert ours.weight is None
    got = ours.match("a square", ours.look([ours.prepare(picture) for picture in squares()]))
    assert got.tolist() == [255.0, 0.0, 0.0]
    assert [text for text, _ in seen] == ["a square"] * 3
    assert seen[1][1].getpixel((1, 1)) == (0, 0, 255)


TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    """A folder as CrossEncoder.save_pretrained leaves it, over a tiny LLaVA that answers yes or no; the model, its processor."""
    tf, library = pytest.importorskip("transformers"), pytest.importorskip("sentence_transformers")
    import torch
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.cross_encoder.modules.logit_score import LogitScore
    from tokenizers import Tokenizer, models, pre_tokenizers

    base, folder = tmp_path_factory.mktemp("llava"), tmp_path_factory.mktemp("cross")
    words = ["<pad>", "<unk>", "<image>", "yes", "no", "a", *COLOURS, "square", "query", "document"]
    split = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    split.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=split, pad_token="<pad>", unk_token="<unk>", additional_special_tokens=["<image>"], model_max_length=200
    )
    processor = tf.LlavaProcessor(
        tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}), tokenizer, patch_size=8,
        vision_feature_select_strategy="default", chat_template=TEMPLATE, num_additional_image_tokens=1, image_token="<image>",
    )  # fmt: skip
    sides = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = tf.LlavaConfig(
        vision_config={**sides, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, "projection_dim": 16},
        text_config={**sides, "model_type": "llama", "vocab_size": 16, "num_key_value_heads": 2, "max_position_embeddings": 256,
                     "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None},
        image_token_index=2, vision_feature_layer=-1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = tf.LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.3)
    model.save_pretrained(base)
    processor.save_pretrained(base)
    modules = [Transformer(str(base), transformer_task="any-to-any"), LogitScore(words.index("yes"), words.index("no"))]
    library.CrossEncoder(modules=modules).save_pretrained(str(folder))
    return folder, model, processor


def test_a_real_cross_encoder_gives_what_transformers_gives(llava):
    """Sigmoid of the logit of "yes" less that of "no", worked out by transformers alone."""
    import torch

    folder, model, processor = llava
    ours = matcher(f"deep:{folder}")
    prepared = [ours.prepare(picture) for picture in squares()]
    got = ours.match("a red square", ours.look(prepared))
    images = [Image.fromarray(one) for one in prepared]
    given = processor(images=images, text=["query a red square document <image> "] * 3, return_tensors="pt")
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        logits = model(**given).logits[:, -1]
    np.testing.assert_allclose(got, torch.sigmoid(logits[:, 3] - logits[:, 4]).numpy(), atol=1e-4)
    assert np.ptp(got) > 2e-3
    other = ours.match("a blue square", ours.look(prepared))
    assert np.abs(got - other).max() > 2e-3
