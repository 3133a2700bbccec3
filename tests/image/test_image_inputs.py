"""Images wherever their bytes are: in memory, in open files, in data URIs, in arrays and tensors of any library."""

from __future__ import annotations

import base64
import io
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from t5g.images import as_list, as_lists, preprocess

SIZE = 24
RGB = np.random.default_rng(1).integers(0, 256, (37, 53, 3), dtype=np.uint8)
GREY = RGB[..., 0]
RGBA = np.dstack([RGB, GREY])


def one(image: Any, **options: Any) -> np.ndarray:
    ((pixels,),) = preprocess([image], SIZE, **options)
    return pixels


@pytest.fixture
def png() -> bytes:
    pil = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    pil.fromarray(RGB).save(out, "PNG")
    return out.getvalue()


# ---- Bytes and files ----


def test_bytes_of_a_file(png: bytes) -> None:
    for given in (png, bytearray(png), memoryview(png), np.bytes_(png)):
        np.testing.assert_array_equal(one(given), one(RGB))
        assert as_list(given) == [given]


class Trickle(io.RawIOBase):
    """Gives a few bytes at a time and cannot go back, as a pipe or a download does."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def readable(self) -> bool:
        return True

    def read(self, n: int = -1) -> bytes:
        chunk, self._rest = self._rest[:100], self._rest[100:]
        return chunk


class Bare:
    """The least that counts as a file."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, n: int = -1) -> bytes:
        return self._file.read(n)


def test_open_files(png: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png)
    written = io.BytesIO()
    written.write(png)  # stands at its end
    with (tmp_path / "a.png").open("rb") as file, (tmp_path / "a.png").open("rb", buffering=0) as raw:
        for given in (io.BytesIO(png), written, file, raw, Trickle(png), Bare(png)):
            np.testing.assert_array_equal(one(given), one(RGB))
        np.testing.assert_array_equal(one(file), one(RGB))  # again: it begins at the beginning
        assert as_list(file) == [file]
        assert not file.closed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe(png: bytes, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(png,))
    writer.start()
    np.testing.assert_array_equal(one(tmp_path / "pipe"), one(RGB))
    writer.join()


