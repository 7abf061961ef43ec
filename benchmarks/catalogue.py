"""The catalogue: weights of photo, title and description; disliked items; completed looks; facets of a million items.

    python benchmarks/catalogue.py --data FOLDER [--only fusion|unlike|look|facets]

`fusion` asks `flipkart-1k` (1,047 products) for its category nodes and for colour + node, right being what the tree and the
attributes say. Since a shop's titles contain such words, all is done twice: on all products, and *held out*, where products
whose own texts contain the words of the query are left out of its answer. nDCG@10 of queries that were not learned from.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from _report import row

import mmsearch as mm
from mmsearch.evaluation import Case, learn_fields, paired_difference
from mmsearch.types import Draft, Kind

LEAST, MOST = 5, 200


def unpack(data: Path, name: str, folder: Path, most: int | None = None) -> list[dict]:
    """The first ``most`` rows of a set, its pictures below ``folder``."""
    with zipfile.ZipFile(data / name) as archive:
        rows = [json.loads(line) for line in archive.read("captions.jsonl").decode().splitlines()]
        rows = rows if most is None else rows[:most]
        for one in rows:
            archive.extract(one["image"], folder)
    return rows


def words(text: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2}


def flipkart(data: Path, folder: Path, model: str) -> tuple[mm.Collection, list[Case], dict[str, frozenset[str]]]:
    """The collection, its cases, and for each case the products whose texts contain the query's words."""
    rows = unpack(data, "flipkart-1k.zip", folder)
    with (folder / "products.jsonl").open("w") as out:
        for at, one in enumerate(rows):
            keep = {name: one[name] for name in ("image", "title", "description", "brand", "category", "price")}
            out.write(json.dumps({"sku": f"p{at}", **keep}) + "\n")
    shop = mm.Collection.open(folder / "shop.mm", create=True, model=model)
    shop.sync(mm.Manifest(folder / "products.jsonl"))
    right: dict[str, set[str]] = defaultdict(set)
    for at, one in enumerate(rows):
        nodes = [node for node in one["category_tree"][:-1] if str(one["brand"] or "\0").lower() not in node.lower()]
        colours = {str(value).lower() for name, value in one["attributes"].items() if "color" in name.lower()}
        for node in dict.fromkeys(node.lower() for node in nodes):
            right[node].add(f"p{at}")
            for colour in colours & {"black", "white", "red", "blue", "green", "pink", "yellow", "brown", "silver", "gold"}:
                right[f"{colour} {node}"].add(f"p{at}")
    texts = {f"p{at}": words(f"{one['title']} {one['description']}") for at, one in enumerate(rows)}
    cases, without = [], {}
    for query, found in sorted(right.items()):
        if LEAST <= len(found) <= MOST:
            cases.append(Case(query, mm.text(query), dict.fromkeys(found, 1), Kind.IMAGE, cluster=query.split(" ", 1)[-1]))
            without[query] = frozenset(name for name, own in texts.items() if words(query) & own)
    return shop, cases, without


