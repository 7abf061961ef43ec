"""The matching head's recipe on made features: it starts at the cosine, learns, resumes, and is judged by plain counting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmsearch.training.matching import Plan, Shelf, train
from mmsearch.training.matching_data import View, Words
from mmsearch.training.matching_head import HEADS, MatchingHead
from mmsearch.training.matching_report import WEIGHTS, judged, ranks, settle
from mmsearch.training.optim import Progress
from mmsearch.training.rereading import learn_memory, learn_reading, said_of

DIM, CELLS, N = 16, 4, 80


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def made():
    """Pictures of four cells; each caption is about one cell, so that cells say more than the whole."""
    rng = np.random.default_rng(0)
    local = unit(rng.standard_normal((N, CELLS, DIM)))
    whole = unit(local.mean(axis=1))
    said = unit(local[:, 0] + 0.2 * rng.standard_normal((N, DIM)))
    joint = np.stack([unit(rng.standard_normal((N, DIM))), said], axis=1).reshape(2 * N, DIM)
    half = np.float16
    view = View(local.astype(half), local.astype(half), whole.astype(half))
    return view, Words(joint.astype(half), joint.astype(half), np.arange(0, 2 * N + 1, 2), np.arange(N))


def head():
    torch.manual_seed(0)
    return MatchingHead(DIM, CELLS, DIM, DIM, drop=0.0)


def test_pairs_are_the_sums_of_its_docstring():
    torch.manual_seed(1)
    model = MatchingHead(DIM, CELLS, DIM, DIM).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        words, gates = torch.randn(2, 3, DIM), torch.rand(2, 3).softmax(dim=-1)
        pictures = torch.randn(5, CELLS + 1, DIM)
        got = model.pairs(words, gates, pictures)
        each = DIM // HEADS
        for text in range(2):
            for picture in range(5):
                total = 0.0
                for word in range(3):
                    for h in range(HEADS):
                        part = slice(h * each, (h + 1) * each)
                        q, u = model.query(words[text, word])[part], model.claim(words[text, word])[part]
                        k, v = model.key(pictures[picture])[:, part], model.value(pictures[picture])[:, part]
                        look = model.sharpness.exp() * torch.cosine_similarity(k, q[None], dim=1)
                        total += float(gates[text, word] * (look.softmax(0) * (v @ u)).sum())
                found = float(got[text, picture])
                assert abs(found - float(model.scale.exp()) * total) < 2e-3 * max(1, abs(found))


def test_it_learns_and_a_killed_run_ends_with_the_same_weights(tmp_path):
    view, words = made()
    shelf = Shelf.of([view], words, np.arange(N))
    plan = Plan(steps=40, pictures=24, peak=3e-3, drop=0.0)

    def run(folder, stop=None):
        model, progress = head(), Progress(folder, "matching", every=20, decay=0.9)
        if stop is not None:
            train(shelf, model, plan, _Stopping(folder, stop), lambda line: None)
        else:
            train(shelf, model, plan, progress, lambda line: None)
            return progress.result()
        return None

    class _Stopping(Progress):
        def __init__(self, folder, stop):
            super().__init__(folder, "matching", every=20, decay=0.9)
            self.stop = stop

        def after(self, step, *args):
            super().after(step, *args)
            if step == self.stop:
                raise KeyboardInterrupt

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", stop=25)
    again = run(tmp_path / "b")
    for name, values in whole.items():
        torch.testing.assert_close(again[name], values, rtol=0, atol=0)
    model = head()
    said = said_of(words.whole, words.owner, N)
    plain = replace(learn_memory(np.float32(view.whole), said, pairs=4), strength=0.0, second=0.0, hub=0.0)
    reading = learn_reading(view.pooled(), said, width=32)
    _, before = settle(model.eval(), plain, reading, view, words, np.float32(view.whole))
    model.load_state_dict(whole)
    weight, after = settle(model.eval(), plain, reading, view, words, np.float32(view.whole))
    assert weight > 0
    assert (after.after < 1).mean() > max((before.after < 1).mean(), (after.before < 1).mean())
    assert after.reread.tolist() == after.views.tolist() == after.before.tolist()  # nothing is moved, and the means are the rows
    assert after.summary()["deep r1"][0] == round(float((after.after < 1).mean()), 4)


def test_neighbours_are_those_mined_by_brute_force():
    view, words = made()
    rows = np.arange(0, N, 1)
    shelf = Shelf.of([view], words, rows)
    closeness = (words.whole + 0.5 * np.float32(view.whole)) @ np.float32(view.whole).T
    np.fill_diagonal(closeness, -9)
    for at in range(N):
        assert set(shelf.near[at]) == set(np.argsort(-closeness[at])[: shelf.near.shape[1]])
    drawn, views, captions = shelf.draw(np.random.default_rng(0), 32)
    assert (words.owner[captions] == drawn).all()
    assert (views == 0).all()


def test_ranks_are_counted():
    view, words = made()
    model = head().eval()
    cosines, logits, near, owner = judged(model, view, words, np.arange(N), top=7)
    table = words.whole @ np.float32(view.whole).T
    for text in range(N):
        order = np.argsort(-table[text], kind="stable")[:7]
        assert near[text].tolist() == order.tolist()
        wanted = order.tolist().index(owner[text]) if owner[text] in order else 10_000
        assert ranks(cosines, near, owner)[text] == wanted


def test_the_weight_is_the_best_of_those_tried():
    view, words = made()
    said = said_of(words.whole, words.owner, N)
    memory, reading = learn_memory(np.float32(view.whole), said, pairs=4), learn_reading(view.pooled(), said, width=32)
    model, means = head().eval(), np.float32(view.whole)
    weight, outcome = settle(model, memory, reading, view, words, means)
    cosines, logits, near, owner = judged(model, view, words, np.arange(N))
    again = memory.scores(words.whole, memory.rows(means, reading.rows(view.pooled())))
    again = np.take_along_axis(again, near, axis=1)
    shares = {one: (ranks(again + one * logits, near, owner) < 1).mean() for one in WEIGHTS}
    assert shares[weight] == max(shares.values()) == (outcome.after < 1).mean()
    assert outcome.reread.tolist() == ranks(again, near, owner).tolist()
    assert outcome.before.tolist() == ranks(cosines, near, owner).tolist()
