"""``deep``: the order against sums worked out by hand, pictures looked at once, and the matching head against torch."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmsearch as mm
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.errors import InputError, ModelCorrupt, ModelNotFound, QueryError, UsageError
from mmsearch.protocols import RerankContext
from mmsearch.rerankers.deep import DeepReranker
from mmsearch.rerankers.deep_cells import Cells
from mmsearch.testing.indexes import unit_rows
from mmsearch.testing.rerankers import RerankerConformance
from mmsearch.types import Hit, Kind


class Redness:
    """A matcher whose logit is how much of the picture's colour the text names."""

    towers: str | None = None
    weight: float | None = 0.5
    size = (4, 4)

    def __init__(self):
        self.looked = 0

    def prepare(self, picture):
        return np.asarray(picture.resize((1, 1)))

    def look(self, pictures):
        self.looked += len(pictures)
        return np.stack(pictures).reshape(len(pictures), 1, 3).astype(np.float16)

    def match(self, text, cells):
        return np.asarray(cells[:, 0, ["red", "green", "blue"].index(text)] / 255, dtype=np.float32)


def picture_of(hit, size):
    if hit.meta.get("gone"):
        raise InputError("vanished", "gone")
    return Image.new("RGB", (8, 8), ((hit.vid * 37) % 256, (hit.vid * 91) % 256, 0))


class TestDeep(RerankerConformance):
    def build(self):
        return DeepReranker(Redness(), top=20, load=picture_of)

    def given(self, rows, start=1):
        return [replace(hit, kind=Kind.IMAGE, text=None) for hit in super().given(rows, start)]

    def test_equal_items_keep_their_order(self):
        rows = np.repeat(unit_rows(1, self.dim, 3), 5, axis=0)
        reranker = DeepReranker(Redness(), load=lambda hit, size: Image.new("RGB", (2, 2), "red"))
        hits = self.given(rows)
        got = reranker.rerank(self.query(), hits, RerankContext(rows[0], rows, ToyEncoder(self.dim)))
        assert [hit.vid for hit in got] == [hit.vid for hit in hits]


def hits_of(n, **more):
    return [Hit(at + 1, f"i{at}", Kind.IMAGE, 0.9 - at * 0.01, 100 + at, **more) for at in range(n)]


def context():
    return RerankContext(unit_rows(1, 64, 0)[0], unit_rows(3, 64, 1), ToyEncoder(64))


def test_the_order_is_that_of_cosine_and_logit_and_the_rest_stays_behind():
    hits = hits_of(30)
    got = DeepReranker(Redness(), top=12, load=picture_of).rerank(mm.text("red"), hits, context())
    wanted = {hit.vid: hit.score + 0.5 * float(np.float16((hit.vid * 37) % 256)) / 255 for hit in hits[:12]}
    assert [hit.vid for hit in got[:12]] == sorted(wanted, key=lambda vid: -wanted[vid])
    assert [hit.rerank for hit in got[:12]] == pytest.approx(sorted(wanted.values(), reverse=True), abs=2e-4)
    assert [hit.vid for hit in got[12:]] == [hit.vid for hit in hits[12:]]


def test_terms_count_by_their_weights():
    hits = hits_of(9)
    query = mm.text("red") - 0.7 * mm.text("green")
    got = DeepReranker(Redness(), load=picture_of).rerank(query, hits, context())
    value = {hit.vid: hit.score + 0.5 * ((hit.vid * 37 % 256) - 0.7 * (hit.vid * 91 % 256)) / 255 for hit in hits}
    assert [hit.vid for hit in got] == sorted(value, key=lambda vid: -value[vid])


def test_a_matcher_without_a_weight_decides_alone():
    matcher = Redness()
    matcher.weight = None
    got = DeepReranker(matcher, load=picture_of).rerank(mm.text("red"), hits_of(20), context())
    reds = [(hit.vid * 37) % 256 for hit in got]
    assert reds == sorted(reds, reverse=True)


def test_pictures_that_are_gone_come_behind_those_that_are_there():
    hits = [replace(hit, meta={"gone": True}) if at in (0, 3) else hit for at, hit in enumerate(hits_of(6))]
    got = DeepReranker(Redness(), load=picture_of).rerank(mm.text("red"), hits, context())
    assert [hit.id for hit in got[-2:]] == ["i0", "i3"]
    assert (np.diff([hit.rerank for hit in got]) <= 0).all()


