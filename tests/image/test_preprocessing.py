"""Images of every kind become what the model reads; what is no image is refused in words."""

from __future__ import annotations

import io
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from t5g import InvalidArgumentError
from t5g._core import resize_image
from t5g.images import MAX_PIXELS, as_list, preprocess

SIZE = 24
rng = np.random.default_rng(1)
RGB = rng.integers(0, 256, (37, 53, 3), dtype=np.uint8)
GREY = RGB[..., 0]
RGBA = rng.integers(0, 256, (37, 53, 4), dtype=np.uint8)


def one(image: Any, **options: Any) -> np.ndarray:
    """The pixels that one image becomes."""
    ((pixels,),) = preprocess([image], SIZE, **options)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    return pixels


def square(rgb: np.ndarray) -> np.ndarray:
    """What becomes of an image that is RGB already."""
    return resize_image(np.ascontiguousarray(rgb), SIZE, SIZE)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(found, expected)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Blend as transformers does with arrays."""
    alpha = rgba[..., 3:] / 255
    return np.round(alpha * rgba[..., :3] + (1 - alpha) * 255).astype(np.uint8)


# ---- Arrays; without Pillow ----


def test_arrays() -> None:
    same(one(RGB), square(RGB))
    same(one(RGB[::2, ::-1]), square(RGB[::2, ::-1]))
    for grey in (GREY, GREY[..., None]):
        same(one(grey), square(np.repeat(GREY[..., None], 3, axis=-1)))
    same(one(RGBA), square(on_white(RGBA)))
    read_only = RGB.copy()
    read_only.flags.writeable = False
    same(one(read_only), square(RGB))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1(dtype: type) -> None:
    same(one((RGB / 255).astype(dtype)), square(RGB))
    same(one((GREY / 255).astype(dtype)), one(GREY))
    opaque = np.dstack([RGB, np.full_like(GREY, 255)])
    same(one((opaque / 255).astype(dtype)), square(RGB))


def test_what_is_transparent_is_white() -> None:
    assert (one(np.zeros((5, 7, 4), np.uint8)) == 255).all()
    assert (one(np.zeros((5, 7, 4), np.float32)) == 255).all()


def test_arrays_need_no_pillow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name == "PIL" or name.startswith("PIL.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    same(one(RGB), square(RGB))
    (tmp_path / "x.png").write_bytes(b"anything")
    with pytest.raises(ImportError, match=r"pip install 't5g\[vision\]'"):
        one(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError):
        one(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros(7, np.uint8), r"shape \(7,\)"),
        (np.zeros((1, 1, 4, 4, 3), np.uint8), r"shape \(1, 1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.float32), "no pixels"),
        (np.zeros((4, 4, 3), np.int64), "dtype int64, expected uint8"),
        (np.zeros((4, 4, 3), np.uint16), "dtype uint16"),
        (np.zeros((4, 4, 3), bool), "dtype bool"),
        (np.zeros((4, 4, 3), object), "dtype object"),
        (np.full((4, 4, 3), np.nan), "floats from nan to nan, expected 0 to 1"),
        (np.full((4, 4, 3), np.inf), "floats from inf to inf"),
        (np.full((4, 4, 3), 255.0), "floats from 255.0 to 255.0"),
        (np.full((4, 4, 3), -0.1), "floats from -0.1"),
    ],
)
def test_arrays_that_are_no_images(array: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        one(array)
    with pytest.raises(InvalidArgumentError, match=r"^image 2 of 3: "):
        preprocess([RGB, array, RGB], SIZE)


@pytest.mark.parametrize("image", [3, 2.5, None, [RGB], {"path": "a.png"}, object()])
def test_other_objects_are_no_images(image: object) -> None:
    with pytest.raises(TypeError, match=r"^image: must be a path, the bytes of a file, .* got "):
        one(image)


def test_one_image_or_several() -> None:
    assert as_list(None) is None
    assert as_list([]) == []
    assert as_list("a.png") == ["a.png"]
    assert as_list(Path("a.png")) == [Path("a.png")]
    assert as_list(("a.png", "b.png")) == ["a.png", "b.png"]
    assert as_list(iter(["a.png"])) == ["a.png"]
    assert [a.shape for a in as_list(RGB) or []] == [(37, 53, 3)]
    assert [a.shape for a in as_list(GREY) or []] == [(37, 53)]
    assert [a.shape for a in as_list(np.stack([RGB, RGB])) or []] == [(37, 53, 3)] * 2
    with pytest.raises(TypeError, match="images: must be a list of images, got 3"):
        as_list(3)  # type: ignore[arg-type]


# ---- Pan and scan ----


@pytest.mark.parametrize(
    ("height", "width", "crops"),
    [
        (300, 300, []),
        (300, 350, []),
        (600, 700, []),
        (200, 900, []),  # crops would be less than 256 high
        (300, 400, []),  # ... or wide
        (512, 1024, [(0, 0, 512, 512), (0, 512, 512, 1024)]),
        (512, 700, [(0, 0, 512, 350), (0, 350, 512, 700)]),
        (300, 1001, [(0, 0, 300, 334), (0, 334, 300, 668), (0, 668, 300, 1001)]),
        (700, 512, [(0, 0, 350, 512), (350, 0, 700, 512)]),
        (2600, 260, [(650 * i, 0, 650 * i + 650, 260) for i in range(4)]),
    ],
)
def test_crops(height: int, width: int, crops: list[tuple[int, int, int, int]]) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
    (prepared,) = preprocess([pixels], SIZE, pan_and_scan=True)
    parts = [pixels, *(pixels[top:bottom, left:right] for top, left, bottom, right in crops)]
    assert len(prepared) == len(parts)
    for found, part in zip(prepared, parts, strict=True):
        same(found, square(part))
    assert len(preprocess([pixels], SIZE)[0]) == 1


# ---- Files and PIL images ----


@pytest.fixture
def pil() -> Any:
    pytest.importorskip("PIL.Image", reason="no Pillow")
    import PIL.Image

    return PIL.Image


def modes(pil: Any) -> dict[str, Any]:
    """Images of every mode that files have, with what they look like in RGB."""
    colour = pil.fromarray(RGB)
    palette = colour.quantize(16)
    translucent = palette.copy()
    translucent.info["transparency"] = bytes(range(0, 256, 16))
    keyed = pil.fromarray(GREY)
    keyed.info["transparency"] = int(GREY[0, 0])
    deep = (GREY.astype(np.uint16) << 8) + 77
    return {
        "1": pil.fromarray(GREY).convert("1"),
        "L": pil.fromarray(GREY),
        "L with a transparent grey": keyed,
        "LA": pil.fromarray(RGBA[..., [0, 3]], "LA"),
        "P": palette,
        "P with transparency": translucent,
        "RGB": colour,
        "RGBA": pil.fromarray(RGBA),
        "CMYK": colour.convert("CMYK"),
        "YCbCr": colour.convert("YCbCr"),
        "I;16": pil.fromarray(deep),
        "I": pil.fromarray(deep.astype(np.int32)),
        "I of 8 bits": pil.fromarray(GREY.astype(np.int32)),
        "F": pil.fromarray(GREY.astype(np.float32)),
        "F from 0 to 1": pil.fromarray((GREY / 255).astype(np.float32)),
    }


def test_modes(pil: Any) -> None:
    images = modes(pil)
    white = pil.new("RGBA", (53, 37), (255, 255, 255, 255))
    grey = square(np.repeat(GREY[..., None], 3, axis=-1))
    for name, image in images.items():
        if name.startswith(("I", "F")):
            expected = grey
        elif "A" in name or "transparen" in name:
            expected = square(np.asarray(pil.alpha_composite(white, image.convert("RGBA")).convert("RGB")))
        else:
            expected = square(np.asarray(image.convert("RGB")))
        np.testing.assert_array_equal(one(image), expected, name)


@pytest.mark.parametrize(
    ("suffix", "names"),
    [
        ("png", ["1", "L", "L with a transparent grey", "LA", "P", "P with transparency", "RGB", "RGBA", "I;16"]),
        ("tiff", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "F from 0 to 1"]),
        ("jpg", ["L", "RGB", "CMYK"]),
        ("webp", ["RGB", "RGBA"]),
        ("bmp", ["1", "L", "P", "RGB"]),
        ("gif", ["L", "L with a transparent grey", "P"]),
        ("ppm", ["L", "RGB"]),
    ],
)
def test_a_file_is_what_pillow_opens(pil: Any, tmp_path: Path, suffix: str, names: list[str]) -> None:
    images = modes(pil)
    for i, name in enumerate(names):
        path = tmp_path / f"{i}.{suffix}"
        images[name].save(path)
        with pil.open(path) as opened:
            np.testing.assert_array_equal(one(path), one(opened), name)
        same(one(str(path)), one(path))


def test_an_animation_is_its_first_frame(pil: Any, tmp_path: Path) -> None:
    frames = [pil.new("RGB", (9, 9), colour) for colour in ("red", "green", "blue")]
    for suffix in ("gif", "png", "webp"):
        path = tmp_path / f"moving.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert (one(path) == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_file_is_turned_upright(pil: Any, tmp_path: Path, orientation: int) -> None:
    exif = pil.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    pil.fromarray(RGB).save(path, exif=exif)
    turned = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: np.rot90(RGB, 2).transpose(1, 0, 2),
        8: np.rot90(RGB),
    }[orientation]
    same(one(path), square(turned))
    with pil.open(path) as opened:  # as in transformers, whose processor takes PIL images as they are
        same(one(opened), square(RGB))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (30000, 20), (20, 30000)])
def test_odd_shapes(pil: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "odd.png"
    pixels = np.random.default_rng(5).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    pil.fromarray(pixels).save(path)
    same(one(path), square(pixels))


def png_of_size(width: int, height: int) -> bytes:
    """Make a tiny file that claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(20000, 20000), (100000, 100000), (2**31 - 1, 1), (12000, 12000)])
