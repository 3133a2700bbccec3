"""Images of one coloured shape somewhere on a plain ground, and what is to be said about them; NumPy only.

The answers need every part of the image path: colours the channels and their scale, triangles the order of pixels in a
patch, places the order of patches and of pooled tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COLOURS = {
    "red": (215, 30, 30),
    "green": (30, 175, 40),
    "blue": (40, 60, 220),
    "yellow": (235, 215, 30),
    "white": (250, 250, 250),
    "grey": (125, 125, 125),
    "black": (8, 8, 8),
}
GROUNDS = ((235, 225, 210), (60, 50, 70), (160, 190, 200), (190, 140, 170), (95, 130, 100))
KINDS = ("square", "up", "down", "left", "right")  # the last four are triangles
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@dataclass(frozen=True)
class Drawing:
    """uint8 [H, W, 3], and what it shows."""

    pixels: np.ndarray
    colour: str
    kind: str
    place: str

    @property
    def answers(self) -> dict[str, str]:
        """The right answer to each question."""
        thing = self.kind if self.kind in ("circle", "square") else f"triangle {self.kind}"
        return {
            "What is it?": f"a {self.colour} {thing}",
            "Where is it?": f"at the {self.place}",
            "What and where?": f"a {self.colour} {thing} at the {self.place}",
        }


def inside(kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points of [-1, 1] x [-1, 1] belong to the shape."""
    if kind == "circle":
        return x * x + y * y <= 1
    if kind == "square":
        return np.maximum(abs(x), abs(y)) <= 0.9
    along, across = {"up": (y, x), "down": (-y, x), "left": (x, y), "right": (-x, y)}[kind]
    return (along <= 1) & (2 * abs(across) <= along + 1)


def draw(
    rng: np.random.Generator,
    width: int = 56,
    height: int = 56,
    *,
    kinds: Sequence[str] = KINDS,
    radii: tuple[float, float] = (0.135, 0.165),
) -> Drawing:
    """Draw a random image; radii are shares of its sides."""
    colour, kind = list(COLOURS)[rng.integers(len(COLOURS))], kinds[rng.integers(len(kinds))]
    row, column = rng.integers(3, size=2)
    radius_x, radius_y = rng.uniform(*radii, 2)
    centre_x, centre_y = (np.array([column, row]) + 0.5) / 3 + rng.uniform(-0.025, 0.025, 2)
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    shape = inside(kind, ((x - centre_x) / radius_x)[None, :], ((y - centre_y) / radius_y)[:, None])
    ground = np.array(GROUNDS[rng.integers(len(GROUNDS))])
    pixels = np.where(shape[..., None], np.array(COLOURS[colour]), ground) + rng.normal(0, 6, (height, width, 3))
    return Drawing(np.clip(pixels, 0, 255).astype(np.uint8), colour, kind, f"{ROWS[row]} {COLUMNS[column]}")
