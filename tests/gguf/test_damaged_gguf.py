"""Files damaged or made to do damage: one line that names file and place, never a crash, a hang or much memory."""

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import open_gguf
from support.raw_gguf import ARRAY, BOOL, COMPLETE_DATA_BYTES, F32, STRING, U8, U32, RawGguf, complete_file
from t5g import ModelFormatError, _core

HOSTILE = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1)
MEMORY_LIMIT_MIB = 64


def file_with(*, tensors: int = 0, keys: int = 0) -> RawGguf:
    return RawGguf(tensors, keys)


def one_tensor(name: str | bytes = "x", dims: tuple[int, ...] = (32,), type_id: int = 0, offset: int = 0) -> bytes:
    return file_with(tensors=1).tensor(name, list(dims), type_id, offset).data(128)


def with_alignment(alignment: int) -> bytes:
    return file_with(keys=1).key("general.alignment", U32, alignment).data(0)


CASES = {
    "empty": (b"", "the file is empty"),
    "three bytes": (b"GGU", "not a GGUF file: it begins with 'GGU', expected 'GGUF'"),
    "other magic": (b"\x7fELF" + bytes(100), r"not a GGUF file: it begins with '\\x7fELF'"),
    "git lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer.*git lfs pull"),
    "zip": (b"PK\x03\x04" + bytes(50), "zip archive"),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "safetensors": (struct.pack("<Q", 20) + b'{"__metadata__":{}}', "safetensors file.*t5g-convert"),
    "header only": (b"GGUF\x03\x00\x00\x00", "the header needs 8 bytes at byte 8, but the file ends after 0"),
    "version 0": (bytes(RawGguf(0, 0, version=0).content), "version v0, expected v3"),
    "version 1": (bytes(RawGguf(0, 0, version=1).content), "version v1, expected v3"),
    "version 2": (bytes(RawGguf(0, 0, version=2).content), "version v2, expected v3"),
    "version 4": (bytes(RawGguf(0, 0, version=4).content), "version v4, expected v3"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "a big-endian GGUF file, expected little-endian"),
    "2^64 - 1 tensors": (bytes(file_with(tensors=2**64 - 1).content), "18446744073709551615 tensors, expected at most"),
    "2^63 keys": (bytes(file_with(keys=2**63).content), "9223372036854775808 metadata keys, expected at most"),
    # 43 bytes that make other readers loop for ever: an array of nothing, 2^63 times.
    "endless array": (bytes(file_with(keys=1).array("a", U8, [], count=2**63).content), "key 'a': array of u8 with 9"),
    "array size overflows": (
        bytes(file_with(keys=1).array("a", F32, [1.0], count=2**62 + 1).content),
        "key 'a': array of f32 with 4611686018427387905 elements, but only 4 bytes are left",
    ),
    "strings that do not fit": (
        bytes(file_with(keys=1).array("tokens", STRING, [""], count=2).content),
        "key 'tokens': array of string with 2 elements, but only 8 bytes",
    ),
    "array of arrays": (bytes(file_with(keys=1).array("a", ARRAY, [], count=1).content), "key 'a': an array of arrays"),
    "unknown element type": (bytes(file_with(keys=1).array("a", 13, []).content), "key 'a': value type 13 is unknown"),
    "unknown value type": (bytes(file_with(keys=1).key("a", 99).content), "key 'a': value type 99 is unknown"),
    "bool of 2": (bytes(file_with(keys=1).key("a", BOOL).content) + b"\x02", "key 'a': a bool is 2, expected 0 or 1"),
    "bool of 255 in an array": (
        bytes(file_with(keys=1).array("a", BOOL, [], count=2).content) + b"\x01\xff",
        "key 'a': a bool is 255, expected 0 or 1",
    ),
    "key twice": (
        bytes(file_with(keys=3).key("a", U8, 1).key("b", U8, 1).key("a", U8, 2).content),
        "key 'a': occurs twice",
    ),
    "empty key": (bytes(file_with(keys=1).key("", U8, 1).content), "metadata key 1 of 1: '' .0 bytes., expected UTF-8"),
    "key that is no UTF-8": (
        bytes(file_with(keys=1).key(b"a\xff", U8, 1).content),
        r"metadata key 1 of 1: 'a\\xff' .2 bytes., expected UTF-8",
    ),
    "key of 65536 bytes": (bytes(file_with(keys=1).key("a" * 65536, U8, 1).content), "metadata key 1 of 1: 'aaa"),
    "tensor twice": (
        file_with(tensors=2).tensor("x", [8], 0, 0).tensor("x", [8], 0, 32).data(64),
        "tensor 'x': occurs twice",
    ),
    "empty tensor name": (one_tensor(""), "tensor 1 of 1: the name '' has 0 bytes, expected UTF-8 of 1 to 63"),
    "tensor name of 64 bytes": (one_tensor("n" * 64), "tensor 1 of 1: the name 'n+' has 64 bytes"),
    "tensor name that is no UTF-8": (one_tensor(b"\xc3"), r"tensor 1 of 1: the name '\\xc3'"),
    "no dimensions": (one_tensor(dims=()), "tensor 'x': 0 dimensions, expected 1 to 4"),
    "five dimensions": (one_tensor(dims=(1, 1, 1, 1, 1)), "tensor 'x': 5 dimensions, expected 1 to 4"),
    "dimension of 0": (one_tensor(dims=(32, 0)), "tensor 'x': dimension 0 is zero or too large"),
    "dimension of 2^64 - 1": (one_tensor(dims=(2**64 - 1,)), "tensor 'x': dimension 18446744073709551615 is"),
    "dimensions whose product is 2^64": (one_tensor(dims=(2**32, 2**32)), "dimension 4294967296 is zero or too large"),
    "dimensions whose product is 0 in 64 bits": (one_tensor(dims=(2**32, 2**31, 2)), "dimension .* or too large"),
    "bytes that overflow": (one_tensor(dims=(2**62,)), r"tensor 'x': shape \[4611686018427387904\] is too large"),
    "rows of half a block": (one_tensor(dims=(48, 2), type_id=8), "tensor 'x': rows of 48 values, expected a multiple"),
    "offset between the lines": (one_tensor(offset=4), "tensor 'x': offset 4 is not a multiple of 32"),
    "offset of 2^64 - 32": (one_tensor(offset=2**64 - 32), "tensor 'x': offset .* too large"),
    "offset beyond the end": (one_tensor(offset=2**40), "tensor 'x': the file is truncated: expected at least 1099"),
    "unknown type beyond the end": (one_tensor(type_id=12, offset=2**40), "tensor 'x': the file is truncated"),
    "tensor larger than the file": (one_tensor(dims=(33,)), "truncated: expected at least 196 bytes, found 192"),
    "tensors that overlap": (
        file_with(tensors=2).tensor("x", [16], 0, 0).tensor("y", [8], 0, 32).data(64),
        "tensor 'y': its data overlaps that of tensor 'x'",
    ),
    "tensors in one place": (
        file_with(tensors=2).tensor("x", [8], 0, 0).tensor("y", [8], 0, 0).data(64),
        "tensor '.': its data overlaps that of tensor '.'",
    ),
    "alignment 0": (with_alignment(0), "key 'general.alignment': 0, expected a power of two from 8 to 65536"),
    "alignment 4": (with_alignment(4), "key 'general.alignment': 4, expected a power of two"),
    "alignment 33": (with_alignment(33), "key 'general.alignment': 33, expected a power of two"),
    "alignment 2^31": (with_alignment(2**31), "key 'general.alignment': 2147483648, expected a power of two"),
    "alignment that is a string": (
        bytes(file_with(keys=1).key("general.alignment", STRING, "32").content),
        "key 'general.alignment': has type string, expected u32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, name):
    content, expected = CASES[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=expected) as caught:
        _core.GgufFile(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert len(message.splitlines()) == 1


def test_names_in_messages_cannot_break_the_line_or_reach_the_terminal(tmp_path):
    path = tmp_path / "model\n\x1b[2J.gguf"
    path.write_bytes(one_tensor("a\r\n\x1b[31m\u2028", dims=(0,)))
    with pytest.raises(ModelFormatError) as caught:
        _core.GgufFile(path)
    message = str(caught.value)
    assert r"model\x0a\x1b[2J.gguf: tensor 'a\x0d\x0a\x1b[31m\xe2\x80\xa8': dimension 0" in message
    assert message.isprintable()


def test_what_cannot_be_mapped_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.gguf: no such file"):
        _core.GgufFile(tmp_path / "nothing.gguf")
    with pytest.raises(IsADirectoryError, match="opening failed"):
        _core.GgufFile(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        _core.GgufFile(tmp_path / "pipe")
    with pytest.raises(TypeError, match="path"):
        _core.GgufFile("a\0b")


def damaged_files() -> dict[str, bytes]:
    """Every truncation of the header and some of the data, every field with every hostile value, 500 flipped bits."""
    raw = complete_file()
    good = raw.data(COMPLETE_DATA_BYTES)
    files = {"good": good}
    for size in [*range(len(raw.content)), *range(len(raw.content), len(good), 7)]:
        files[f"cut {size}"] = good[:size]
    for i, field in enumerate(raw.fields):
        for value in HOSTILE:
            content = bytearray(good)
            content[field.offset : field.offset + field.size] = (value % 256**field.size).to_bytes(field.size, "little")
            files[f"field {i} {field.name} = {value}"] = bytes(content)
    rng = random.Random(0)
    for i in range(500):
        content = bytearray(good)
        for _ in range(rng.choice((1, 1, 3))):
            content[rng.randrange(len(raw.content))] ^= 1 << rng.randrange(8)
        files[f"flip {i}"] = bytes(content)
    return files


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, tuple[str | None, float]]:
    """Name of a damaged file -> error message or None, CPU seconds; all in one process with little memory."""
    archive = tmp_path_factory.mktemp("damaged") / "files.npz"
    np.savez(archive, **{name: np.frombuffer(content, np.uint8) for name, content in damaged_files().items()})
    command = [sys.executable, open_gguf.__file__, str(archive), str(MEMORY_LIMIT_MIB)]
    environment = os.environ | {"PYTHONPATH": str(Path(_core.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_any_damage_gives_one_line_within_a_second(outcomes):
    assert len(outcomes) > 1000
    for name, (message, seconds) in outcomes.items():
        assert seconds < 1, name
        if message is not None:
            assert "damaged.gguf: " in message, name
            assert message.isprintable(), name


def test_a_file_cut_anywhere_is_refused(outcomes):
    assert outcomes["good"][0] is None
    # The last tensor's type is unknown, so its size is too, and its data may be missing.
    end_of_known = len(complete_file().data(288))
    cut = {int(name.split()[1]): message for name, (message, _) in outcomes.items() if name.startswith("cut ")}
    assert len(cut) > 500
    assert all(message is not None for size, message in cut.items() if size < end_of_known)


def test_no_length_or_count_can_be_huge(outcomes):
    fields = [name for name in outcomes if name.startswith("field ") and ("length" in name or "count" in name)]
    assert len(fields) > 100
    for name in fields:
        assert outcomes[name][0] is not None or int(name.rsplit(" ", 1)[1]) < 2, name


def test_many_keys_and_tensors_take_linear_time(tmp_path):
    n = 1 << 16
    raw = RawGguf(n_tensors=n, n_keys=n)
    raw.fields = []
    for i in range(n):
        raw.content += struct.pack("<Q", 8) + b"%08d" % i + struct.pack("<IB", U8, 0)
    for i in range(n):
        raw.content += struct.pack("<Q", 8) + b"%08d" % i + struct.pack("<IQIQ", 1, 8, 0, 32 * (n - 1 - i))
    path = tmp_path / "many.gguf"
    path.write_bytes(raw.data(0) + bytes(32 * n))
    file = _core.GgufFile(path)
    assert len(file.tensors) == n
    assert file[f"{n - 1:08}"] == 0
