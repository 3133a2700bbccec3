"""Files written by gguf-py, read back by t5g's own reader: every value type, every tensor type, the same bytes."""

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
from t5g import ModelFormatError, _core
from t5g_convert import presets

# Not "gguf" alone: where it is not installed, this very folder would be found instead.
pytest.importorskip("gguf.constants")
gguf = pytest.importorskip("gguf")

TYPES = [name.upper() for name in presets.TYPES]

SCALARS = [
    ("u8", gguf.GGUFValueType.UINT8, 255),
    ("i8", gguf.GGUFValueType.INT8, -128),
    ("u16", gguf.GGUFValueType.UINT16, 65535),
    ("i16", gguf.GGUFValueType.INT16, -32768),
    ("u32", gguf.GGUFValueType.UINT32, 2**32 - 1),
    ("i32", gguf.GGUFValueType.INT32, -(2**31)),
    ("f32", gguf.GGUFValueType.FLOAT32, 0.5),
    ("bool", gguf.GGUFValueType.BOOL, True),
    ("string", gguf.GGUFValueType.STRING, "Grüße\n🙂"),
    ("u64", gguf.GGUFValueType.UINT64, 2**64 - 1),
    ("i64", gguf.GGUFValueType.INT64, -(2**63)),
    ("f64", gguf.GGUFValueType.FLOAT64, 1e300),
]
ARRAYS = [
    ("u8", [0, 255]),
    ("i8", [-128, 127]),
    ("u16", [0, 65535]),
    ("i16", [-32768, 5]),
    ("u32", [1, 2**32 - 1, 3]),
    ("i32", [-1, 2]),
    ("f32", [0.25, -1.5]),
    ("bool", [True, False, True]),
    ("string", ["", "a", "▁Grüße"]),
    ("u64", [2**64 - 1]),
    ("i64", [-(2**63), 1]),
    ("f64", [1e300, -0.0]),
]
NUMPY = {"u8": "u1", "i8": "i1", "u16": "u2", "i16": "i2", "u32": "u4", "i32": "i4", "f32": "f4", "u64": "u8",
         "i64": "i8", "f64": "f8"}  # fmt: skip


def write(path: Path, fill) -> Path:
    """A GGUF file at path; fill(writer) adds what it holds."""
    writer = gguf.GGUFWriter(path, "test")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_array(writer, key: str, type_name: str, values: list) -> None:
    """An array whose element type is the one named; gguf-py's own add_array guesses it."""
    sub_type = dict((name, value_type) for name, value_type, _ in SCALARS)[type_name]
    writer.add_key_value(key, values, gguf.GGUFValueType.ARRAY, sub_type=sub_type)


@pytest.fixture(scope="module")
def tensors() -> dict[str, tuple[str, np.ndarray]]:
    """Name -> (type, float values): each type as a matrix, and other ranks of F32."""
    rng = np.random.default_rng(0)
    made = {f"blk.{name}.weight": (name, rng.normal(size=(3, 64)).astype(np.float32)) for name in TYPES}
    made |= {f"rank{n}": ("F32", rng.normal(size=(2, 3, 5, 7)[-n:]).astype(np.float32)) for n in (1, 2, 3, 4)}
    return made


@pytest.fixture(scope="module")
def path(tmp_path_factory, tensors) -> Path:
    """One file with everything in it."""

    def fill(writer) -> None:
        for name, value_type, value in SCALARS:
            writer.add_key_value(f"scalar.{name}", value, value_type)
        for name, values in ARRAYS:
            add_array(writer, f"array.{name}", name, values)
        for name, (type_name, values) in tensors.items():
            quant = gguf.GGMLQuantizationType[type_name]
            writer.add_tensor(name, gguf.quants.quantize(values, quant), raw_dtype=quant)

    return write(tmp_path_factory.mktemp("gguf") / "all.gguf", fill)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, _, value in SCALARS])