def test_a_file_that_cannot_be_opened_is_no_error(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    names = ["broken.jpg", "absent.png", "red.png"]
    hits = [replace(hit, path=str(tmp_path / name)) for hit, name in zip(hits_of(3), names, strict=True)]
    hits.append(replace(hits_of(4)[3], path=None))
    got = DeepReranker(Redness()).rerank(mm.text("red"), hits, context())
    assert [hit.id for hit in got] == ["i2", "i0", "i1", "i3"]


def test_a_picture_is_looked_at_once():
    matcher = Redness()
    reranker = DeepReranker(matcher, top=10, load=picture_of)
    for _ in range(3):
        reranker.rerank(mm.text("red"), hits_of(10), context())
    assert matcher.looked == 10
    reranker.rerank(mm.text("green"), hits_of(12)[5:], context())
    assert matcher.looked == 12


def test_what_was_seen_is_kept_between_runs_by_digest(tmp_path):
    def run(offset=0):
        matcher = Redness()
        reranker = DeepReranker(matcher, cells=Cells(tmp_path / "cells"), load=picture_of,
                                digests=lambda vids: {vid: bytes([vid - offset]) * 32 for vid in vids if vid - offset != 103})
        hits = [replace(hit, vid=hit.vid + offset) for hit in hits_of(6)]
        got = reranker.rerank(mm.text("red"), hits, context())
        return matcher.looked, [hit.id for hit in got]

    looked, order = run()
    assert looked == 6
    assert len(list((tmp_path / "cells").iterdir())) == 5
    assert run() == (1, order)  # the one without a digest
    assert run(offset=50)[0] == 1  # other vids, same bytes
    file = next(iter(sorted((tmp_path / "cells").iterdir())))
    file.write_bytes(file.read_bytes()[:-1] + b"\x00\x01")
    assert run() == (2, order)


@pytest.mark.parametrize("damage", [b"", b"1234", b"\x00" * 40])
def test_a_damaged_file_of_cells_is_not_read(tmp_path, damage):
    cells = Cells(tmp_path)
    cells.put(1, b"d" * 32, np.ones((2, 3), dtype=np.float16))
    np.testing.assert_array_equal(Cells(tmp_path).far(1, b"d" * 32), np.ones((2, 3)))
    next(iter(tmp_path.iterdir())).write_bytes(damage)
    assert Cells(tmp_path).far(1, b"d" * 32) is None


def test_memory_is_bounded():
    cells = Cells(most=3)
    for vid in range(5):
        cells.put(vid, None, np.zeros((1, 1), dtype=np.float16))
    assert [cells.near(vid) is not None for vid in range(5)] == [False, False, True, True, True]


def test_what_it_cannot_compare_is_said():
    reranker = DeepReranker(Redness(), load=picture_of)
    with pytest.raises(QueryError, match="words with pictures"):
        reranker.rerank(mm.item("i0"), hits_of(3), context())
    with pytest.raises(QueryError, match="words with pictures"):
        reranker.rerank(mm.text("red"), [replace(hit, kind=Kind.TEXT) for hit in hits_of(3)], context())


def test_a_head_of_other_towers_is_refused():
    matcher = Redness()
    matcher.towers = "of another encoder"
    with pytest.raises(UsageError, match="belongs to mini"):
        DeepReranker(matcher, load=picture_of).rerank(mm.text("red"), hits_of(3), context())
    matcher.towers = ToyEncoder(64).spec.fingerprint
    assert DeepReranker(matcher, load=picture_of).rerank(mm.text("red"), hits_of(3), context())


def test_no_folder_and_a_folder_of_something_else(tmp_path):
    from mmsearch.matchers import matcher

    with pytest.raises(ModelNotFound):
        matcher(f"deep:{tmp_path / 'absent'}")
    with pytest.raises(UsageError, match="neither a BLIP nor"):
        matcher(f"deep:{tmp_path}")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelCorrupt):
        matcher(f"deep:{tmp_path}")