def fusion(data: Path, model: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        shop, cases, without = flipkart(data, Path(name), model)
        left = [case for case in cases if len(set(case.relevant) - without[case.id]) >= LEAST]
        for label, asked, leave in (("all products", cases, None), ("held out", left, without)):
            began = time.perf_counter()
            found = learn_fields(shop, asked, without=leave)
            clusters = [case.cluster for case in asked]
            gain = paired_difference(found.per_query_equal, found.per_query, clusters)
            by_rank = by_ranks(shop, asked, leave or {})
            before = paired_difference(by_rank, found.per_query, clusters)
            row("fusion", data=f"flipkart-1k, {label}", model=model, queries=len(asked), learned=found.score, equal=found.equal,
                by_rank=float(by_rank.mean()), alone=found.alone, weights=found.weights,
                gain_over_equal=[gain.value, gain.low, gain.high],
                gain_over_ranks=[before.value, before.low, before.high],
                seconds=time.perf_counter() - began)
        shop.close()


def by_ranks(shop: mm.Collection, cases: list[Case], without: dict[str, frozenset[str]]) -> np.ndarray:
    """nDCG@10 of what there was before: pictures and texts in one list by their ranks, one hit a product."""
    out = []
    for case in cases:
        leave = without.get(case.id, frozenset())
        hits = [hit.group for hit in shop.search(case.query, kind="any", group_by="group", k=200) if hit.group not in leave][:10]
        discount = 1 / np.log2(np.arange(2, 12))
        right = min(10, len(set(case.relevant) - leave))
        out.append(sum(d for name, d in zip(hits, discount, strict=False) if name in case.relevant) / discount[:right].sum())
    return np.array(out)


def fashion(data: Path, folder: Path, model: str, most: int) -> tuple[mm.Collection, list[dict]]:
    rows = unpack(data, "myntra-15k.zip", folder, most)
    shop = mm.Collection.open(folder / "shop.mm", create=True, model=model)
    shop.add(mm.Item(str(at), image=folder / one["image"], meta={k: v for k, v in one.items() if k != "image"})
             for at, one in enumerate(rows))
    return shop, rows


def unlike(data: Path, model: str, most: int, rounds: int) -> None:
    """Three liked items of one type and colour, three disliked of the same type in other colours: precision at 10."""
    with tempfile.TemporaryDirectory() as name:
        shop, rows = fashion(data, Path(name), model, most)
        by_look: dict[tuple[str, str], list[str]] = defaultdict(list)
        for at, one in enumerate(rows):
            by_look[one["article_type"], one["colour"]].append(str(at))
        random = np.random.default_rng(0)
        looks = sorted(look for look, ids in by_look.items() if len(ids) >= 13)
        for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
            random = np.random.default_rng(0)
            right = []
            for _ in range(rounds):
                look = looks[random.integers(len(looks))]
                others = [id for other, ids in sorted(by_look.items()) if other[0] == look[0] and other != look for id in ids]
                if len(others) < 3:
                    continue
                liked, disliked = (random.choice(ids, 3, replace=False).tolist() for ids in (by_look[look], others))
                query = sum((mm.item(id) * (1 / 3) for id in liked[1:]), mm.item(liked[0]) * (1 / 3))
                for id in disliked if weight else ():
                    query = query - (weight / 3) * mm.item(id)
                hits = [id for id in shop.search(query, k=16).ids if id not in liked + disliked][:10]
                right.append(np.mean([id in by_look[look] for id in hits]))
            row("unlike", data=f"myntra, {len(rows)} items", model=model, weight=weight, rounds=len(right),
                precision_at_10=float(np.mean(right)), standard_error=float(np.std(right) / len(right) ** 0.5), seed=0)
        shop.close()


def look(data: Path, model: str, most: int) -> None:
    """Shoes for a dress: how many of the ten found under the filter share its colour, against the share of that colour."""
    with tempfile.TemporaryDirectory() as name:
        shop, rows = fashion(data, Path(name), model, most)
        heels = [one["colour"] for one in rows if one["article_type"] == "Heels"]
        found, chance = [], []
        for at, one in enumerate(rows):
            if one["article_type"] == "Dresses":
                hits = shop.similar(str(at), where="article_type = 'Heels'", k=10)
                found.append(np.mean([hit.meta["colour"] == one["colour"] for hit in hits]))
                chance.append(np.mean([colour == one["colour"] for colour in heels]))
        row("look", data=f"myntra, {len(rows)} items", model=model, dresses=len(found), heels=len(heels),
            same_colour=float(np.mean(found)), by_chance=float(np.mean(chance)))
        shop.close()


def _meta(product: int) -> dict[str, object]:
    return {"brand": f"b{product % 500}", "price": product % 997, "in_stock": product % 2 == 0, "colour": f"c{product % 20}"}


def facets(items: int) -> None:
    """Counting over many items, and changing one product's price among them."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name, mm.Collection.open(Path(name) / "c", create=True, model="toy") as shop:
        rows = random.standard_normal((4096, shop.info.dim)).astype(np.float32)
        with shop._store.writer() as writer:
            from mmsearch.store import Change

            for start in range(0, items, 4096):
                n = min(4096, items - start)
                drafts = [Draft(f"s{at // 4}#photo-{at % 4}", Kind.IMAGE, group=f"s{at // 4}", meta=_meta(at // 4))
                          for at in range(start, start + n)]
                writer.commit(Change(upserts=drafts, vectors=rows[:n]))
        cheap = {"where": "price < 50"}
        for label, options in (("all", {}), ("filter", cheap), ("products", {**cheap, "group_by": "group"})):
            for turn in ("first", "again"):
                began, cpu = time.perf_counter(), time.process_time()
                shop.facets(["brand", "colour", "price", "in_stock"], **options)
                row("facets", items=items, fields=4, what=label, turn=turn, ms=(time.perf_counter() - began) * 1000,
                    cpu_ms=(time.process_time() - cpu) * 1000)
        for indexed in (False, True):
            if indexed:
                shop.index_groups()
            began, cpu = time.perf_counter(), time.process_time()
            shop.update_meta({"s7": {"price": 1 + indexed}}, by="group")
            row("update_meta", items=items, by="group", indexed=indexed, ms=(time.perf_counter() - began) * 1000,
                cpu_ms=(time.process_time() - cpu) * 1000)
        many = {f"s{at // 4}#photo-{at % 4}": {"price": 5} for at in range(min(items, 20_000))}
        began, cpu = time.perf_counter(), time.process_time()
        shop.update_meta(many)
        row("update_meta", items=items, changed=len(many), us_each=(time.perf_counter() - began) / len(many) * 1e6,
            cpu_us_each=(time.process_time() - cpu) / len(many) * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--only", default="fusion,unlike,look,facets")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--most", type=int, default=5000, help="items of myntra-15k")
    given = parser.parse_args()
    for name in given.only.split(","):
        if name == "facets":
            facets(given.items)
        elif name == "fusion":
            fusion(given.data, given.model)
        elif name == "unlike":
            unlike(given.data, given.model, given.most, rounds=400)
        else:
            look(given.data, given.model, given.most)


if __name__ == "__main__":
    main()
