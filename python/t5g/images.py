"""Pictures as users have them to pictures as the model reads them: uint8 [S, S, 3], with S the model's image size.

What is done is what transformers' image processor for this model does, bit for bit: to RGB with anything transparent on
white, then stretched to a square. Pillow is asked only for files and its own images, and only when they come.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from t5g import _core
from t5g.errors import InvalidArgumentError

if TYPE_CHECKING:
    import PIL.Image

Image: TypeAlias = "str | os.PathLike[str] | npt.NDArray[np.generic] | PIL.Image.Image"
Images: TypeAlias = "Image | Iterable[Image]"
Picture: TypeAlias = "npt.NDArray[np.uint8]"

MAX_PIXELS = 1 << 27
"""The largest image that is decoded, 128 megapixels: beyond it Pillow alone would take more than 512 MB."""

# What Pillow may try on a file: formats that it reads with code of its own or of the usual libraries. PostScript, which
# it hands to another program, is not among them, nor are formats that any file could be taken for.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "QOI")

# Pillow warns about odd files through the warnings module, whose settings are the process's: one thread at a time.
_quiet = threading.Lock()

# transformers' values for this model.
_MIN_CROP_SIZE, _MAX_CROPS, _MIN_RATIO = 256, 4, 1.2
_ROWS_PER_BAND = 256  # of an array with alpha: its blending needs 100 bytes a pixel


def is_one(images: object) -> bool:
    """Whether this is an image, not a list of them; an array [N, H, W, 3] is a list."""
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    return isinstance(images, str | os.PathLike) or _is_pil(images)


def as_list(images: Images | None) -> list[Image] | None:
    """One image or several, as a list; None stays None."""
    if images is None:
        return None
    if is_one(images):
        return [cast("Image", images)]
    if not isinstance(images, Iterable):
        raise TypeError(f"images is a {type(images).__name__}, expected paths, PIL images or arrays.")
    return list(images)


def preprocess(images: list[Image], size: int, *, pan_and_scan: bool = False) -> list[list[Picture]]:
    """Read images for a model whose pictures have sides of `size` pixels.

    Parameters
    ----------
    images
        Paths, PIL images, or arrays [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], of uint8 or of floats from 0 to 1.
    size
        The model's ``config.vision.image_size``.
    pan_and_scan
        Add crops of long images.

    Returns
    -------
    list of list of numpy.ndarray
        For each image, itself and then its crops, each uint8 [size, size, 3].
    """
    pictures = []
    for i, image in enumerate(images):
        where = f"image {i + 1} of {len(images)}" if len(images) > 1 else "image"
        pixels = _read(image, where)
        parts = [pixels, *(_crops(pixels) if pan_and_scan else ())]
        pictures.append([_core.resize_image(np.ascontiguousarray(part), size, size) for part in parts])
    return pictures


def _read(image: object, where: str) -> Picture:
    """Any image -> uint8 [H, W, 3]."""
    if isinstance(image, str | os.PathLike):
        return _from_file(image, f"{where} ({os.fspath(image)})")
    if isinstance(image, np.ndarray):
        return _from_array(image, where)
    if _is_pil(image):
        with _Decoding(where):
            return _from_pil(image, where)
    raise TypeError(f"{where}: a {type(image).__name__}, expected a path, a PIL image or an array.")


# ---- Files and PIL images ----


def _is_pil(image: object) -> bool:
    pillow = sys.modules.get("PIL.Image")  # nobody has a PIL image without it
    return pillow is not None and isinstance(image, pillow.Image)


def _pillow(where: str) -> Any:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError(
            f"{where}: reading image files needs Pillow: pip install 't5g[vision]'. Arrays need nothing."
        ) from error
    return PIL


class _Decoding:
    """Around Pillow's work: no warnings, and whatever a damaged file makes it raise becomes one kind of error."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        _quiet.acquire()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._warnings.__exit__(None, None, None)
        _quiet.release()
        if isinstance(error, Exception) and not isinstance(error, MemoryError | InvalidArgumentError):
            raise InvalidArgumentError(f"{self._where}: cannot be decoded: {error}. The file is damaged?") from error


def _from_file(path: str | os.PathLike[str], where: str) -> Picture:
    with open(path, "rb") as file:  # noqa: PTH123  Path("") would be a folder
        pillow = _pillow(where)
        if not file.peek(1):
            raise InvalidArgumentError(f"{where}: the file is empty, expected an image.")
        pillow.Image.init()
        with _Decoding(where):
            try:
                image = pillow.Image.open(file, formats=[name for name in _FORMATS if name in pillow.Image.OPEN])
            except pillow.UnidentifiedImageError:
                known = ", ".join(name for name in _FORMATS if name in pillow.Image.OPEN)
                raise InvalidArgumentError(f"{where}: not an image, expected one of {known}.") from None
            _check_size(image.size, where)
            image.load()
            return _from_pil(pillow.ImageOps.exif_transpose(image), where)


def _from_pil(image: Any, where: str) -> Picture:
    import PIL.Image

    _check_size(image.size, where)
    if image.mode.startswith(("I", "F")):
        image = PIL.Image.fromarray(_to_8_bits(np.asarray(image)))
    elif "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _to_8_bits(grey: npt.NDArray[Any]) -> Picture:
    """Scale what is wider than 8 bits, where Pillow, and with it transformers, would cut at 255 and see white."""
    if grey.dtype.kind == "f":
        scaled = grey * 255 if grey.max() <= 1 else grey
        return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)
    # The upper byte, as Pillow reads colour images of 16 bits. In its 32-bit mode values may be of any width.
    is_8_bits = grey.dtype.itemsize > 2 and grey.max() <= 255
    return np.asarray(np.clip(grey if is_8_bits else grey >> 8, 0, 255), np.uint8)


def _check_size(size: tuple[int, int], where: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InvalidArgumentError(
            f"{where}: {width} x {height} pixels, expected at most {MAX_PIXELS:,} in all. Make it smaller first."
        )
    if min(size) == 0:
        raise InvalidArgumentError(f"{where}: {width} x {height}, it has no pixels.")


# ---- Arrays ----


def _from_array(array: npt.NDArray[Any], where: str) -> Picture:
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise InvalidArgumentError(f"{where}: dtype {array.dtype}, expected uint8 (0 to 255) or floats (0 to 1).")
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        is_planar = pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4)
        hint = " Transpose it: array.transpose(1, 2, 0)." if is_planar else ""
        raise InvalidArgumentError(f"{where}: shape {array.shape}, expected [H, W], [H, W, 3] or [H, W, 4].{hint}")
    if pixels.size == 0:
        raise InvalidArgumentError(f"{where}: shape {array.shape}, it has no pixels.")
    if pixels.dtype != np.uint8:
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):
            raise InvalidArgumentError(f"{where}: floats from {low} to {high}, expected 0 to 1, or uint8.")
    if pixels.shape[2] == 4:
        return _on_white(pixels)
    rgb = pixels if pixels.dtype == np.uint8 else np.rint(pixels * 255).astype(np.uint8)
    return np.broadcast_to(rgb, (*rgb.shape[:2], 3))


def _on_white(pixels: npt.NDArray[Any]) -> Picture:
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


# ---- Pan and scan ----


def _crops(pixels: Picture) -> list[Picture]:
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