# --- mini's own head, on a tiny random model --------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with small random towers, a random head, memory and reading; towers and head also in torch."""
    import torch
    from open_clip.model import CLIP

    from mmsearch.encoders.reading import Reading
    from mmsearch.encoders.recall import Recall
    from mmsearch.training.export import export as export_towers
    from mmsearch.training.matching_data import Frozen
    from mmsearch.training.matching_export import export
    from mmsearch.training.matching_head import MatchingHead
    from mmsearch.training.matching_report import Outcome
    from mmsearch.training.towers import preprocess_config

    torch.manual_seed(0)
    config = {
        "embed_dim": 32,
        "vision_cfg": {"timm_model_name": "lcnet_035", "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "",
                       "image_size": 64},
        "text_cfg": {"context_length": 12, "vocab_size": 614, "width": 32, "heads": 2, "layers": 1},
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("towers")
    card = {"name": "tiny", "dim": 32, "image_size": 64, "context_length": 12, "bpe_merges": 100, "licence": "none"}
    export_towers(CLIP(**config).eval(), {"model_cfg": config, "preprocess_cfg": preprocess_config()}, card, folder)
    frozen = Frozen(folder)
    with torch.inference_mode():
        grid = frozen.see(torch.zeros(1, 3, 64, 64))[0]
    head = MatchingHead(grid.shape[2], grid.shape[1], 32, 32)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    memory = Recall(unit_rows(5, 32, 1), unit_rows(5, 32, 2), np.full(5, 0.2, np.float32), 10.0, 0.4, 0.5, 0.3)
    pooled = 5 * grid.shape[2]
    reading = Reading(np.zeros(pooled, np.float32), np.ones(pooled, np.float32), unit_rows(64, 32, 3), 0.1 * unit_rows(1, 32, 4)[0])
    none = np.zeros(3, dtype=np.int64)
    export(frozen, head, memory, reading, folder, 0.25, Outcome(none, none, none, none, np.arange(3)))
    return folder, frozen, head.eval(), memory, reading


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(12):
        tiles = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(tiles).resize((90, 70), Image.Resampling.NEAREST).save(folder / f"{n}.png")
    return folder


def wanted_scores(trained, matcher, files, words):
    """Memory's score of the mean of the views and the second reading, and a quarter of the head's logit for the whole, in torch."""
    import torch

    from mmsearch.training.matching_data import windows

    _, frozen, head, memory, reading = trained
    views = np.stack([matcher.prepare(Image.open(file)) for file in files])
    x = torch.from_numpy(views).flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        states, joint = frozen.read(torch.tensor(frozen.tokenize([words])))
        tokens, gates = head.text(states, joint, torch.ones(states.shape[:2], dtype=torch.bool))
        seen = frozen.see(x[::6])
        logits = head.pairs(tokens, gates, head.picture(*seen))[0]
        mean = torch.nn.functional.normalize(frozen.see(x)[2].reshape(len(files), 6, -1).sum(dim=1), dim=-1)
    rows = memory.rows(mean.numpy(), reading.rows(windows(seen[0]).numpy()))
    return memory.scores(joint[:, -1].numpy(), rows)[0] + 0.25 * logits.numpy()


def test_the_views_are_the_whole_the_middle_and_the_corners(trained):
    from mmsearch.encoders.matching import OnnxMatcher

    tiles = np.zeros((100, 100, 3), dtype=np.uint8)
    tiles[:20, :20] = 255  # seen by the whole and the upper left corner alone
    views = OnnxMatcher(trained[0]).prepare(Image.fromarray(tiles)).reshape(6, -1).max(axis=1)
    assert (views > 200).tolist() == [True, True, True, False, False, False]


def test_the_graphs_give_what_torch_gives(trained, pictures):
    from mmsearch.encoders.matching import OnnxMatcher

    folder = trained[0]
    matcher, files = OnnxMatcher(folder), sorted(pictures.iterdir())
    cells = matcher.look([matcher.prepare(Image.open(file)) for file in files])
    for words in ("a dog", "two red birds sit on a very long wooden fence beside the river", ""):
        np.testing.assert_allclose(matcher.match(words, cells), wanted_scores(trained, matcher, files, words), atol=0.01)
    matcher.verify()


def test_a_search_of_a_collection_from_end_to_end(trained, pictures, tmp_path, monkeypatch):
    from mmsearch.encoders.matching import OnnxMatcher

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = trained[0]
    with mm.Collection.open(tmp_path / "c", create=True, model=f"onnx:{folder}") as collection:
        collection.sync(mm.Folder(pictures))
        deep = collection.search("a dog", k=12, rerank=f"deep:{folder}")
        files = sorted(pictures.iterdir())
        scores = wanted_scores(trained, OnnxMatcher(folder), files, "a dog")
        value = {file.name: float(score) for file, score in zip(files, scores, strict=True)}
        assert [hit.id for hit in deep] == sorted(value, key=lambda id: -value[id])
        assert [hit.rerank for hit in deep] == pytest.approx(sorted(value.values(), reverse=True), abs=0.01)
    assert len(list((tmp_path / "cache").rglob("cells/*/*"))) == 12
    for file in pictures.iterdir():
        file.unlink()
    with mm.Collection.open(tmp_path / "c") as again:  # a new process would not find the pictures, and need not
        kept = again.search("a dog", k=12, rerank=f"deep:{folder}")
        assert [hit.id for hit in kept] == [hit.id for hit in deep]


def test_the_head_is_bound_to_its_towers(trained, tmp_path):
    from mmsearch.encoders.matching import CARD, OnnxMatcher

    copy = tmp_path / "copy"
    shutil.copytree(trained[0], copy)
    card = json.loads((copy / CARD).read_text())
    (copy / CARD).write_text(json.dumps({**card, "towers": "0" * 64}))
    with pytest.raises(ModelCorrupt, match="trained on other weights"):
        OnnxMatcher(copy).towers  # noqa: B018
    (copy / CARD).write_text(json.dumps({**card, "format": 3}))
    with pytest.raises(ModelCorrupt, match="format 3"):
        OnnxMatcher(copy).towers  # noqa: B018
    (copy / CARD).write_text("[]")
    with pytest.raises(ModelCorrupt):
        OnnxMatcher(copy).towers  # noqa: B018
    (copy / CARD).unlink()
    with pytest.raises(ModelNotFound, match="no matching head"):
        OnnxMatcher(copy).towers  # noqa: B018


@pytest.mark.parametrize("name", ["match.onnx", "match_memory.safetensors", "match_reading.safetensors"])
def test_a_changed_file_is_refused(trained, tmp_path, name):
    from mmsearch.encoders.matching import OnnxMatcher

    copy = tmp_path / "copy"
    shutil.copytree(trained[0], copy)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ModelCorrupt, match="checksum"):
        OnnxMatcher(copy).match("a dog", np.zeros((1, 5, 32), dtype=np.float16))
