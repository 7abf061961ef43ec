"""Is relevance better than a cosine? Area under ROC of "is there an answer", calibration, and what the cut costs.

    python benchmarks/relevance.py --data FOLDER

The pictures of a random half of the queries are taken away. Products (or photos) are parted at random into a part that
calibrations are fitted on and a part that is reported, in turns; in ``shopsphere`` a third part's descriptions are the
bank, and so are a third of the captions in ``flickr8k-dev, own captions``: a collection with texts of its own has those. No
query is reported by a calibration that saw it. Each row is the mean over ``--seeds`` removals; intervals redraw pictures at
the first seed.

``hits_ece`` and ``best_ece``: calibration error over the first ten hits, and over the first hit. ``recall10_loss``: how many
points of recall@10 the automatic cut costs; ``empty_rightly``: for how many of the queries without an answer it leaves
nothing; ``kept``: hits that stay, of ten.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _pairs import Pairs, load, parser
from _report import row
from numpy.typing import NDArray

from mmsearch.evaluation import calibration_error, roc_auc
from mmsearch.relevance import CUT_LOSS, DEFAULT, Background, Calibration, logistic

DEPTH = 10
KEPT = Path(__file__).parent.parent / "mmsearch" / "calibrations.json"
Floats = NDArray[np.float64]


class Part(NamedTuple):
    """The first ten hits of some queries: features by name ``(q, 10)``, which are right, which queries have an answer."""

    features: dict[str, Floats]
    right: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    owner: NDArray[np.int64]


def part(pairs: Pairs, queries: NDArray[np.int64], shown: NDArray[np.bool_], background: Background) -> Part:
    gallery = np.flatnonzero(shown)
    images = pairs.images[gallery]
    cosines = (pairs.texts[queries] @ images.T).astype(np.float64)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :DEPTH]
    scores = np.take_along_axis(cosines, order, axis=1)
    hub = background.hubness(images)[order]
    features = {
        "height": (scores - background.mean) / background.deviation,
        "lead": (scores - hub) / background.deviation,
        "z": (scores - cosines.mean(axis=1, keepdims=True)) / cosines.std(axis=1, keepdims=True),
    }
    features["best lead"] = np.repeat(features["lead"].max(axis=1, keepdims=True), order.shape[1], axis=1)
    features["gap"] = np.repeat((scores[:, :1] - scores[:, 1:2]) / background.deviation, order.shape[1], axis=1)
    owner = pairs.owner[queries]
    return Part(features, gallery[order] == owner[:, None], shown[owner], owner)


METHODS: dict[str, tuple[str, ...]] = {
    "cosine": ("height",),
    "z-score in the collection": ("z",),
    "softmax over the bank": ("lead",),
    "cosine + z-score": ("height", "z"),
    "cosine + bank (kept)": ("height", "lead"),
    "cosine + bank + z-score": ("height", "lead", "z"),
    "cosine + bank + best lead of the ten": ("height", "lead", "best lead"),
    "cosine + gap to the second": ("height", "gap"),
}


FAR_BANK = "cosine + bank of products not shown"
"""For comparison: no picture that is searched has its own description in the bank, which is half as large."""
UNFITTED = "cosine + bank, default"
"""For comparison: the calibration that encoders get which were never measured. It was fitted on shopsphere."""


def judged(names: tuple[str, ...], fit: Part, test: Part) -> tuple[Floats, float]:
    """Relevance of the test part's hits ``(q, 10)`` and the cut, by a logistic function fitted on the other part."""
    ranks = np.tile(np.arange(1, DEPTH + 1), len(fit.right))
    columns = [np.stack([p.features[name].ravel() for name in names], axis=1) for p in (fit, test)]
    if names == ("height", "lead"):  # the package's own
        made = Calibration.fit(columns[0], fit.right.ravel(), ranks)
        return made.relevance(columns[1]).reshape(-1, DEPTH), made.cut
    bias, *slopes = logistic(columns[0], fit.right.ravel().astype(np.float64), 1.0 / ranks**2)
    chances = [0.5 * (1 + np.tanh((bias + c @ np.array(slopes)) / 2)) for c in columns]
    return chances[1].reshape(-1, DEPTH), float(np.quantile(chances[0][fit.right.ravel()], CUT_LOSS))


