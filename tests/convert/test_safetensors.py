"""Damaged checkpoints end in an error that names the file, and the tensor where there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.safetensors import rounded, write_raw, write_safetensors

pytest.importorskip("gguf")

from t5g_convert.safetensors import open_checkpoint

VALUES = np.arange(-6, 6, dtype=np.float32).reshape(3, 4) / 7


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_values_of_all_dtypes(tmp_path: Path, dtype: str) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"other": VALUES + 1, "x": VALUES}, dtype)
    tensor = open_checkpoint(tmp_path)["x"]
    assert tensor.shape == (3, 4)
    np.testing.assert_array_equal(tensor.read(0, 12).reshape(3, 4), rounded(VALUES, dtype))
    np.testing.assert_array_equal(tensor.read(5, 4), rounded(VALUES, dtype).ravel()[5:9])


def test_a_file_that_changes_while_it_is_converted(tmp_path: Path) -> None:
    """Reading goes on in the file that was opened, and only as long as nobody writes to it."""
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"x": VALUES}, "F32")
    tensor = open_checkpoint(tmp_path)["x"]
    write_safetensors(tmp_path / "new", {"x": VALUES + 1}, "F32")
    (tmp_path / "new").replace(path)
    np.testing.assert_array_equal(tensor.read(0, 12).reshape(3, 4), VALUES)
    tensor = open_checkpoint(tmp_path)["x"]
    size = path.stat().st_size
    path.write_bytes(b"")
    with pytest.raises(t5g.ModelFormatError, match=rf"model\.safetensors: the file had {size} bytes .* and has 0 now"):
        tensor.read(0, 12)


def entry(**change: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | change


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"x": entry(dtype="F33")}, "'x'.*dtype 'F33'"),
        ({"x": entry(dtype=["F32"])}, "dtype"),
        ({"x": entry(shape=[2, -2])}, "shape"),
        ({"x": entry(shape=[2, 2.0])}, "shape"),
        ({"x": entry(shape=[1 << 40, 1 << 40])}, "16 bytes, expected"),
        ({"x": entry(shape="22")}, "shape"),
        ({"x": entry(data_offsets=[16, 0])}, "data_offsets"),
        ({"x": entry(data_offsets=[0])}, "data_offsets"),
        ({"x": entry(data_offsets=[0, 12])}, "12 bytes, expected 16"),
        ({"x": entry(data_offsets=[16, 32])}, "gap"),
        ({"x": entry(), "y": entry()}, "overlaps"),
        ({"x": entry(), "y": entry(data_offsets=[8, 24])}, "overlaps"),
        ({"x": entry(shape=[2, 4], data_offsets=[0, 32])}, "truncated"),
        ({"x": 7}, "not an object"),
        ([], "not a JSON object"),
    ],
)
def test_bad_headers(tmp_path: Path, header: Any, words: str) -> None:
    write_raw(tmp_path / "model.safetensors", json.dumps(header).encode(), bytes(16))
    with pytest.raises(t5g.ModelFormatError, match=words) as error:
        open_checkpoint(tmp_path)
    assert "model.safetensors" in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"\xff" * 8,
        b"\xff" * 64,
        (10).to_bytes(8, "little") + b"{",
        (4).to_bytes(8, "little") + b"\xff\xfe{}",
    ],
)
def test_not_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(t5g.ModelFormatError, match=r"model\.safetensors"):
        open_checkpoint(tmp_path)


def test_a_name_twice(tmp_path: Path) -> None:
    one = json.dumps(entry())
    write_raw(tmp_path / "model.safetensors", f'{{"x": {one}, "x": {one}}}'.encode(), bytes(16))
    with pytest.raises(t5g.ModelFormatError, match="twice"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"x": np.array([1, bad], np.float32)}, "BF16")
    with pytest.raises(t5g.ModelFormatError, match="'x' holds NaN or infinite"):
        open_checkpoint(tmp_path)["x"].read(0, 2)


def test_integers_are_listed_but_not_read(tmp_path: Path) -> None:
    header = {"x": entry(dtype="I64", shape=[2])}
    write_raw(tmp_path / "model.safetensors", json.dumps(header).encode(), bytes(16))
    with pytest.raises(t5g.ModelFormatError, match="'x' has dtype I64"):
        open_checkpoint(tmp_path)["x"].read(0, 2)


def write_index(folder: Path, weight_map: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("weight_map", "error", "words"),
    [
        ({"x": "a.safetensors", "y": "b.safetensors"}, FileNotFoundError, r"b\.safetensors.*missing"),
        ({}, t5g.ModelFormatError, None),
        ({"x": "../a.safetensors"}, t5g.ModelFormatError, "plain file name"),
        ({"x": ".."}, t5g.ModelFormatError, "plain file name"),
        ({"x": 3}, t5g.ModelFormatError, "weight_map"),
        (None, t5g.ModelFormatError, "weight_map"),
    ],
)
def test_bad_indices(tmp_path: Path, weight_map: Any, error: type[Exception], words: str | None) -> None:
    write_safetensors(tmp_path / "a.safetensors", {"x": VALUES}, "F32")
    write_index(tmp_path, weight_map)
    if words is None:
        assert open_checkpoint(tmp_path) == {}
        return
    with pytest.raises(error, match=words):
        open_checkpoint(tmp_path)


def test_what_the_files_hold_counts_not_what_the_index_says(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", {"x": VALUES, "stray": VALUES, "twice": VALUES}, "F32")
    write_safetensors(tmp_path / "b.safetensors", {"twice": VALUES + 1}, "F32")
    write_index(tmp_path, {"x": "b.safetensors", "twice": "b.safetensors", "tied": "a.safetensors"})
    checkpoint = open_checkpoint(tmp_path)
    assert sorted(checkpoint) == ["stray", "twice", "x"]
    assert checkpoint.unlisted == {"stray"}
    assert checkpoint.absent == {"tied": "a.safetensors"}
    assert checkpoint["twice"].path.name == "b.safetensors"


@pytest.mark.parametrize(
    ("file", "error", "words"),
    [
        (None, FileNotFoundError, "no model.safetensors"),
        ("pytorch_model.bin", t5g.ModelFormatError, "save_pretrained"),
        ("model-00001-of-00002.safetensors", FileNotFoundError, "index"),
    ],
)
def test_folders_without_weights(tmp_path: Path, file: str | None, error: type[Exception], words: str) -> None:
    if file is not None:
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(error, match=words):
        open_checkpoint(tmp_path)
