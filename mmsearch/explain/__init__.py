"""Why an item is in an answer: where in a picture the query is met (:func:`heatmap`), as numbers and as a picture to look at."""

from __future__ import annotations

from mmsearch.explain.heatmap import METHODS, Heatmap, heatmap

__all__ = ["METHODS", "Heatmap", "heatmap"]