def test_what_files_give_that_is_no_image(png: bytes, tmp_path: Path) -> None:
    closed = io.BytesIO(png)
    closed.close()
    (tmp_path / "text").write_text("text")
    cases: list[tuple[Any, type[Exception], str]] = [
        (io.StringIO("text"), TypeError, 'image: the file gives text, expected bytes. Open it with open(path, "rb").'),
        (closed, ValueError, "image: the file cannot be read: I/O operation on closed file"),
        (io.BytesIO(), ValueError, "image: there are no bytes, expected an image file."),
        (b"", ValueError, "image: there are no bytes, expected an image file."),
        (b"/home/me/cat.png", ValueError, "image: not an image, expected one of PNG, JPEG"),
        (io.BytesIO(png[: len(png) // 2]), ValueError, "image: cannot be decoded"),
    ]
    for given, error, message in cases:
        with pytest.raises(error) as caught:
            one(given)
        assert str(caught.value).startswith(message)
        assert isinstance(caught.value, t5g.T5gError)
    with (tmp_path / "text").open() as file, pytest.raises(t5g.ArgumentTypeError, match=r'open\(path, "rb"\)'):
        one(file)


def test_an_endless_file_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def read(self, n: int) -> bytes:
            return bytes(n)

    monkeypatch.setattr("t5g.image_files._MAX_BYTES", 1 << 22)
    with pytest.raises(t5g.InvalidArgumentError, match="has more than 4,194,304 bytes"):
        one(Endless())


def test_names_that_are_no_utf_8(png: bytes, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        Path(os.fsdecode(path)).write_bytes(png)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    np.testing.assert_array_equal(one(os.fsdecode(path)), one(RGB))
    np.testing.assert_array_equal(one(Path(os.fsdecode(path))), one(RGB))


# ---- Addresses ----


def test_data_uris(png: bytes) -> None:
    text = base64.b64encode(png).decode()
    for head in ("data:image/png;base64,", "data:;base64,", "DATA:image/x-png;BASE64,", "data:image/png;a=b;base64,"):
        np.testing.assert_array_equal(one(head + text), one(RGB))
    lines = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    np.testing.assert_array_equal(one(f"data:image/png;base64,{lines}\n"), one(RGB))
    for wrong, message in {
        "data:image/png,abc": "a data URI of another kind",
        "data:text/plain;base64,QQ==": "a data URI of another kind",
        "data:image/png;base64,A": "the data URI cannot be decoded",
        "data:image/png;base64,ä": "the data URI cannot be decoded",
        "data:image/png;base64,": "there are no bytes",
        "data:image/png;base64,QQ==": "not an image",
        text * 40: "must be a path, got a text of",
    }.items():
        with pytest.raises(t5g.InvalidArgumentError, match=message) as caught:
            one(wrong)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("address", ["https://example.org/cat.png", "http://x/y", "HTTPS://x", "s3://bucket/cat.png"])
def test_addresses_are_refused(address: str) -> None:
    with pytest.raises(t5g.InvalidArgumentError, match=r"on a network, which t5g never uses\. Download") as caught:
        one(address)
    assert address in str(caught.value)


def test_a_files_address_is_its_path() -> None:
    with pytest.raises(t5g.InvalidArgumentError, match=r"Give the path: '/home/me/cat\.png'"):
        one("file:///home/me/cat.png")


def test_a_path_may_have_a_colon(png: bytes, tmp_path: Path) -> None:
    (tmp_path / "12:30.png").write_bytes(png)
    np.testing.assert_array_equal(one(str(tmp_path / "12:30.png")), one(RGB))


# ---- Arrays and tensors ----


class Tensor:
    """What torch's tensors show of themselves, without torch."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._array

    def __iter__(self) -> Any:
        return map(Tensor, self._array)

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self


@pytest.mark.parametrize("wrap", [np.asarray, Tensor])
@pytest.mark.parametrize("pixels", [RGB, RGBA, GREY[..., None]], ids=["RGB", "RGBA", "grey"])
def test_channels_first_and_last(wrap: Any, pixels: np.ndarray) -> None:
    expected = one(pixels)
    for of_type in (pixels, pixels / np.float32(255)):
        np.testing.assert_array_equal(one(wrap(of_type)), expected)
        np.testing.assert_array_equal(one(wrap(of_type.transpose(2, 0, 1))), expected)


def test_a_shape_that_could_be_either() -> None:
    """Arrays have their channels last, as NumPy's world does; tensors first, as torch's."""
    both = np.random.default_rng(2).integers(0, 256, (3, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(one(Tensor(both)), one(both.transpose(1, 2, 0)))
    assert not np.array_equal(one(Tensor(both)), one(both))


def test_batches_are_lists_of_images() -> None:
    several = np.stack([RGB, RGB[::-1]])
    for given in (several, several.transpose(0, 3, 1, 2), Tensor(several.transpose(0, 3, 1, 2)), [RGB, RGB[::-1]]):
        images = as_list(given)
        assert images is not None
        assert len(images) == 2
        for found, expected in zip(preprocess(images, SIZE), (RGB, RGB[::-1]), strict=True):
            np.testing.assert_array_equal(found[0], one(expected))
    names = np.array(["a.png", "b.png"])
    assert as_list(names) == ["a.png", "b.png"]


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    expected = one(RGB)
    tensor = torch.from_numpy(RGB)
    for given in (tensor, tensor.permute(2, 0, 1), tensor.permute(2, 0, 1).contiguous(), tensor[None][0]):
        np.testing.assert_array_equal(one(given), expected)
    for kind in (torch.float32, torch.float64):
        floats = (tensor.to(kind) / 255).requires_grad_()
        np.testing.assert_array_equal(one(floats), expected)
        np.testing.assert_array_equal(one(floats.permute(2, 0, 1)), expected)
    for kind in (torch.float16, torch.bfloat16):  # NumPy has no bfloat16
        half = (tensor.float() / 255).to(kind)
        np.testing.assert_array_equal(one(half), one(half.float().numpy()))
    assert [tuple(image.shape) for image in as_list(tensor[None]) or []] == [(37, 53, 3)]
    for wrong, message in {
        "dtype int64": tensor.long(),
        "dtype bool": tensor > 5,
        "gives no NumPy array": tensor.to_sparse(),
        "expected 0 to 1.*Divide them by 255": tensor.float(),
        "before they are normalised": tensor.float() / 127.5 - 1,
    }.items():
        with pytest.raises(t5g.T5gError, match=wrong):
            one(message)


def test_no_library_is_imported_for_its_tensors() -> None:
    import subprocess

    script = "import numpy as np, sys; from t5g.images import preprocess; preprocess([np.zeros((3, 8, 8))], 8);"
    script += "print(sorted({'torch', 'PIL', 'tensorflow', 'jax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


# ---- Which one ----


def test_the_wrong_one_of_a_list_is_named() -> None:
    for wrong in (b"no image", io.BytesIO(b"no image"), np.zeros((4, 4, 2), np.uint8), 5, "http://x", [RGB]):
        with pytest.raises(t5g.T5gError, match=r"^image 2 of 3: "):
            preprocess([RGB, wrong, RGB], SIZE)
    for wrong, message in (
        ([RGB], "expected a list of 2, .* got 1"),
        (RGB, "got a single image"),
        (b"x", "single image"),
    ):
        with pytest.raises(t5g.InvalidArgumentError, match=message):
            as_lists(wrong, 2)
    assert as_lists([None, [RGB]], 2)[0] is None