def trial(pairs: Pairs, seed: int) -> dict[str, list[tuple[Part, Floats, float]]]:
    """Every method on every reported part of one removal."""
    rng = np.random.default_rng(seed)
    n = len(pairs.images)
    shown = np.zeros(n, dtype=np.bool_)
    shown[rng.permutation(n)[: n // 2]] = True
    parts = 2 if pairs.bank is not None else 3
    place = rng.permutation(n) % parts
    out: dict[str, list[tuple[Part, Floats, float]]] = {name: [] for name in METHODS}
    for turn in range(parts):
        asked = [np.flatnonzero(place[pairs.owner] == (turn + step) % parts) for step in range(parts)]
        bank = pairs.texts[asked[2]] if pairs.bank is None else pairs.bank
        background = Background.of(bank, pairs.images[shown])
        test, fit = (part(pairs, queries, shown, background) for queries in asked[:2])
        for name, features in METHODS.items():
            out[name].append((test, *judged(features, fit, test)))
        if pairs.bank is None:
            background = Background.of(pairs.texts[asked[2]][~shown[pairs.owner[asked[2]]]], pairs.images[shown])
            test, fit = (part(pairs, queries, shown, background) for queries in asked[:2])
            out.setdefault(FAR_BANK, []).append((test, *judged(("height", "lead"), fit, test)))
        else:
            columns = np.stack([test.features[name].ravel() for name in ("height", "lead")], axis=1)
            chances = DEFAULT.relevance(columns).reshape(-1, DEPTH)
            out.setdefault(UNFITTED, []).append((test, chances, DEFAULT.cut))
    return out


def figures(found: list[tuple[Part, Floats, float]]) -> dict[str, float]:
    """All parts of one removal together."""
    right = np.concatenate([p.right for p, _, _ in found])
    answered = np.concatenate([p.answered for p, _, _ in found])
    chance = np.concatenate([c for _, c, _ in found])
    stays = np.concatenate([c >= cut for _, c, cut in found])
    best = chance.argmax(axis=1)[:, None]
    return {
        "auc": roc_auc(chance.max(axis=1), answered),
        "hits_ece": calibration_error(chance.ravel(), right.ravel()),
        "best_ece": calibration_error(chance.max(axis=1), np.take_along_axis(right, best, axis=1)[:, 0]),
        "recall10_loss": 100 * float(right[answered].any(axis=1).mean() - (right & stays)[answered].any(axis=1).mean()),
        "empty_rightly": float((~stays[~answered].any(axis=1)).mean()),
        "kept": float(stays.sum(axis=1).mean()),
        "recall1": float(np.take_along_axis(right, best, axis=1)[answered].mean()),
    }


def auc_interval(found: list[tuple[Part, Floats, float]], plain: list[tuple[Part, Floats, float]], rounds: int = 300):
    """95% bootstrap intervals over pictures of the area, and of its gain over the plain cosine's."""
    owner = np.concatenate([p.owner for p, _, _ in found])
    answered = np.concatenate([p.answered for p, _, _ in found])
    best, base = (np.concatenate([c.max(axis=1) for _, c, _ in one]) for one in (found, plain))
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(owner == n) for n in range(owner.max() + 1)]
    draws = []
    for _ in range(rounds):
        rows = np.concatenate([members[n] for n in rng.integers(0, len(members), len(members))])
        draws.append((roc_auc(best[rows], answered[rows]), roc_auc(base[rows], answered[rows])))
    both = np.array(draws)
    ends: Callable[[Floats], list[float]] = lambda x: [round(float(e), 4) for e in np.percentile(x, [2.5, 97.5])]  # noqa: E731
    return ends(both[:, 0]), ends(both[:, 0] - both[:, 1])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--write", action="store_true", help="keep the calibration in mmsearch/calibrations.json")
    args = options.parse_args()
    sets = load(args.data, args.model, args.only)
    sets += [replace(one, name=f"{one.name}, own captions", bank=None) for one in sets if one.bank is not None]
    for pairs in sets:
        trials = [trial(pairs, seed) for seed in range(args.seeds)]
        for name in trials[0]:
            each = [figures(found[name]) for found in trials]
            means = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
            area, gain = auc_interval(trials[0][name], trials[0]["cosine"])
            row("relevance", seed=args.seeds, set=pairs.name, model=pairs.model, queries=len(pairs.texts), method=name,
                **means, auc_interval=area, auc_gain_interval=gain)
        print_calibration(pairs, args.write and pairs.bank is not None)


def print_calibration(pairs: Pairs, write: bool) -> None:
    """What ``mmsearch.relevance`` gets: fitted on all pairs, half of the pictures taken away.

    Where the bank has to be other products' descriptions, it is a third of them, and the rest is asked.
    """
    asked, bank = np.arange(len(pairs.texts)), pairs.bank
    if bank is None:
        place = np.random.default_rng(1).permutation(len(asked)) % 3
        asked, bank = np.flatnonzero(place != 0), pairs.texts[place == 0]
    shown = np.zeros(len(pairs.images), dtype=np.bool_)
    shown[np.random.default_rng(0).permutation(len(shown))[: len(shown) // 2]] = True
    whole = part(pairs, asked, shown, Background.of(bank, pairs.images[shown]))
    columns = np.stack([whole.features[name].ravel() for name in ("height", "lead")], axis=1)
    made = Calibration.fit(columns, whole.right.ravel(), np.tile(np.arange(1, DEPTH + 1), len(whole.right)))
    row("relevance.calibration", seed=0, set=pairs.name, fingerprint=pairs.fingerprint, calibration=repr(made))
    if write and pairs.fingerprint is not None:
        known = json.loads(KEPT.read_text())
        fields = {name: round(value, 4) for name, value in asdict(made).items()}
        KEPT.write_text(json.dumps(known | {pairs.fingerprint: fields}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
