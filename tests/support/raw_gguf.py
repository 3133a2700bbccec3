"""A GGUF file byte by byte, right or wrong on purpose, with a record of where each field lies."""

from __future__ import annotations

import struct
from typing import NamedTuple

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


class Field(NamedTuple):
    """A number of the header: what it says, where it lies, how long it is."""

    name: str
    offset: int
    size: int


class RawGguf:
    """Header and data as they are appended; `fields` lists every number of the header."""

    def __init__(self, n_tensors: int, n_keys: int, *, magic: bytes = b"GGUF", version: int = 3):
        self.content = bytearray(magic)
        self.fields: list[Field] = []
        self.number("version", "I", version)
        self.number("tensor count", "Q", n_tensors)
        self.number("key count", "Q", n_keys)

    def number(self, name: str, code: str, value: float) -> None:
        """A little-endian number."""
        encoded = struct.pack("<" + code, value)
        self.fields.append(Field(name, len(self.content), len(encoded)))
        self.content += encoded

    def text(self, name: str, value: str | bytes) -> None:
        """A string: its length, then its bytes."""
        encoded = value.encode() if isinstance(value, str) else value
        self.number(f"{name} length", "Q", len(encoded))
        self.content += encoded

    def key(self, key: str | bytes, type_id: int, value: object = None) -> RawGguf:
        """A key and its value; a value of None leaves it out."""
        self.text("key", key)
        self.number("value type", "I", type_id)
        if value is not None:
            self.value(type_id, value)
        return self

    def value(self, type_id: int, value: object) -> None:
        """A value of a scalar type."""
        if type_id == STRING:
            self.text("string", value)
        else:
            self.number("value", CODES[type_id], value)

    def array(self, key: str | bytes, element_type: int, values: list, *, count: int | None = None) -> RawGguf:
        """A key with an array; `count` is what the file says when that is not true."""
        self.key(key, ARRAY)
        self.number("element type", "I", element_type)
        self.number("array count", "Q", len(values) if count is None else count)
        for value in values:
            self.value(element_type, value)
        return self

    def tensor(self, name: str | bytes, dims: list[int], type_id: int, offset: int) -> RawGguf:
        """An entry of the tensor list; dims with the innermost first."""
        self.text("tensor name", name)
        self.number("dimension count", "I", len(dims))
        for dim in dims:
            self.number("dimension", "Q", dim)
        self.number("tensor type", "I", type_id)
        self.number("tensor offset", "Q", offset)
        return self

    def data(self, n_bytes: int, *, alignment: int = 32) -> bytes:
        """The whole file, with n_bytes of tensor data behind the header's padding."""
        padding = -len(self.content) % alignment
        return bytes(self.content) + bytes(padding) + bytes(i % 251 for i in range(n_bytes))


def complete_file() -> RawGguf:
    """Every type of value, arrays of most, tensors of four types: 352 bytes of data make it complete."""
    raw = RawGguf(n_tensors=4, n_keys=20)
    raw.key("general.architecture", STRING, "test")
    raw.key("general.alignment", U32, 32)
    for type_id, code in CODES.items():
        raw.key(
            f"scalar.{type_id}", type_id, struct.unpack("<" + code, bytes([1]) + bytes(struct.calcsize(code) - 1))[0]
        )
    raw.array("tokens", STRING, ["", "a", "▁Grüße"])
    raw.array("scores", F32, [0.0, -1.0, -2.5])
    raw.array("types", I32, [1, -1])
    raw.array("flags", BOOL, [True, False, True])
    raw.array("none", U64, [])
    raw.array("bytes", U8, list(range(20)))
    raw.key("text", STRING, "line\nbreak")
    raw.tensor("vector", [8], 0, 0)
    raw.tensor("matrix", [32, 5], 8, 32)
    raw.tensor("volume", [2, 3, 4], 1, 224)
    raw.tensor("unknown", [256], 12, 288)
    return raw


COMPLETE_DATA_BYTES = 352
