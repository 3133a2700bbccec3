"""What is wrong gets a status and a message, whatever it is; nothing ends the process."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.c_library import CONSTANTS, FUNCTIONS, ROOT, STRUCTS, Function, Library, StatusError, ids_array

GOLDENS = Path(__file__).parents[1] / "goldens"
# Where NULL and zeros are a good call: nothing is asked for.
TAKES_NOTHING = {"t5g_generate_batch"}


class Handles:
    """One good handle of each kind."""

    def __init__(self, lib: Library, path: Path) -> None:
        self.lib = lib
        self.model = lib.make("model_open", str(path).encode(), None)
        self.source = lib.encode(self.model, "the dog")
        options = lib.options("generate", self.model, max_new_tokens=3)
        self.result = lib.make("generate", self.model, self.source, ctypes.byref(options))
        self.cancel = lib.make("cancel_new")

    def free(self) -> None:
        for kind in ("result", "source", "cancel", "model"):
            getattr(self.lib, f"{kind}_free")(getattr(self, kind))

    def by_type(self) -> dict[str, int]:
        return {f"t5g_{kind}*": getattr(self, kind) for kind in ("model", "source", "result", "cancel")}


@pytest.fixture(scope="module")
def handles(lib: Library) -> Iterator[Handles]:
    handles = Handles(lib, GOLDENS / "v1-wide-encoder.gguf")
    yield handles
    handles.free()


def failed(lib: Library, name: str, *arguments: Any) -> str:
    status = lib.raw(name, *arguments)
    assert status != 0, name
    message = lib.message()
    assert message.endswith(".")
    assert "\n" not in message
    assert "internal" not in message.lower()
    return lib.status_name(status)


def status_functions() -> list[Function]:
    return [f for f in FUNCTIONS.values() if f.result == "t5g_status"]


def test_null_everywhere(lib: Library) -> None:
    for function in FUNCTIONS.values():
        arguments = [None if p.type.endswith("*") else 0 for p in function.parameters]
        if function.result != "t5g_status" or function.name in TAKES_NOTHING:
            lib.raw(function.name, *arguments)  # a _free function, or nothing to do
        else:
            assert failed(lib, function.name, *arguments) == "T5G_INVALID_ARGUMENT", function.name


def good_argument(type_: str, name: str, handles: Handles, keep: list[Any]) -> Any:
    """Something that a call could be given, large enough for whatever it writes."""
    if type_ in handles.by_type():
        return handles.by_type()[type_]
    if type_ == "t5g_source**" and name == "sources":
        keep.append((ctypes.c_void_p * 1)(handles.source))
    elif type_.endswith("_options*") or type_ in ("t5g_model_info*", "t5g_sequence*", "t5g_timings*"):
        keep.append(STRUCTS[type_[:-1]]())
        keep[-1].struct_size = ctypes.sizeof(keep[-1])
    elif type_ == "t5g_chat_message*":
        keep.append((ctypes.c_char_p * 2)(b"user", b"hello"))
    elif type_.endswith("*"):
        keep.append(ctypes.create_string_buffer(1 << 20))
    else:
        return 1
    return ctypes.addressof(keep[-1])


def test_null_in_each_place(lib: Library, handles: Handles) -> None:
    """One argument after the other is NULL and all others are good: an error where it is needed, never a crash."""
    n_errors = 0
    for function in status_functions():
        for place, parameter in enumerate(function.parameters):
            if not parameter.type.endswith("*") or parameter.type == "t5g_cancel*":
                continue
            keep: list[Any] = []
            arguments = [good_argument(p.type, p.name, handles, keep) for p in function.parameters]
            arguments[place] = None
            status = lib.raw(function.name, *arguments)
            assert lib.status_name(status) != "unknown"
            n_errors += status != 0
            if parameter.name in ("source", "result", "model", "text", "ids", "value", "info") and status == 0:
                assert function.name in ("t5g_generate_options_init",), (function.name, parameter.name)
    assert n_errors > 40


def test_handles_of_another_kind(lib: Library, handles: Handles) -> None:
    other = {"t5g_model*": "source", "t5g_source*": "result", "t5g_result*": "cancel", "t5g_cancel*": "model"}
    n_places = 0
    for function in status_functions():
        for place, parameter in enumerate(function.parameters):
            if parameter.type not in other:
                continue
            keep: list[Any] = []
            arguments = [good_argument(p.type, p.name, handles, keep) for p in function.parameters]
            arguments[place] = getattr(handles, other[parameter.type])
            assert failed(lib, function.name, *arguments) == "T5G_INVALID_ARGUMENT", (function.name, parameter.name)
            n_places += 1
    assert n_places > 25
    wrong = (ctypes.c_void_p * 2)(handles.source, handles.model)
    results = (ctypes.c_void_p * 2)()
    assert failed(lib, "t5g_generate_batch", handles.model, wrong, 2, None, results) == "T5G_INVALID_ARGUMENT"
    assert "sources[1]" in lib.message()
    assert list(results) == [None, None]
    for kind, name in other.items():
        lib.raw(f"{kind[:-1]}_free", getattr(handles, name))  # left alone
    lib.source_free(lib.encode(handles.model, "still there"))


@pytest.mark.parametrize("size", [0, 1, 7, -1, 5000, 2**40])
def test_struct_sizes_that_are_none(lib: Library, handles: Handles, size: int) -> None:
    buffer = ctypes.create_string_buffer(8192)
    for kind, first in (("model", []), ("encode", []), ("generate", [None])):
        name = f"t5g_{kind}_options_init"
        assert failed(lib, name, *first, buffer, ctypes.c_size_t(size).value) == "T5G_INVALID_ARGUMENT"
    ctypes.memmove(buffer, bytes(ctypes.c_size_t(size)), 8)
    for call, *arguments in (
        ("t5g_model_get_info", handles.model),
        ("t5g_result_get_sequence", handles.result, 0),
        ("t5g_result_get_timings", handles.result),
    ):
        assert failed(lib, call, *arguments, buffer) == "T5G_INVALID_ARGUMENT"
    out = ctypes.c_void_p()
    assert failed(lib, "t5g_encode_text", handles.model, b"a", 1, buffer, ctypes.byref(out)) == "T5G_INVALID_ARGUMENT"
    assert (
        failed(lib, "t5g_generate", handles.model, handles.source, buffer, ctypes.byref(out)) == "T5G_INVALID_ARGUMENT"
    )
    assert failed(lib, "t5g_model_open", b"x", buffer, ctypes.byref(out)) == "T5G_INVALID_ARGUMENT"
    assert "struct_size" in lib.message()
    assert not out.value


@pytest.mark.parametrize("size", [2**64 - 2, 2**63])
def test_sizes_that_no_memory_has(lib: Library, handles: Handles, size: int) -> None:
    """What counting down from 0 gives: refused before anything is read."""
    out, n, one, number = (
        ctypes.byref(ctypes.c_void_p()),
        ctypes.byref(ctypes.c_size_t()),
        ids_array([3]),
        (ctypes.c_float * 1)(),
    )
    model, source, bytes_ = handles.model, handles.source, ctypes.create_string_buffer(64)
    message = (ctypes.c_char_p * 2)(b"user", b"a")
    for name, arguments in {
        "encode_text": (model, b"a", size, None, out),
        "tokenize": (model, b"a", size, 1, 0, out, n),
        "model_open_memory": (bytes_, size, None, None, out),
        "source_load_memory": (model, bytes_, size, out),
        "encode_ids": (model, one, size, None, out),
        "detokenize": (model, one, size, 0, out, n),
        "score": (model, source, one, size, None, number),
        "logits": (model, source, one, size, None, number, 1),
        "apply_chat_template": (model, message, size, out, n),
        "generate_batch": (model, (ctypes.c_void_p * 1)(source), size, None, (ctypes.c_void_p * 1)()),
    }.items():
        assert failed(lib, f"t5g_{name}", *arguments) == "T5G_INVALID_ARGUMENT", name
        assert "more than any memory has" in lib.message(), name


@pytest.mark.parametrize("row_bytes", [2**62, -48, 47])
def test_rows_of_an_image_that_are_none(lib: Library, row_bytes: int) -> None:
    model = lib.make("model_open", str(GOLDENS / "v2-images.gguf").encode(), None)
    pixels = ctypes.create_string_buffer(3 * 16 * 16)
    image = (ctypes.c_int64 * 4)(ctypes.addressof(pixels), 16, 16, row_bytes)
    options = lib.options("encode", images=ctypes.addressof(image), n_images=1)
    out = ctypes.byref(ctypes.c_void_p())
    assert failed(lib, "t5g_encode_text", model, b"", 0, ctypes.byref(options), out) == "T5G_INVALID_ARGUMENT"
    assert "images[0]: row_bytes" in lib.message()
    lib.model_free(model)


def test_an_empty_path(lib: Library, handles: Handles) -> None:
    out = ctypes.byref(ctypes.c_void_p())
    for name, arguments in {
        "model_open": (b"", None, out),
        "source_load": (handles.model, b"", out),
        "source_save": (handles.source, b""),
        "model_load_adapter": (handles.model, b"", b"a", 1.0),
    }.items():
        assert failed(lib, f"t5g_{name}", *arguments) == "T5G_INVALID_ARGUMENT", name
        assert lib.message() == "path: is empty."


def test_structs_of_a_newer_header(lib: Library, handles: Handles) -> None:
    known = ctypes.sizeof(STRUCTS["t5g_generate_options"])
    buffer = ctypes.create_string_buffer(b"\xff" * (known + 24), known + 24)
    lib.generate_options_init(handles.model, buffer, known + 24)
    assert buffer.raw[known:] == bytes(24)  # what this library does not know has its default
    options = STRUCTS["t5g_generate_options"].from_buffer(buffer)
    options.max_new_tokens = 2
    lib.result_free(lib.make("generate", handles.model, handles.source, buffer))
    buffer[known + 3] = b"\x01"
    out = ctypes.c_void_p()
    assert failed(lib, "t5g_generate", handles.model, handles.source, buffer, ctypes.byref(out)) == "T5G_UNSUPPORTED"
    timings = ctypes.create_string_buffer(b"\xff" * 128, 128)
    ctypes.memmove(timings, bytes(ctypes.c_size_t(128)), 8)
    lib.result_get_timings(handles.result, timings)
    assert timings.raw[ctypes.sizeof(STRUCTS["t5g_timings"]) :] == bytes(128 - ctypes.sizeof(STRUCTS["t5g_timings"]))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"num_beams": 2, "temperature": 1.0}, "beam search does not sample"),
        ({"early_stopping": 3}, "early_stopping"),
        ({"draft": -1}, "draft"),
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"n_stop": 1}, "stop: is NULL"),
        ({"n_stop": 2**60}, "n_stop"),
        ({"n_decoder_prefix": 3}, "decoder_prefix: is NULL"),
    ],
)
def test_options_out_of_range(lib: Library, handles: Handles, changes: dict[str, Any], word: str) -> None:
    options = lib.options("generate", None, **changes)
    with pytest.raises(StatusError, match=word) as info:
        lib.make("generate", handles.model, handles.source, ctypes.byref(options))
    assert info.value.status == "T5G_INVALID_ARGUMENT"


@pytest.mark.parametrize("changes", [{"load": 2}, {"encoder_window": -1}, {"n_threads": -1}, {"n_threads": 9999}])
def test_model_options_out_of_range(lib: Library, changes: dict[str, int]) -> None:
    path = str(GOLDENS / "v1-wide-encoder.gguf").encode()
    with pytest.raises(StatusError, match="T5G_INVALID_ARGUMENT"):
        lib.make("model_open", path, ctypes.byref(lib.options("model", **changes)))
    for field, word in (("device", b"gpu\xff"), ("kv_type", b"f64"), ("device", b"tpu")):
        options = lib.options("model", **{field: ctypes.cast(ctypes.c_char_p(word), ctypes.c_void_p)})
        with pytest.raises(StatusError, match="T5G_INVALID_ARGUMENT"):
            lib.make("model_open", path, ctypes.byref(options))


# ---- Every status ----


def unaligned(lib: Library, _: Handles) -> int:
    content = (GOLDENS / "v1-wide-encoder.gguf").read_bytes()
    buffer = ctypes.create_string_buffer(len(content) + 16)
    start = ctypes.addressof(buffer) + (-ctypes.addressof(buffer)) % 8 + 1
    return int(lib.raw("t5g_model_open_memory", start, len(content), None, None, ctypes.byref(ctypes.c_void_p())))


def closed(lib: Library, _: Handles) -> int:
    model = lib.make("model_open", str(GOLDENS / "v1-wide-encoder.gguf").encode(), None)
    source = lib.encode(model, "a")
    lib.model_close(model)
    lib.model_close(model)
    status = lib.raw("t5g_generate", model, source, None, ctypes.byref(ctypes.c_void_p()))
    assert lib.take_ids("tokenize", model, b"a", 1, 1, 0)  # tokenizers, sources and results stay
    lib.source_free(source)
    lib.model_free(model)
    return int(status)


def cancelled(lib: Library, handles: Handles) -> int:
    lib.cancel_request(handles.cancel)
    status = lib.raw(
        "t5g_score", handles.model, handles.source, ids_array([3]), 1, handles.cancel, (ctypes.c_float * 1)()
    )
    lib.cancel_reset(handles.cancel)
    return int(status)


def of_another_model(lib: Library, handles: Handles) -> int:
    other = lib.make("model_open", str(GOLDENS / "v1-no-softcap.gguf").encode(), None)
    out = ctypes.byref(ctypes.c_void_p())
    status = lib.raw("t5g_generate", other, handles.source, None, out)
    lib.model_free(other)
    return int(status)


def opened(name: str, *arguments: Any) -> Callable[[Library, Handles], int]:
    return lambda lib, _: int(lib.raw(name, *arguments, None, ctypes.byref(ctypes.c_void_p())))


def with_device(name: bytes) -> Callable[[Library, Handles], int]:
    def call(lib: Library, handles: Handles) -> int:
        options = lib.options("model", device=ctypes.cast(ctypes.c_char_p(name), ctypes.c_void_p))
        path = str(GOLDENS / "v1-wide-encoder.gguf").encode()
        return int(lib.raw("t5g_model_open", path, ctypes.byref(options), ctypes.byref(ctypes.c_void_p())))

    return call


CASES: list[tuple[str, str, Callable[[Library, Handles], int]]] = [
    ("T5G_OK", "", lambda lib, h: int(lib.raw("t5g_cancel_reset", h.cancel))),
    ("T5G_INVALID_ARGUMENT", "is not UTF-8: byte 2", lambda lib, h: int(
        lib.raw("t5g_encode_text", h.model, b"ab\xff", 3, None, ctypes.byref(ctypes.c_void_p())))),
    ("T5G_INVALID_ARGUMENT", "no multiple of 8", unaligned),
    ("T5G_INVALID_ARGUMENT", "another model", of_another_model),
    ("T5G_INVALID_ARGUMENT", "token 0 is 1000000", lambda lib, h: int(
        lib.raw("t5g_encode_ids", h.model, ids_array([10**6]), 1, None, ctypes.byref(ctypes.c_void_p())))),
    ("T5G_INVALID_ARGUMENT", "index", lambda lib, h: int(
        lib.raw("t5g_result_get_logprob", h.result, 1, ctypes.byref(ctypes.c_double())))),
    ("T5G_INVALID_ARGUMENT", "n_floats", lambda lib, h: int(
        lib.raw("t5g_logits", h.model, h.source, ids_array([3]), 1, None, (ctypes.c_float * 4)(), 4))),
    ("T5G_INPUT_TOO_LONG", "5000 tokens", lambda lib, h: int(
        lib.raw("t5g_encode_ids", h.model, ids_array([9] * 5000), 5000, None, ctypes.byref(ctypes.c_void_p())))),
    ("T5G_INPUT_TOO_LONG", "cut it with truncation; nothing", lambda lib, h: int(
        lib.raw("t5g_encode_ids", h.model, ids_array([9] * 5000), 5000, None, ctypes.byref(ctypes.c_void_p())))),
    ("T5G_INPUT_TOO_LONG", "with max_target_tokens sets another limit", lambda lib, h: int(
        lib.raw("t5g_score", h.model, h.source, ids_array([9] * 5000), 5000, None, (ctypes.c_float * 5000)()))),
    ("T5G_UNSUPPORTED", 'Use device = "cpu"', with_device(b"metal")),
    ("T5G_NOT_FOUND", "no such file", opened("t5g_model_open", b"/nowhere/model.gguf")),
    ("T5G_NOT_FOUND", "no metadata key", lambda lib, h: int(
        lib.raw("t5g_model_get_metadata", h.model, b"general.nothing", ctypes.byref(ctypes.c_void_p())))),
    ("T5G_IO_ERROR", "opening", opened("t5g_model_open", b"/")),
    ("T5G_IO_ERROR", "no such folder", lambda lib, h: int(lib.raw("t5g_source_save", h.source, b"/nowhere/x"))),
    ("T5G_IO_ERROR", "descriptor", opened("t5g_model_open_fd", 10**6, 0, 2**64 - 1, None)),
    ("T5G_FORMAT_ERROR", "GGUF", opened("t5g_model_open", str(GOLDENS / "v1-mha-w4.npz").encode())),
    ("T5G_FORMAT_ERROR", "key 'tokenizer.ggml.tokens'", lambda lib, h: int(
        lib.raw("t5g_model_get_metadata", h.model, b"tokenizer.ggml.tokens", ctypes.byref(ctypes.c_void_p())))),
    ("T5G_FORMAT_ERROR", "not an encoded source", lambda lib, h: int(
        lib.raw("t5g_source_load_memory", h.model, b"nothing", 7, ctypes.byref(ctypes.c_void_p())))),
    ("T5G_UNSUPPORTED", "T5Gemma 2 reads images", lambda lib, h: int(
        lib.raw("t5g_encode_text", h.model, b"", 0, ctypes.byref(lib.options(
            "encode", n_images=1, images=ctypes.addressof(ctypes.create_string_buffer(64)))),
            ctypes.byref(ctypes.c_void_p())))),
    ("T5G_CANCELLED", "cancelled", cancelled),
    ("T5G_CLOSED", "the model is closed", closed),
]  # fmt: skip


@pytest.mark.parametrize(("status", "words", "call"), CASES, ids=[f"{s}-{w}" for s, w, _ in CASES])
def test_each_status(
    lib: Library, handles: Handles, status: str, words: str, call: Callable[[Library, Handles], int]
) -> None:
    found = lib.status_name(call(lib, handles))
    assert (found, words if words in lib.message() else lib.message()) == (status, words)
    assert not re.search(r"\b[a-z_]+=(['; .,]|$)", lib.message())  # as Python spells its arguments


def test_an_encoder_alone(lib: Library, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    import t5g
    from support.folders import Folder, t5gemma_config

    folder = Folder.of(t5gemma_config()).write(tmp_path / "hf")
    t5g.convert(folder, tmp_path / "m.gguf", type="f32", encoder_only=True)
    model = lib.make("model_open", str(tmp_path / "m.gguf").encode(), None)
    info = lib.get("model_get_info", "t5g_model_info", model)
    assert (info.max_target_tokens, info.decoder_start_token_id) == (0, -1)
    source = lib.make("encode_ids", model, ids_array([5, 6, 7]), 3, None)
    lib.embed(source, 0, 1, (ctypes.c_float * info.hidden_size)(), info.hidden_size)
    out = ctypes.byref(ctypes.c_void_p())
    numbers = (ctypes.c_float * 9)()
    assert failed(lib, "t5g_generate", model, source, None, out) == "T5G_UNSUPPORTED"
    assert failed(lib, "t5g_score", model, source, ids_array([3]), 1, None, numbers) == "T5G_UNSUPPORTED"
    assert failed(lib, "t5g_logits", model, source, ids_array([3]), 1, None, numbers, 9) == "T5G_UNSUPPORTED"
    lib.source_free(source)
    lib.model_free(model)


def test_every_status_is_reached_by_a_test() -> None:
    reached = {status for status, _, _ in CASES} | {"T5G_OUT_OF_MEMORY"}
    native = (ROOT / "tests" / "native" / "capi_checks.cc").read_text()
    statuses = list(CONSTANTS)[:12]
    assert {status for status in statuses if status not in reached} == {"T5G_DEVICE_ERROR", "T5G_ERROR"}
    assert "T5G_DEVICE_ERROR" in native
    assert "T5G_ERROR" in native


MEMORY = """
import ctypes, resource, sys
from support.c_library import Library, StatusError, ids_array
lib = Library(sys.argv[1])
model = lib.make("model_open", sys.argv[2].encode(), None)
small = lib.encode(model, "the dog")
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (1 << 20),) * 2)
n = 200_000_000
try:
    lib.make("tokenize", model, None, n, 0, 0, ctypes.byref(ctypes.c_void_p()))
except StatusError as error:
    print(error.status)
try:
    lib.make("encode_ids", model, ids_array([9] * 4000), 4000, None)
except StatusError as error:
    print(error.status, error.message)
lib.source_free(small)
"""


def test_memory_that_cannot_be_had(lib: Library) -> None:
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, lib.path, GOLDENS / "v2-long-encoder-softcap.gguf"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "T5G_INVALID_ARGUMENT"
    assert lines[1].startswith("T5G_OUT_OF_MEMORY")
    assert "out of memory" in lines[1]


def test_messages_belong_to_threads(lib: Library, handles: Handles) -> None:
    import threading

    assert lib.raw("t5g_model_open", b"/nowhere/here", None, ctypes.byref(ctypes.c_void_p())) != 0
    seen: list[str] = []

    def other() -> None:
        seen.append(lib.message())
        lib.raw("t5g_model_open", b"/nowhere/there", None, ctypes.byref(ctypes.c_void_p()))
        seen.append(lib.message())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen[0] == ""
    assert "/nowhere/there" in seen[1]
    assert "/nowhere/here" in lib.message()
