"""A small model that was trained to see: it says what images show, and no longer does when the image path is wrong.

tests/data/shapes.gguf comes from tools/train_vision_test. The images are drawn anew: none was in its training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import t5g
from support.shapes import Drawing, draw

MODEL = Path(__file__).parents[1] / "data" / "shapes.gguf"
WHOLE = "What and where?"
SIDE, PATCH = 56, 7


@pytest.fixture(scope="module")
def model() -> Iterator[t5g.Model]:
    with t5g.Model(MODEL) as model:
        yield model


def ask(model: t5g.Model, pixels: np.ndarray, question: str = WHOLE) -> str:
    return model.generate(f"<start_of_image>{question}", images=pixels, max_new_tokens=40).text


def drawings(n: int, seed: int) -> list[Drawing]:
    """Half of them as large as the model's, the others larger or smaller, and of other shapes."""
    rng = np.random.default_rng(seed)
    sizes = [(SIDE, SIDE) if i % 2 else tuple(rng.integers(45, 300, 2).tolist()) for i in range(n)]
    return [draw(rng, *size) for size in sizes]


def test_it_says_what_it_sees(model: t5g.Model) -> None:
    asked = [(p, question) for p in drawings(60, 1001) for question in p.answers]
    right = sum(ask(model, p.pixels, question) == p.answers[question] for p, question in asked)
    assert right >= 0.95 * len(asked), f"{right} of {len(asked)} answers are right"


def test_a_batch_sees_what_one_by_one_sees(model: t5g.Model) -> None:
    shown = drawings(12, 1002)
    batch = model.generate_batch(
        [f"<start_of_image>{WHOLE}"] * len(shown), images=[p.pixels for p in shown], max_new_tokens=40
    )
    assert [one.text for one in batch] == [ask(model, p.pixels) for p in shown]


def in_patches(pixels: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change an image as [patch row, row, patch column, column, channel]."""
    n = SIDE // PATCH
    return np.ascontiguousarray(change(pixels.reshape(n, PATCH, n, PATCH, 3))).reshape(SIDE, SIDE, 3)


# What an image path that is wrong in one place would show the model.
MISTAKES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "blue before red": lambda x: x[..., ::-1],
    "values from 0 to 1 instead of -1 to 1": lambda x: (127.5 + x / 2).astype(np.uint8),
    "rows from the bottom": lambda x: x[::-1],
    "rows as columns": lambda x: x.transpose(1, 0, 2),
    "patches by columns": lambda x: in_patches(x, lambda p: p.transpose(2, 1, 0, 3, 4)),
    "pixels of a patch by columns": lambda x: in_patches(x, lambda p: p.transpose(0, 3, 2, 1, 4)),
    "channels after each other": lambda x: np.ascontiguousarray(x.transpose(2, 0, 1)).reshape(SIDE, SIDE, 3),
    "no image at all": lambda x: np.zeros_like(x),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_it_notices_a_wrong_image_path(model: t5g.Model, mistake: Callable[[np.ndarray], np.ndarray]) -> None:
    rng = np.random.default_rng(1003)
    shown = [draw(rng) for _ in range(40)]
    right = sum(ask(model, np.ascontiguousarray(mistake(p.pixels))) == p.answers[WHOLE] for p in shown)
    assert right <= len(shown) // 2, f"{right} of {len(shown)} answers are right all the same"