def test_scalars_come_back(path, name, value):
    file = _core.GgufFile(path)
    assert file.value_type(f"scalar.{name}") == name
    read = file[f"scalar.{name}"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(("name", "values"), ARRAYS)
def test_arrays_come_back(path, name, values):
    file = _core.GgufFile(path)
    assert file.value_type(f"array.{name}") == f"array of {name}"
    read = file[f"array.{name}"]
    if name in NUMPY:
        assert read.dtype == np.dtype(NUMPY[name])
        read = read.tolist()
    assert read == values
    assert file.metadata()["general.architecture"] == "test"


def test_stored_values_are_the_bytes_of_the_file(path):
    file, content = _core.GgufFile(path), path.read_bytes()
    for key in file.keys():  # noqa: SIM118
        encoded = key.encode()
        assert len(encoded).to_bytes(8, "little") + encoded + file.stored_value(key) in content


def test_tensors_equal_those_of_gguf_py(path, tensors):
    file = _core.GgufFile(path)
    oracle = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    assert [t.name for t in file.tensors] == list(oracle) == list(tensors)
    for tensor in file.tensors:
        expected = oracle[tensor.name]
        assert tensor.supported
        assert (tensor.type, tensor.type_id) == (expected.tensor_type.name, expected.tensor_type)
        assert tensor.shape == tensors[tensor.name][1].shape
        assert (tensor.offset, tensor.n_bytes) == (expected.data_offset, expected.n_bytes)
        data = file.tensor_data(tensor.name)
        assert data.dtype == np.uint8
        np.testing.assert_array_equal(data, expected.data.reshape(-1).view(np.uint8))


def test_rows_of_a_tensor_can_be_read_alone(path):
    file = _core.GgufFile(path)
    whole = file.tensor_data("rank3").reshape(15, -1)
    np.testing.assert_array_equal(file.tensor_data("rank3", 4, 11), whole[4:11].reshape(-1))
    assert file.tensor_data("rank3", 3, 3).size == 0
    for first, last in ((-1, 2), (3, 2), (0, 16)):
        with pytest.raises(IndexError):
            file.tensor_data("rank3", first, last)


def test_a_tensor_of_a_file_that_was_written_to_is_an_error(path, tmp_path):
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(path.read_bytes())
    file = _core.GgufFile(copy)
    size = copy.stat().st_size
    with copy.open("ab") as more:
        more.write(b"more")
    with pytest.raises(ModelFormatError, match=rf"copy\.gguf: the file had {size} bytes .* and has {size + 4} now"):
        file.tensor_data("rank2")
    assert file["scalar.u8"] == 255  # the header is in memory


def test_a_header_of_any_length_is_read(tmp_path):
    """Longer than what is read at first, and just as long, give or take a byte."""
    for n in (65536 - 200, *range(65536 - 60, 65536 + 5), 300_000, 5_000_000):
        path = write(tmp_path / f"{n}.gguf", lambda w, n=n: w.add_string("text", "x" * n))
        assert len(_core.GgufFile(path)["text"]) == n
        path.write_bytes(path.read_bytes()[:n])
        with pytest.raises(ModelFormatError, match="truncated or damaged"):
            _core.GgufFile(path)


def test_a_listed_tensor_keeps_the_file_open(path, tensors):
    tensor = _core.GgufFile(path).tensors[0]
    gc.collect()
    assert tensor.name == next(iter(tensors))
    assert repr(tensor) == "GgufTensor('blk.F32.weight', F32, (3, 64))"


def test_an_unknown_tensor_type_is_listed_but_not_read(tmp_path):
    quant = gguf.GGMLQuantizationType.Q4_K
    raw = np.zeros((2, 144), np.uint8)
    file = _core.GgufFile(write(tmp_path / "k.gguf", lambda w: w.add_tensor("k", raw, raw_dtype=quant)))
    (tensor,) = file.tensors
    assert (tensor.type, tensor.supported, tensor.shape, tensor.n_bytes) == ("Q4_K", False, (2, 256), None)
    with pytest.raises(ModelFormatError, match=r"k\.gguf: tensor 'k': type Q4_K \(id 12\) .* F32, F16, .*Q4_0\b"):
        file.tensor_data("k")


def test_a_missing_tensor_or_key_is_named(path):
    file = _core.GgufFile(path)
    with pytest.raises(ModelFormatError, match=r"all\.gguf: tensor 'nothing': missing"):
        file.tensor_data("nothing")
    with pytest.raises(KeyError, match="nothing"):
        file["nothing"]
    assert file.get("nothing") is None
    assert file.get("nothing", 5) == 5
    assert "nothing" not in file
    assert "scalar.u8" in file


@pytest.mark.parametrize("alignment", [8, 32, 4096, 65536])
def test_every_alignment_of_the_format_works(tmp_path, alignment):
    def fill(writer) -> None:
        writer.add_custom_alignment(alignment)
        writer.add_tensor("a", np.arange(3, dtype=np.float32))
        writer.add_tensor("b", np.arange(5, dtype=np.float32))

    file = _core.GgufFile(write(tmp_path / "aligned.gguf", fill))
    assert file.alignment == alignment
    assert all(tensor.offset % alignment == 0 for tensor in file.tensors)
    np.testing.assert_array_equal(file.tensor_data("b").view(np.float32), np.arange(5))


def test_a_file_without_tensors_is_a_file(tmp_path):
    file = _core.GgufFile(write(tmp_path / "vocabulary.gguf", lambda w: None))
    assert file.tensors == []
    assert file.metadata() == {"general.architecture": "test"}


def test_threads_share_a_file(path, tensors):
    file = _core.GgufFile(path)
    failures = []

    def look() -> None:
        for _ in range(50):
            for name in tensors:
                if file.tensor_data(name).size == 0 or file["array.string"][2] != "▁Grüße":
                    failures.append(name)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
