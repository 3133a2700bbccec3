"""Images as users have them to images as the model reads them: uint8 [S, S, 3], with S the model's image size.

What is done is what transformers' image processor for this model does, bit for bit: to RGB with anything transparent on
white, then stretched to a square. `image_files` knows files and Pillow, `image_arrays` arrays and tensors.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from t5g import _core, arguments
from t5g.errors import ArgumentTypeError, InvalidArgumentError
from t5g.image_arrays import as_array, from_array, is_array, n_images
from t5g.image_files import MAX_PIXELS, from_path, from_pil_image, from_stream, from_text, is_pil
from t5g.messages import about

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["MAX_PIXELS", "Image", "Images", "Pixels", "as_list", "as_lists", "preprocess"]

Image: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | npt.NDArray[np.generic] | PIL.Image.Image"
)
Images: TypeAlias = "Image | Iterable[Image]"
Pixels: TypeAlias = "npt.NDArray[np.uint8]"

_KINDS = "a path, the bytes of a file, an open file, a PIL image, an array or a tensor"

# transformers' values for this model.
_MIN_CROP_SIZE, _MAX_CROPS, _MIN_RATIO = 256, 4, 1.2


def is_one(images: object) -> bool:
    """Whether this is an image, not a list of them; an array of four dimensions is a list."""
    if is_array(images):
        return n_images(images) is None
    return isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or is_pil(images) or _is_file(images)


def as_list(images: Images | None, *, name: str = "images") -> list[Image] | None:
    """One image or several, as a list; None stays None. name: what errors call them."""
    if images is None:
        return None
    if is_one(images):
        return [cast("Image", images)]
    return arguments.items(name, images, "images", f"An image is {_KINDS}.")


def as_lists(images: object, n: int) -> list[Any]:
    """Images of each of n sources."""
    if is_one(images):
        raise about(
            InvalidArgumentError, "images", f"expected a list of {n}, the images of each source, got a single image."
        )
    several = arguments.items("images", images, "the images of each source")
    if len(several) != n:
        raise about(
            InvalidArgumentError,
            "images",
            f"expected a list of {n}, the images of each source, got {len(several)}. "
            "A source has None, an image or a list of images.",
        )
    return several


def preprocess(
    images: list[Image], size: int, *, pan_and_scan: bool = False, name: str = "image"
) -> list[list[Pixels]]:
    """Read images for a model whose images have sides of `size` pixels.

    Parameters
    ----------
    images
        Each a path, the bytes of an image file, a data URI, a file open for reading bytes, a PIL image, or an array or
        tensor [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels, of uint8 or of floats from 0 to 1.
    size
        The model's ``config.vision.image_size``.
    pan_and_scan
        Add crops of long images.
    name
        What errors call an image.

    Returns
    -------
    list of list of numpy.ndarray
        For each image, itself and then its crops, each uint8 [size, size, 3].
    """
    prepared = []
    for i, image in enumerate(images):
        where = name if len(images) == 1 else _place(name, i, len(images))
        pixels = _read(image, where)
        parts = [pixels, *(_crops(pixels) if pan_and_scan else ())]
        prepared.append([_core.resize_image(np.ascontiguousarray(part), size, size) for part in parts])
    return prepared


def _place(name: str, i: int, n: int) -> str:
    return f"image {i + 1} of {n}" if name == "image" else f"{name}: image {i + 1} of {n}"


def _read(image: object, where: str) -> Pixels:
    """Any image -> uint8 [H, W, 3]."""
    if isinstance(image, str):
        return from_text(image, where)
    if isinstance(image, os.PathLike):
        return from_path(arguments.path(where, image), where)
    if isinstance(image, bytes | bytearray | memoryview):
        return from_stream(io.BytesIO(image), where)
    if is_pil(image):
        return from_pil_image(image, where)
    if _is_file(image):
        return from_stream(cast("IO[bytes]", image), where)
    if is_array(image):
        return from_array(as_array(image, where), where, channels_first=not isinstance(image, np.ndarray))
    advice = ""
    if isinstance(image, list | tuple):
        advice = " Of nested lists of numbers make an array first: np.array(image, np.uint8)."
    elif isinstance(image, Mapping):
        advice = " Give what it holds: the bytes or the path."
    raise about(ArgumentTypeError, where, f"must be {_KINDS}, got {arguments.found(image)}.{advice}")


def _is_file(image: object) -> bool:
    return hasattr(image, "read")


# ---- Pan and scan ----


def _crops(pixels: Pixels) -> list[Pixels]:
    """Two to four crops along the longer side of a long image; none of one that is nearly square or small."""
    height, width = pixels.shape[:2]
    longer, shorter = max(width, height), min(width, height)
    if longer / shorter < _MIN_RATIO:
        return []
    wanted = min(math.floor(longer / shorter + 0.5), longer // _MIN_CROP_SIZE)
    n = min(max(wanted, 2), _MAX_CROPS)
    side = math.ceil(longer / n)
    if min(side, shorter) < _MIN_CROP_SIZE:
        return []
    starts = range(0, n * side, side)
    return [pixels[:, at : at + side] if width >= height else pixels[at : at + side] for at in starts]
