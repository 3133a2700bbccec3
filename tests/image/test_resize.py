"""Resizing: bit for bit what Pillow makes of an image, without Pillow."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from t5g import InvalidArgumentError
from t5g._core import resize_image

EXTREMES = [
    ((1, 1), (7, 5)),
    ((1, 9), (3, 4)),
    ((9, 1), (4, 3)),
    ((1, 2000), (16, 16)),
    ((2000, 1), (16, 16)),
    ((30000, 20), (56, 56)),
    ((20, 30000), (56, 56)),
    ((64, 48), (64, 48)),
    ((64, 48), (64, 20)),
    ((64, 48), (20, 48)),
    ((5, 4), (896, 896)),
    ((300, 200), (1, 1)),
    ((1500, 2000), (896, 896)),
    ((1001, 999), (896, 896)),
]
# (width, height), new (width, height), CRC-32 of the result: what Pillow 13 makes of `pattern`.
GOLDENS = [
    ((1, 1), (3, 2), 1992828038),
    ((30000, 20), (56, 56), 691963612),
    ((20, 30000), (56, 56), 4108352778),
    ((640, 480), (896, 896), 3079807884),
    ((480, 640), (224, 224), 2163560784),
    ((100, 37), (100, 90), 3302432360),
    ((100, 37), (31, 37), 479289461),
]


def pattern(width: int, height: int) -> np.ndarray:
    """Return an image whose values need no random numbers."""
    i = np.arange(height * width * 3, dtype=np.uint64)
    return (i * i * np.uint64(2654435761) >> np.uint64(17)).astype(np.uint8).reshape(height, width, 3)


def random_sizes(n: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Sizes from 1 to 300, small ones as often as large ones; a tenth keeps its width, a tenth its height."""
    rng = np.random.default_rng(2)
    sizes = []
    for i in range(n):
        width, height, new_width, new_height = np.exp(rng.uniform(0, np.log(300), 4)).astype(int).tolist()
        sizes.append(((width, height), (width if i % 10 == 0 else new_width, height if i % 10 == 1 else new_height)))
    return sizes


def test_equals_pillow() -> None:
    image = pytest.importorskip("PIL.Image", reason="no Pillow to compare with")
    if int(image.__version__.split(".")[0]) < 13:
        pytest.skip("Pillow before 13 resizes tall images in another order")
    rng = np.random.default_rng(3)
    for i, ((width, height), size) in enumerate(EXTREMES + random_sizes(500)):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if i % 3 == 0:  # edges, where rounding is at its limits
            pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
        expected = np.asarray(image.fromarray(pixels).resize(size, image.Resampling.BILINEAR))
        np.testing.assert_array_equal(resize_image(pixels, *size), expected, f"{width} x {height} to {size}")


@pytest.mark.parametrize(("size", "new_size", "crc"), GOLDENS)
def test_equals_what_pillow_gave(size: tuple[int, int], new_size: tuple[int, int], crc: int) -> None:
    assert zlib.crc32(resize_image(pattern(*size), *new_size)) == crc


def test_an_even_image_stays_even() -> None:
    for value in (0, 1, 127, 254, 255):
        for size in ((1, 1), (3, 300), (70, 30), (896, 2)):
            assert (resize_image(np.full((33, 47, 3), value, np.uint8), *size) == value).all()


def test_the_input_is_not_changed_and_not_returned() -> None:
    pixels = pattern(8, 8)
    before = pixels.copy()
    out = resize_image(pixels, 8, 8)
    out[:] = 0
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((4, 4), (2, 2), r"shape \(4, 4\), expected \[height, width, 3\]"),
        ((4, 4, 4), (2, 2), r"expected \[height, width, 3\]"),
        ((0, 4, 3), (2, 2), "height is 0 pixels"),
        ((4, 0, 3), (2, 2), "width is 0 pixels"),
        ((4, 4, 3), (0, 2), "new size is 0 x 2"),
        ((4, 4, 3), (2, -1), "new size is 2 x -1"),
        ((4, 4, 3), (2, 1 << 40), "new size is 2 x"),
    ],
)
def test_what_it_refuses(shape: tuple[int, ...], size: tuple[int, int], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        resize_image(np.zeros(shape, np.uint8), *size)


@pytest.mark.parametrize("pixels", [np.zeros((2, 2, 3)), np.zeros((2, 2, 3), np.int64), [[[1, 2, 3]]], None])
def test_only_bytes_are_pixels(pixels: object) -> None:
    with pytest.raises(TypeError):
        resize_image(pixels, 2, 2)