def test_a_bomb_is_refused_before_it_is_decoded(pil: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_size(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidArgumentError, match=r"bomb\.png\): .* pixels.*\. Make it smaller first\.$"):
            one(path)


def test_the_largest_image_is_decoded_without_a_warning(pil: Any, tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5)
    assert side * side <= MAX_PIXELS
    path = tmp_path / "large.png"
    pil.new("1", (side, side), 1).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (one(path) == 255).all()


def damaged_files(pil: Any) -> dict[str, bytes]:
    """Return files that are no images, or half of one."""
    files = {"empty": b"", "text": b"this is not an image\n", "zeros": bytes(5000), "html": b"<html>" * 100}
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        out = io.BytesIO()
        pil.fromarray(RGB).save(out, kind)
        whole = out.getvalue()
        files[f"{kind}, its first 20 bytes"] = whole[:20]
        files[f"{kind}, its first half"] = whole[: len(whole) // 2]
        files[f"{kind}, noise in the middle"] = whole[:60] + bytes(range(255, 100, -1)) + whole[215:]
    files["PNG with too little data"] = png_of_size(100, 100)
    files["PNG of no size"] = png_of_size(0, 10)
    files["PostScript"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    return files


def test_damaged_files(pil: Any, tmp_path: Path) -> None:
    for name, content in damaged_files(pil).items():
        path = tmp_path / "some.file"
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                one(path)
            except InvalidArgumentError as error:
                assert str(path) in str(error), name  # noqa: PT017
            else:
                assert "noise" in name or "half" in name, f"{name} was read"


def test_noise_never_does_more_than_fail(pil: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(8)
    path = tmp_path / "noise"
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        out = io.BytesIO()
        pil.fromarray(RGB).save(out, kind)
        for _ in range(40):
            content = bytearray(out.getvalue())
            for place in noise.integers(0, len(content), 12):
                content[place] = noise.integers(0, 256)
            path.write_bytes(content[: noise.integers(1, len(content))])
            try:
                one(path)
            except InvalidArgumentError as error:
                assert str(path) in str(error)  # noqa: PT017


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        one(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError):
        one("")
    with pytest.raises(IsADirectoryError):
        one(tmp_path)


def test_a_pil_image_whose_file_is_damaged(pil: Any) -> None:
    out = io.BytesIO()
    pil.fromarray(RGB).save(out, "PNG")
    with pytest.raises(InvalidArgumentError, match="image: cannot be decoded"):
        one(pil.open(io.BytesIO(out.getvalue()[:200])))
    with pytest.raises(InvalidArgumentError, match="no pixels"):
        one(pil.new("RGB", (0, 5)))


def test_settings_of_the_process_stay_as_they_are(pil: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    pil.fromarray(RGB).save(path)
    before = list(warnings.filters)
    failures: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(20):
                same(one(path), square(RGB))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before
