"""libt5g for tests: structs and signatures are read from t5g.h, so that nothing of it can be left out."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "csrc" / "capi" / "t5g.h"
TO_ZERO = ctypes.c_size_t(-1).value
TO_END = 2**64 - 1

_NUMBERS: dict[str, Any] = {
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "double": ctypes.c_double,
    "float": ctypes.c_float,
    "int": ctypes.c_int,
    "t5g_status": ctypes.c_int,
    "void": None,
}


class Parameter(NamedTuple):
    type: str  # without const: "t5g_model*", "size_t"
    name: str


class Function(NamedTuple):
    result: str
    name: str
    parameters: tuple[Parameter, ...]


def _text() -> str:
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.DOTALL)


def _plain(words: str) -> str:
    """A C type without const and spaces."""
    return re.sub(r"\bconst\b|\s", "", words)


def _ctype(name: str) -> Any:
    if name.endswith(("*", "_callback")):
        return ctypes.c_void_p
    return _NUMBERS[name]


def functions() -> dict[str, Function]:
    """Every function of the header, by name."""
    found = {}
    for result, name, inside in re.findall(r"T5G_API\s+([\w\s]+?\*?)\s*\b(t5g_\w+)\(([^;]*)\);", _text()):
        parameters = []
        for words in inside.split(","):
            match = re.fullmatch(r"\s*(.*?)\s*(\w+)\s*", words, re.DOTALL)
            if words.strip() != "void":
                assert match, words
                parameters.append(Parameter(_plain(match[1]), match[2]))
        found[name] = Function(_plain(result), name, tuple(parameters))
    return found


def constants() -> dict[str, int]:
    """Every constant of an enum."""
    return {name: int(value) for name, value in re.findall(r"\b(T5G_[A-Z_]+) = (\d+)", _text())}


def _structs() -> dict[str, type[ctypes.Structure]]:
    found: dict[str, type[ctypes.Structure]] = {}
    for name, inside in re.findall(r"typedef struct (t5g_\w+) \{(.*?)\} \1;", _text(), re.DOTALL):
        fields = []
        for words in filter(str.strip, inside.split(";")):
            match = re.fullmatch(r"\s*(.*?[\s*])(\w+(?:\s*,\s*\w+)*)\s*", words, re.DOTALL)
            assert match, words
            fields += [(field.strip(), _ctype(_plain(match[1]))) for field in match[2].split(",")]
        found[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return found


FUNCTIONS = functions()
CONSTANTS = constants()
STRUCTS = _structs()
TextCallback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
ProgressCallback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)
AllowedCallback = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t
)
LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


def find() -> Path | None:
    """The shared library: T5G_LIBRARY, or what was built last in build/; None without either."""
    if named := os.environ.get("T5G_LIBRARY"):
        return Path(named)
    built = [path for path in ROOT.glob("build/*/csrc/capi/libt5g.so") if path.parts[-4] not in ("arm", "asan")]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)


class StatusError(Exception):
    """A call that did not return T5G_OK."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.status, self.message = name, message


class Library:
    """The functions by name, without t5g_; those that return a status raise StatusError. `called` has all names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.called: set[str] = set()
        self.statuses: set[str] = set()
        self._library = ctypes.CDLL(str(path))
        for function in FUNCTIONS.values():
            native = getattr(self._library, function.name)
            native.argtypes = [_ctype(parameter.type) for parameter in function.parameters]
            native.restype = ctypes.c_char_p if function.result == "char*" else _ctype(function.result)

    def raw(self, name: str, *arguments: Any) -> Any:
        """Call a function -> what it returns."""
        self.called.add(name)
        result = getattr(self._library, name)(*arguments)
        if FUNCTIONS[name].result == "t5g_status":
            self.statuses.add(self.status_name(result))
        return result

    def status_name(self, status: int) -> str:
        return str(self._library.t5g_status_name(status).decode())

    def message(self) -> str:
        self.called.add("t5g_message")
        return str(self._library.t5g_message().decode())

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            result = self.raw(f"t5g_{name}", *arguments)
            if FUNCTIONS[f"t5g_{name}"].result == "t5g_status" and result != 0:
                raise StatusError(self.status_name(result), self.message())
            return result

        return call

    # ---- What tests do over and over ----

    def make(self, name: str, *arguments: Any) -> int:
        """Call a function whose last parameter is where its result goes -> that pointer."""
        out = ctypes.c_void_p()
        getattr(self, name)(*arguments, ctypes.byref(out))
        assert out.value
        return out.value

    def options(self, kind: str, *first: Any, **changes: Any) -> Any:
        """The options of model, encode or generate calls, with changes."""
        options = STRUCTS[f"t5g_{kind}_options"]()
        getattr(self, f"{kind}_options_init")(*first, ctypes.byref(options), ctypes.sizeof(options))
        for field, value in changes.items():
            if hasattr(value, "_argtypes_"):
                value = ctypes.cast(value, ctypes.c_void_p)
            setattr(options, field, value)
        return options

    def get(self, call: str, struct: str, *arguments: Any) -> Any:
        """Have a struct filled."""
        out = STRUCTS[struct]()
        out.struct_size = ctypes.sizeof(out)
        getattr(self, call)(*arguments, ctypes.byref(out))
        return out

    def take_ids(self, name: str, *arguments: Any) -> list[int]:
        """Call a function whose last parameters are for ids and their number."""
        ids, n = ctypes.c_void_p(), ctypes.c_size_t()
        getattr(self, name)(*arguments, ctypes.byref(ids), ctypes.byref(n))
        copied = list((ctypes.c_int32 * n.value).from_address(ids.value or 0)) if n.value else []
        self.free(ids)
        return copied

    def take_text(self, name: str, *arguments: Any) -> str:
        """Call a function whose last parameter is for a text."""
        text = self.make(name, *arguments)
        copied = ctypes.string_at(text).decode()
        self.free(text)
        return copied

    def sequences(self, result: int) -> list[tuple[str, list[int], int]]:
        """Text, token ids and finish reason of every sequence."""
        n = ctypes.c_size_t()
        self.result_get_n_sequences(result, ctypes.byref(n))
        found = []
        for i in range(n.value):
            sequence = self.get("result_get_sequence", "t5g_sequence", result, i)
            text = ctypes.string_at(sequence.text, sequence.text_size).decode()
            ids = list((ctypes.c_int32 * sequence.n_token_ids).from_address(sequence.token_ids or 0))
            found.append((text, ids, sequence.finish_reason))
        return found

    def take_source_ids(self, source: int) -> list[int]:
        """The ids of a source."""
        ids, n = ctypes.c_void_p(), ctypes.c_size_t()
        self.source_get_ids(source, ctypes.byref(ids), ctypes.byref(n))
        return list((ctypes.c_int32 * n.value).from_address(ids.value or 0)) if n.value else []

    def encode(self, model: int, text: str) -> int:
        data = text.encode()
        return self.make("encode_text", model, data, len(data), None)


def ids_array(ids: Sequence[int]) -> ctypes.Array[ctypes.c_int32]:
    """Ids as C has them."""
    return (ctypes.c_int32 * len(ids))(*ids)
