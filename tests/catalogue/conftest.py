"""A small shop whose answers can be worked out by hand: products of photos, a title and a description."""

from __future__ import annotations

import numpy as np
import pytest

import mmsearch as mm

DIM = 32


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def rows():
    """``(60 products, 4 items, 32)``: two photos, a title, a description. Photos and texts lie apart, as they do with CLIP."""
    random = np.random.default_rng(11)
    found = random.standard_normal((60, 4, DIM))
    found[:, :2, 0] += 6
    found[:, 2, 1] += 4
    found[:, 3, 1] += 8
    return unit(found).astype(np.float32)


@pytest.fixture
def products(shop, rows):
    """The 60 products as items; brand, price (0 to 59), stock, sizes as a list."""
    names = ("photo-1", "photo-2", "title", "description")
    items = []
    for n, parts in enumerate(rows):
        meta = {"brand": "abc"[n % 3], "price": n, "in_stock": n % 4 != 0, "sizes": ["S", "M"][: 1 + n % 2]}
        for name, row in zip(names, parts, strict=True):
            content = {"image": b"-"} if name.startswith("photo") else {"text": f"{name} of {n}"}
            items.append(mm.Item(id=f"p{n}#{name}", group=f"p{n}", meta=meta, vector=row, **content))
    items.append(mm.Item(id="alone", image=b"-", vector=rows[0, 0] + rows[1, 1]))
    shop.add(items)
    return shop
