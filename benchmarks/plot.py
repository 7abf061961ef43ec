"""Draws recall against queries a second from the lines of ``search.py``, as SVG.

    python benchmarks/plot.py RESULTS.jsonl docs/search.svg [--set made] [--rows 100000] [--seed 3]

For each contender the best of its settings: those that no other setting of it beats in both. Nothing but the standard library.
"""

from __future__ import annotations

import argparse
import json
import math
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 74, 210, 52, 56
LOW, HIGH = 0.85, 1.0
OURS, THEIRS = "#0b6e4f", ("#c05621", "#2b6cb0", "#97266d", "#718096", "#b7791f", "#4c51bf", "#9b2c2c")


def frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other point beats in recall and speed, by recall."""
    kept: list[tuple[float, float]] = []
    for recall, speed in sorted(points, reverse=True):
        if not kept or speed > kept[-1][1]:
            kept.append((recall, speed))
    return kept[::-1]


def main(source: Path, target: Path, name: str, rows: int, seed: int) -> None:
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    curves: dict[str, list[tuple[float, float]]] = {}
    for one in lines:
        facts = one["benchmark"], one.get("set"), one.get("rows"), one.get("seed")
        if facts == ("search", name, rows, seed) and "failed" not in one:
            who = "mmsearch" if one["name"].startswith("mmsearch ivf") else one["name"]
            curves.setdefault(who, []).append((one["recall_text"], one["single"]))
    shown = {who: [point for point in frontier(points) if point[0] >= LOW] for who, points in curves.items()}
    shown = {who: points for who, points in shown.items() if points}
    speeds = [speed for points in shown.values() for _, speed in points]
    low, high = 10 ** math.floor(math.log10(min(speeds))), 10 ** math.ceil(math.log10(max(speeds)))
    dim = next(one["dim"] for one in lines if one.get("rows") == rows)
    title = f"Texts that look for {rows:,} pictures ({dim} dimensions): recall among ten against speed"
    target.write_text(draw(shown, low, high, title))


def draw(curves: dict[str, list[tuple[float, float]]], low: float, high: float, title: str) -> str:
    def x(recall: float) -> float:
        return LEFT + (recall - LOW) / (HIGH - LOW) * (WIDTH - LEFT - RIGHT)

    def y(speed: float) -> float:
        share = (math.log10(speed) - math.log10(low)) / (math.log10(high) - math.log10(low))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="28" font-size="15" font-weight="600" fill="#1a202c">{escape(title)}</text>',
    ]
    for step in range(4):
        recall = LOW + step * 0.05
        out.append(f'<line x1="{x(recall):.1f}" x2="{x(recall):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#e2e8f0"/>')
        out.append(f'<text x="{x(recall):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle" fill="#4a5568">{recall:.2f}</text>')
    speed = low
    while speed <= high:
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(speed):.1f}" y2="{y(speed):.1f}" stroke="#e2e8f0"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(speed) + 4:.1f}" text-anchor="end" fill="#4a5568">{speed:,.0f}</text>')
        speed *= 10
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle" fill="#1a202c">recall@10 of text queries</text>')
    out.append(f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle" '
               'fill="#1a202c">queries per CPU second, one at a time</text>')  # fmt: skip
    order = sorted(curves, key=lambda who: -max(speed for _, speed in curves[who]))
    colours = dict(zip([who for who in order if not who.startswith("mmsearch")], THEIRS * 3, strict=False))
    for place, who in enumerate(order):
        colour, ours = colours.get(who, OURS), who.startswith("mmsearch")
        points = " ".join(f"{x(recall):.1f},{y(speed):.1f}" for recall, speed in curves[who])
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{3 if ours else 1.8}"/>')
        shape = 6.5 if who == "mmsearch planned" else 4 if ours else 3
        out += [f'<circle cx="{x(r):.1f}" cy="{y(s):.1f}" r="{shape}" fill="{colour}"/>' for r, s in curves[who]]
        at = TOP + 16 + place * 22
        out.append(f'<circle cx="{WIDTH - RIGHT + 22}" cy="{at - 4}" r="5" fill="{colour}"/>')
        weight = 600 if ours else 400
        out.append(f'<text x="{WIDTH - RIGHT + 34}" y="{at}" fill="#1a202c" font-weight="{weight}">{escape(who)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--set", default="made")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    main(args.results, args.svg, args.set, args.rows, args.seed)
