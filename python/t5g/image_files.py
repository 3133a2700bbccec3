"""Image files, wherever their bytes are, to RGB pixels. Pillow decodes them; it is asked only when one comes."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from t5g import arguments
from t5g.errors import ArgumentTypeError, InvalidArgumentError
from t5g.messages import about

MAX_PIXELS = 1 << 27
"""The largest image that is decoded, 128 megapixels: beyond it Pillow alone would take more than 512 MB."""

# What a stream may hold: MAX_PIXELS of the widest kind, not packed, and room for what else a file has.
_MAX_BYTES = 1 << 30

# What Pillow may try on a file: formats that it reads with code of its own or of the usual libraries. PostScript, which
# it hands to another program, is not among them, nor are formats that any file could be taken for.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "QOI")

# Pillow warns about odd files through the warnings module, whose settings are the process's: one thread at a time.
_quiet = threading.Lock()

_DATA_URI = re.compile(r"data:(?:image/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_SMALLER = "Make it smaller first."
_DECODE = "Base64 of an image file is expected: data:image/png;base64,..."


# ---- Where the bytes are ----


def from_text(image: str, where: str) -> npt.NDArray[np.uint8]:
    """Read a path or a data URI; refuse addresses, since t5g uses no network."""
    if image[:5].lower() == "data:":
        return from_stream(io.BytesIO(_data_of(image, where)), where)
    address = _ADDRESS.match(image)
    if address and address[1].lower() == "file":
        raise about(
            InvalidArgumentError, where, f"{arguments.found(image)} is an address. Give the path: {image[7:60]!r}."
        )
    if address:
        raise about(
            InvalidArgumentError,
            where,
            f"{arguments.found(image)} is an address on a network, which t5g never uses. "
            "Download the image and give its bytes or its path.",
        )
    if len(image) > arguments.LONGEST_PATH:
        raise about(
            InvalidArgumentError,
            where,
            f"must be a path, got a text of {len(image):,} characters. Base64 is read as a data URI: "
            "data:image/png;base64,...",
        )
    return from_path(arguments.path(where, image) if image else image, where)


def _data_of(uri: str, where: str) -> bytes:
    import base64
    import binascii

    head = _DATA_URI.match(uri)
    if head is None:
        raise about(
            InvalidArgumentError, where, f"{arguments.found(uri[:60])} is a data URI of another kind. {_DECODE}"
        )
    try:
        return base64.b64decode("".join(uri[head.end() :].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise about(InvalidArgumentError, where, f"the data URI cannot be decoded: {error}. {_DECODE}") from None


def from_path(path: str, where: str) -> npt.NDArray[np.uint8]:
    """Read a file."""
    where = f"{where} ({path})"
    with open(path, "rb") as file:  # noqa: PTH123  Path("") would be a folder
        if not file.peek(1):
            raise about(InvalidArgumentError, where, "the file is empty, expected an image.")
        return _decode(file, where)


def from_stream(file: IO[bytes], where: str) -> npt.NDArray[np.uint8]:
    """Read an open file from its beginning, or, where it cannot go back, from where it is."""
    try:
        with contextlib.suppress(AttributeError, OSError):  # io.UnsupportedOperation among them
            file.seek(0)
        data = b"".join(_chunks(file, where))
    except ValueError as error:
        if isinstance(error, InvalidArgumentError):
            raise
        raise about(InvalidArgumentError, where, f"the file cannot be read: {error}.") from None  # it is closed
    if not data:
        raise about(InvalidArgumentError, where, "there are no bytes, expected an image file.")
    return _decode(io.BytesIO(data), where)


def _chunks(file: IO[bytes], where: str) -> Iterator[bytes]:
    """Read to the end, however little a read gives, but not endlessly."""
    size = 0
    while chunk := file.read(1 << 20):
        if not isinstance(chunk, bytes | bytearray):
            kind = "text" if isinstance(chunk, str) else arguments.found(chunk)
            what = f'the file gives {kind}, expected bytes. Open it with open(path, "rb").'
            raise about(ArgumentTypeError, where, what)
        size += len(chunk)
        if size > _MAX_BYTES:
            raise about(InvalidArgumentError, where, f"has more than {_MAX_BYTES:,} bytes: no image that t5g reads.")
        yield chunk


# ---- Pillow ----


def is_pil(image: object) -> bool:
    """Whether this is an image of Pillow's."""
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
            raise about(
                InvalidArgumentError, self._where, f"cannot be decoded: {str(error).rstrip('.')}. Is the file damaged?"
            ) from error


def _decode(file: IO[bytes], where: str) -> npt.NDArray[np.uint8]:
    pillow = _pillow(where)
    pillow.Image.init()
    with _Decoding(where):
        try:
            image = pillow.Image.open(file, formats=[name for name in _FORMATS if name in pillow.Image.OPEN])
        except pillow.UnidentifiedImageError:
            known = ", ".join(name for name in _FORMATS if name in pillow.Image.OPEN)
            raise about(InvalidArgumentError, where, f"not an image, expected one of {known}.") from None
        except pillow.Image.DecompressionBombError:  # at twice Pillow's limit, which other programs change
            limit = min(MAX_PIXELS, 2 * pillow.Image.MAX_IMAGE_PIXELS)
            raise about(InvalidArgumentError, where, f"has more than {limit:,} pixels. {_SMALLER}") from None
        _check_size(image.size, where)
        image.load()
        return _from_pil(pillow.ImageOps.exif_transpose(image), where)


def from_pil_image(image: Any, where: str) -> npt.NDArray[np.uint8]:
    """Read an image of Pillow's, which may still have to decode it."""
    with _Decoding(where):
        return _from_pil(image, where)


def _from_pil(image: Any, where: str) -> npt.NDArray[np.uint8]:
    import PIL.Image

    _check_size(image.size, where)
    if image.mode.startswith(("I", "F")):
        image = PIL.Image.fromarray(_to_8_bits(np.asarray(image)))
    elif "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _to_8_bits(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
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
        raise about(
            InvalidArgumentError,
            where,
            f"{width} x {height} pixels, expected at most {MAX_PIXELS:,} in all. {_SMALLER}",
        )
    if min(size) == 0:
        raise about(InvalidArgumentError, where, f"{width} x {height}, it has no pixels.")
