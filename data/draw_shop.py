"""A small shop that we drew ourselves: clothes, shoes, bags, things for the kitchen, fruit, in many colours; and its manifest.

    python data/draw_shop.py FOLDER

So that the web page can be shown and tested without a photo of anybody. Each product has one or two pictures (another
ground and size), a title, a description, and fields to filter by.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE, FINE = 480, 2
"""Pixels of a picture, and how much finer it is drawn."""
Point = tuple[float, float]
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (214, 48, 54), "orange": (240, 132, 36), "yellow": (245, 200, 50), "green": (64, 152, 92), "teal": (34, 148, 158),
    "blue": (52, 98, 210), "purple": (126, 74, 188), "pink": (238, 128, 168), "brown": (138, 90, 58), "black": (44, 46, 54),
    "white": (244, 243, 238),
}  # fmt: skip
GROUNDS: list[Colour] = [(238, 233, 226), (226, 234, 240), (240, 228, 230), (228, 238, 230), (236, 231, 243), (243, 236, 220)]


def curve(*points: Point, steps: int = 24) -> list[Point]:
    """A closed smooth line through the points (Catmull and Rom's splines), in units of the picture's side."""
    ring, out = list(points), []
    for at in range(len(ring)):
        p0, p1, p2, p3 = (np.array(ring[(at + k) % len(ring)]) for k in (-1, 0, 1, 2))
        for t in np.arange(steps) / steps:
            value = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
            out.append((float(value[0]), float(value[1])))
    return out


def mirror(half: list[Point]) -> list[Point]:
    """A left half, top to bottom, and its mirror image: one outline."""
    return half + [(1 - x, y) for x, y in reversed(half)]


class Sheet:
    """One picture that is being drawn: shapes are shaded from above and cast a shadow on the ground."""

    def __init__(self, ground: Colour, scale: float) -> None:
        self.side, self.scale = SIZE * FINE, scale
        y, x = np.mgrid[0 : self.side, 0 : self.side] / self.side
        light = 1.06 - 0.16 * np.hypot(x - 0.45, y - 0.35)
        self.image = Image.fromarray((np.array(ground) * light[..., None]).clip(0, 255).astype(np.uint8))

    def _points(self, points: list[Point]) -> list[Point]:
        return [((0.5 + (x - 0.5) * self.scale) * self.side, (0.5 + (y - 0.5) * self.scale) * self.side) for x, y in points]

    def _mask(self, points: list[Point]) -> Image.Image:
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon(self._points(points), fill=255)
        return mask

    def shadow(self, x: float, y: float, width: float, height: float = 0.035) -> None:
        """A soft ellipse on the ground."""
        mask = Image.new("L", self.image.size)
        box = self._points([(x - width, y - height), (x + width, y + height)])
        ImageDraw.Draw(mask).ellipse([*box[0], *box[1]], fill=95)
        self.image.paste((60, 52, 60), mask=_soft(mask, self.side / 50))

    def shape(self, points: list[Point], colour: Colour, hole: list[Point] | None = None) -> None:
        """A filled outline, lighter at its upper left and darker at its edge."""
        mask = self._mask(points)
        if hole:
            mask = ImageChops.subtract(mask, self._mask(hole))
        inner = _soft(mask, self.side / 36)
        y, x = np.mgrid[0 : self.side, 0 : self.side] / self.side
        light = 0.80 + 0.24 * (np.asarray(inner) / 255.0) + 0.10 * (0.75 - x - 0.6 * y)
        filled = (np.array(colour) * light[..., None]).clip(0, 255).astype(np.uint8)
        self.image.paste(Image.fromarray(filled), mask=mask)

    def line(self, points: list[Point], colour: Colour, width: float = 0.008) -> None:
        """A stroke with round ends."""
        pen, thick = ImageDraw.Draw(self.image), max(1, round(width * self.side * self.scale))
        placed = self._points(points)
        pen.line(placed, fill=colour, width=thick, joint="curve")
        for x, y in placed:
            pen.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=colour)

    def done(self) -> Image.Image:
        """The picture at its size."""
        return self.image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def _soft(mask: Image.Image, radius: float) -> Image.Image:
    """A blur, made at a quarter of the size: nobody sees the difference, and it takes a tenth of the time."""
    small = mask.resize((mask.width // 4, mask.height // 4), Image.Resampling.BOX)
    return small.filter(ImageFilter.GaussianBlur(radius / 4)).resize(mask.size, Image.Resampling.BILINEAR)


def darker(colour: Colour, by: float = 0.72) -> Colour:
    """The same colour with less light."""
    return tuple(round(part * by) for part in colour)  # type: ignore[return-value]


def oval(x: float, y: float, rx: float, ry: float) -> list[Point]:
    """An ellipse."""
    return [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in np.linspace(0, 2 * np.pi, 72, endpoint=False)]


def arc(x: float, y: float, rx: float, ry: float, first: float, last: float) -> list[Point]:
    """A part of an ellipse, in degrees."""
    return [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in np.radians(np.linspace(first, last, 40))]


def dress(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.90, 0.27)
    half = [(0.43, 0.12), (0.37, 0.13), (0.385, 0.28), (0.40, 0.36), (0.415, 0.43), (0.36, 0.58), (0.28, 0.78),
        (0.23, 0.88), (0.36, 0.905)]
    on.shape(mirror([(0.455, 0.21), *half]), c)
    on.shape([(0.405, 0.405), (0.595, 0.405), (0.592, 0.445), (0.408, 0.445)], darker(c))
    for x, foot in ((0.46, 0.40), (0.5, 0.5), (0.54, 0.60)):
        on.line([(x, 0.48), (foot, 0.86)], darker(c, 0.84), 0.006)


def shirt(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.83, 0.25)
    half = [(0.42, 0.20), (0.34, 0.22), (0.17, 0.37), (0.25, 0.47), (0.325, 0.41), (0.32, 0.60), (0.325, 0.81)]
    on.shape(mirror([(0.46, 0.255), *half]), c)
    on.line(arc(0.5, 0.20, 0.085, 0.075, 8, 172), darker(c), 0.012)
    on.line([(0.325, 0.41), (0.335, 0.34)], darker(c, 0.85), 0.006)
    on.line([(0.675, 0.41), (0.665, 0.34)], darker(c, 0.85), 0.006)


def sneaker(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.72, 0.36)
    on.shape(curve((0.14, 0.66), (0.15, 0.46), (0.20, 0.37), (0.29, 0.43), (0.40, 0.39), (0.53, 0.47),
        (0.68, 0.535), (0.84, 0.59), (0.87, 0.66), (0.5, 0.67)), c)
    on.shape(curve((0.12, 0.655), (0.5, 0.662), (0.88, 0.655), (0.88, 0.70), (0.80, 0.725), (0.5, 0.72),
        (0.17, 0.725), (0.125, 0.70)), (250, 249, 246))
    on.shape(curve((0.70, 0.56), (0.80, 0.575), (0.86, 0.62), (0.86, 0.652), (0.74, 0.652)), (250, 249, 246))
    for at in range(4):
        x, y = 0.40 + 0.062 * at, 0.43 + 0.033 * at
        on.line([(x, y), (x - 0.035, y + 0.06)], (250, 249, 246), 0.012)
    on.line([(0.24, 0.62), (0.40, 0.60), (0.55, 0.52)], darker(c), 0.016)


def heel(on: Sheet, c: Colour) -> None:
    on.shadow(0.53, 0.79, 0.33, 0.025)
    on.shape(curve((0.17, 0.36), (0.235, 0.31), (0.29, 0.42), (0.42, 0.57), (0.58, 0.66), (0.74, 0.645),
        (0.86, 0.72), (0.87, 0.775), (0.64, 0.785), (0.50, 0.735), (0.36, 0.60), (0.24, 0.52)), c)
    on.shape([(0.175, 0.42), (0.26, 0.52), (0.235, 0.60), (0.218, 0.785), (0.19, 0.785), (0.187, 0.60)], darker(c, 0.85))
    on.line(arc(0.70, 0.70, 0.12, 0.055, 200, 320), darker(c), 0.008)


def bag(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.83, 0.31)
    on.line(arc(0.5, 0.42, 0.155, 0.24, 180, 360), darker(c), 0.026)
    on.shape([(0.24, 0.40), (0.76, 0.40), (0.82, 0.80), (0.80, 0.83), (0.20, 0.83), (0.18, 0.80)], c)
    on.shape([(0.24, 0.40), (0.76, 0.40), (0.735, 0.54), (0.5, 0.60), (0.265, 0.54)], darker(c, 0.88))
    on.shape(oval(0.5, 0.585, 0.026, 0.026), (226, 188, 96))


def mug(on: Sheet, c: Colour) -> None:
    on.shadow(0.48, 0.79, 0.25)
    on.shape(oval(0.68, 0.52, 0.135, 0.145), c, hole=oval(0.68, 0.52, 0.082, 0.092))
    on.shape([(0.26, 0.33), (0.68, 0.33), (0.665, 0.72), (0.62, 0.785), (0.32, 0.785), (0.275, 0.72)], c)
    on.shape(oval(0.47, 0.33, 0.21, 0.045), darker(c, 0.8))
    on.shape(oval(0.47, 0.338, 0.185, 0.033), (86, 52, 34))
    for x in (0.41, 0.50):
        on.line([(x, 0.25), (x + 0.022, 0.20), (x, 0.15)], (255, 255, 255), 0.008)


def hat(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.70, 0.37)
    on.shape(oval(0.5, 0.64, 0.39, 0.075), c)
    on.shape(curve((0.28, 0.63), (0.30, 0.42), (0.38, 0.31), (0.5, 0.345), (0.62, 0.31), (0.70, 0.42), (0.72, 0.63),
        (0.5, 0.675)), c)
    on.shape(curve((0.283, 0.625), (0.289, 0.545), (0.5, 0.60), (0.711, 0.545), (0.717, 0.625), (0.5, 0.675)), darker(c, 0.6))


def umbrella(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.88, 0.16, 0.02)
    on.line([(0.5, 0.16), (0.5, 0.80)], (110, 84, 66), 0.014)
    on.line(arc(0.54, 0.80, 0.04, 0.06, 0, 180), (110, 84, 66), 0.016)
    top = arc(0.5, 0.52, 0.37, 0.33, 180, 360)
    waves = ((0.8075, 0.0625), (0.6, 0.1), (0.4, 0.1), (0.1925, 0.0625))
    foot = [point for x, half in waves for point in arc(x, 0.52, half, 0.04, 0, -180)]
    on.shape(top + foot, c)
    for x in (0.30, 0.5, 0.70):
        on.line([(0.5, 0.19), ((x + 0.5) / 2 + (x - 0.5) * 0.28, 0.33), (x, 0.515)], darker(c, 0.82), 0.006)


def lamp(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.87, 0.20)
    on.shape(oval(0.5, 0.85, 0.155, 0.03), (120, 92, 70))
    on.line([(0.5, 0.45), (0.5, 0.84)], (120, 92, 70), 0.024)
    on.shape([(0.37, 0.16), (0.63, 0.16), (0.74, 0.50), (0.26, 0.50)], c)
    on.shape(oval(0.5, 0.50, 0.24, 0.028), darker(c, 0.78))


def apple(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.82, 0.23)
    on.shape(curve((0.5, 0.36), (0.40, 0.315), (0.25, 0.38), (0.225, 0.56), (0.32, 0.76), (0.43, 0.825),
        (0.5, 0.80), (0.57, 0.825), (0.68, 0.76), (0.775, 0.56), (0.75, 0.38), (0.60, 0.315)), c)
    on.line([(0.5, 0.375), (0.505, 0.29), (0.535, 0.22)], (104, 74, 48), 0.018)
    on.shape(curve((0.525, 0.285), (0.60, 0.20), (0.70, 0.205), (0.64, 0.285)), (88, 154, 74))


def pear(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.85, 0.21)
    on.shape(curve((0.5, 0.21), (0.43, 0.25), (0.40, 0.40), (0.30, 0.53), (0.275, 0.69), (0.36, 0.82), (0.5, 0.855),
        (0.64, 0.82), (0.725, 0.69), (0.70, 0.53), (0.60, 0.40), (0.57, 0.25)), c)
    on.line([(0.5, 0.22), (0.515, 0.13)], (104, 74, 48), 0.018)


def cherries(on: Sheet, c: Colour) -> None:
    on.shadow(0.5, 0.83, 0.27)
    for x, y in ((0.345, 0.68), (0.645, 0.71)):
        on.line([(0.54, 0.17), ((x + 0.54) / 2 + 0.02, 0.38), (x, y - 0.12)], (96, 122, 60), 0.013)
    on.shape(curve((0.54, 0.17), (0.66, 0.15), (0.76, 0.235), (0.63, 0.265)), (88, 154, 74))
    for x, y in ((0.345, 0.68), (0.645, 0.71)):
        on.shape(oval(x, y, 0.135, 0.13), c)
        on.shape(oval(x - 0.045, y - 0.05, 0.026, 0.02), (255, 240, 240))


KINDS: list[tuple[str, str, Callable[[Sheet, Colour], None], str, int, str]] = [
    ("dress", "clothes", dress, "red blue green yellow purple pink black white teal", 49, "A summer dress with a belt."),
    ("t-shirt", "clothes", shirt, "red blue green yellow white black orange pink", 15, "A plain shirt of soft cotton."),
    ("hat", "clothes", hat, "brown black red blue white", 29, "A felt hat with a broad brim and a band."),
    ("sneakers", "shoes", sneaker, "red blue green yellow white black purple orange", 59, "Light running shoes, white sole."),
    ("high heels", "shoes", heel, "red black pink blue purple white", 69, "Elegant pumps with a narrow high heel."),
    ("handbag", "bags", bag, "red brown black blue yellow teal pink", 79, "A leather bag with a handle and a clasp."),
    ("umbrella", "bags", umbrella, "red yellow blue green purple black", 19, "A large umbrella that stands up to the wind."),
    ("coffee mug", "home", mug, "white red blue green yellow orange teal", 9, "A cup for coffee or tea, fit for the dishwasher."),
    ("table lamp", "home", lamp, "white yellow orange blue pink teal", 39, "A lamp with a cloth shade on a wooden foot."),
    ("apple", "fruit", apple, "red green yellow", 1, "A crisp apple from the orchard."),
    ("pear", "fruit", pear, "green yellow", 1, "A sweet and juicy pear."),
    ("cherries", "fruit", cherries, "red black", 3, "A pair of ripe cherries on their stem."),
]  # fmt: skip
BRANDS = ("Alder & Ash", "Morrow", "Nordlight", "Papaya")


def draw(folder: Path) -> int:
    """The pictures and ``products.jsonl`` into ``folder``; returns how many products."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    rows = []
    for name, category, paint, colours, price, description in KINDS:
        for colour in colours.split():
            sku = f"{name}-{colour}".replace(" ", "-")
            pictures = []
            for view in range(1 + int(random.integers(3) == 0)):
                ground = GROUNDS[int(random.integers(len(GROUNDS)))]
                sheet = Sheet(ground, 1.0 if view == 0 else 0.72)
                paint(sheet, COLOURS[colour])
                pictures.append(f"pictures/{sku}-{view + 1}.png")
                sheet.done().save(folder / pictures[-1])
            rows.append(
                {"sku": sku, "images": pictures, "title": f"{colour.capitalize()} {name}", "description": description,
                 "category": category, "colour": colour, "brand": BRANDS[int(random.integers(len(BRANDS)))],
                 "price": price + int(random.integers(1 + price // 2)) + 0.9, "in_stock": bool(random.integers(5))}
            )  # fmt: skip
    order = random.permutation(len(rows))
    with (folder / "products.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(rows[at], ensure_ascii=False) + "\n" for at in order)
    return len(rows)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/shop")
    print(f"{draw(target)} products in {target}")
