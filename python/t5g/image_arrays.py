"""Arrays and tensors to RGB pixels. Other libraries' tensors come through NumPy, without importing the libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from t5g.errors import ArgumentTypeError, InvalidArgumentError
from t5g.messages import about

_CHANNELS = (1, 3, 4)
_ROWS_PER_BAND = 256  # of an array with alpha: its blending needs 100 bytes a pixel
_SHAPES = "[H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels"


def is_array(image: object) -> bool:
    """Whether this has dimensions and becomes a NumPy array."""
    return isinstance(image, np.ndarray) or (hasattr(image, "__array__") and hasattr(image, "shape"))


def n_images(images: Any) -> int | None:
    """How many images an array is a list of, pixels or paths; None for one image."""
    is_list = len(images.shape) == 4 or (len(images.shape) == 1 and getattr(images.dtype, "kind", "") in ("O", "U"))
    return int(images.shape[0]) if is_list else None


def as_array(image: Any, where: str) -> npt.NDArray[Any]:
    """Make a NumPy array of an array or a tensor, wherever its memory is."""
    if isinstance(image, np.ndarray):
        return image
    if hasattr(image, "detach"):  # torch: off its graph and its device
        image = image.detach().cpu()
        if getattr(image.dtype, "is_floating_point", False):
            image = image.float()  # NumPy knows no bfloat16
    try:
        return np.asarray(image)
    except Exception as error:  # whatever the library of such a tensor raises
        what = f"a {type(image).__name__} that gives no NumPy array: {error}. Give an array of uint8 or floats."
        raise about(ArgumentTypeError, where, what) from error


def from_array(array: npt.NDArray[Any], where: str, *, channels_first: bool = False) -> npt.NDArray[np.uint8]:
    """Check an array and make it uint8 [H, W, 3].

    Parameters
    ----------
    array
        uint8 from 0 to 255 or floats from 0 to 1; transparent parts become white.
    where
        What errors call it.
    channels_first
        Read shapes that could be either as [C, H, W], as tensors mostly are, and not as [H, W, C].
    """
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise about(InvalidArgumentError, where, f"dtype {array.dtype}, expected uint8 (0 to 255) or floats (0 to 1).")
    pixels = _channels_last(array, where, channels_first)
    if pixels.size == 0:
        raise about(InvalidArgumentError, where, f"shape {array.shape}, it has no pixels.")
    if pixels.dtype != np.uint8:
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):
            hint = ""
            if low >= 0 and 1 < high <= 255:
                hint = " Divide them by 255, or make them uint8."
            elif -10 < low < 0:
                hint = " Give them before they are normalised: t5g does that itself."
            raise about(InvalidArgumentError, where, f"floats from {low} to {high}, expected 0 to 1, or uint8.{hint}")
    if pixels.shape[2] == 4:
        return _on_white(pixels)
    rgb = pixels if pixels.dtype == np.uint8 else np.rint(pixels * 255).astype(np.uint8)
    return np.broadcast_to(rgb, (*rgb.shape[:2], 3))


def _channels_last(array: npt.NDArray[Any], where: str, channels_first: bool) -> npt.NDArray[Any]:
    if array.ndim == 2:
        return array[..., None]
    if array.ndim == 3:
        first, last = array.shape[0] in _CHANNELS, array.shape[2] in _CHANNELS
        # Arrays have channels last where nothing speaks against it; [4, 4, 2] is a mistake rather than a tiny image.
        if first and (channels_first or (not last and min(array.shape[1:]) > max(_CHANNELS))):
            return array.transpose(1, 2, 0)
        if last:
            return array
    raise about(InvalidArgumentError, where, f"shape {tuple(array.shape)}, expected {_SHAPES}.")


def _on_white(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Blend [H, W, 4] onto white, with transformers' arithmetic."""
    is_float = pixels.dtype != np.uint8
    white = 1.0 if is_float else 255
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for y in range(0, len(pixels), _ROWS_PER_BAND):
        band = pixels[y : y + _ROWS_PER_BAND]
        alpha = band[..., 3:] / white
        blend = alpha * band[..., :3] + (1 - alpha) * white
        rgb[y : y + _ROWS_PER_BAND] = np.round(blend * 255 if is_float else blend)
    return rgb
