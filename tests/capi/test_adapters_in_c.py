"""Adapters in C: loaded, chosen for a source and remembered by it, with the bits that Python has."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import t5g
from support.adapters import write_adapted
from support.c_library import STRUCTS, Library, StatusError, ids_array
from support.folders import t5gemma_config

pytest.importorskip("gguf")

IDS = [2, 17, 40, 99, 31, 250, 3, 12]
TARGET = [2, 60, 71, 200]
Adapter = STRUCTS["t5g_adapter"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapted(tmp_path_factory.mktemp("adapters"), t5gemma_config())


@pytest.fixture
def model(lib: Library, files: Path) -> Iterator[int]:
    model = lib.make("model_open", str(files / "m.gguf").encode(), None)
    for name, scale in (("a", 1.0), ("b", 0.5)):
        lib.model_load_adapter(model, str(files / f"{name}.gguf").encode(), name.encode(), scale)
    yield model
    lib.model_free(model)


def encoded(lib: Library, model: int, *chosen: tuple[bytes | None, float, int], everything: bool = False) -> int:
    rows = [(ctypes.cast(ctypes.c_char_p(name), ctypes.c_void_p).value, *more) for name, *more in chosen]
    array = (Adapter * max(len(rows), 1))(*rows)
    changes = {} if everything else {"adapters": ctypes.addressof(array), "n_adapters": len(chosen)}
    options = lib.options("encode", **changes)
    return lib.make("encode_ids", model, ids_array(IDS), len(IDS), ctypes.byref(options))


def logits(lib: Library, model: int, source: int, vocab_size: int) -> bytes:
    out = (ctypes.c_float * (len(TARGET) * vocab_size))()
    lib.logits(model, source, ids_array(TARGET), len(TARGET), None, out, len(out))
    return bytes(out)


def test_each_choice_gives_pythons_bits(lib: Library, model: int, files: Path) -> None:
    assert json.loads(lib.take_text("model_get_adapters", model)) == {"a": 1.0, "b": 0.5}
    with t5g.Model(files / "m.gguf") as python:
        for name, scale in (("a", 1.0), ("b", 0.5)):
            python.load_adapter(files / f"{name}.gguf", name, scale)
        size = python.config.vocab_size
        seen = set()
        for chosen, adapters in (
            (None, None),
            ([], []),
            ([(b"a", 0.0, 0)], "a"),
            ([(b"b", 0.0, 0)], "b"),
            ([(b"b", 2.0, 1), (b"a", 0.25, 1)], {"a": 0.25, "b": 2.0}),
        ):
            source = encoded(lib, model, *(chosen or ()), everything=chosen is None)
            found = logits(lib, model, source, size)
            assert found == python.logits(IDS, TARGET, adapters=adapters).tobytes()
            options = lib.options("generate", model, max_new_tokens=6)
            result = lib.make("generate", model, source, ctypes.byref(options))
            expected = python.generate(IDS, max_new_tokens=6, adapters=adapters).token_ids
            assert lib.sequences(result)[0][1] == expected
            lib.result_free(result)
            lib.source_free(source)
            seen.add(found)
        assert len(seen) == 5


def test_a_source_remembers_its_adapters(lib: Library, model: int, files: Path, tmp_path: Path) -> None:
    size = lib.get("model_get_info", "t5g_model_info", model).vocab_size
    source = encoded(lib, model, (b"a", 0.0, 0))
    before = logits(lib, model, source, size)
    path = str(tmp_path / "source").encode()
    lib.source_save(source, path)
    lib.model_unload_adapter(model, b"a")
    assert json.loads(lib.take_text("model_get_adapters", model)) == {"b": 0.5}
    with pytest.raises(StatusError, match=r"T5G_INVALID_ARGUMENT: .*adapter 'a'"):
        logits(lib, model, source, size)
    plain = encoded(lib, model)
    assert logits(lib, model, plain, size) != before
    lib.model_load_adapter(model, str(files / "a.gguf").encode(), b"again", 1.0)
    assert logits(lib, model, source, size) == before
    loaded = lib.make("source_load", model, path)
    assert logits(lib, model, loaded, size) == before
    for one in (source, plain, loaded):
        lib.source_free(one)


def test_adapters_that_are_none(lib: Library, model: int, files: Path, tmp_path: Path) -> None:
    adapter = str(files / "a.gguf").encode()
    (tmp_path / "broken").write_bytes(adapter)
    for arguments, words in (
        ((adapter, b"a", 1.0), "T5G_INVALID_ARGUMENT: .*'a'"),
        ((adapter, b"", 1.0), "T5G_INVALID_ARGUMENT: name: is empty"),
        ((adapter, b"\xff", 1.0), "T5G_INVALID_ARGUMENT: name: is not UTF-8"),
        ((adapter, b"c", float("nan")), "T5G_INVALID_ARGUMENT: scale"),
        ((b"/nowhere/a.gguf", b"c", 1.0), "T5G_NOT_FOUND"),
        ((str(tmp_path / "broken").encode(), b"c", 1.0), "T5G_FORMAT_ERROR"),
        ((str(files / "m.gguf").encode(), b"c", 1.0), "T5G_FORMAT_ERROR"),
    ):
        with pytest.raises(StatusError, match=words):
            lib.model_load_adapter(model, *arguments)
    with pytest.raises(StatusError, match="T5G_INVALID_ARGUMENT: no adapter 'c' is loaded"):
        lib.model_unload_adapter(model, b"c")
    for chosen, words in (
        ([(b"c", 0.0, 0)], "'c' is not loaded"),
        ([(None, 0.0, 0)], r"adapters\[0\].name: is NULL"),
        ([(b"a", 0.0, 0), (b"", 0.0, 0)], r"adapters\[1\].name: is empty"),
        ([(b"a", float("inf"), 1)], "scale|finite"),
    ):
        with pytest.raises(StatusError, match=f"T5G_INVALID_ARGUMENT: .*(?:{words})"):
            encoded(lib, model, *chosen)
    for changes in ({"n_adapters": 2}, {"n_adapters": 2**40}):
        with pytest.raises(StatusError, match=r"T5G_INVALID_ARGUMENT: (adapters: is NULL|n_adapters)"):
            lib.make("encode_text", model, b"a", 1, ctypes.byref(lib.options("encode", **changes)))
    source = encoded(lib, model, everything=True)
    assert np.frombuffer(logits(lib, model, source, lib.get("model_get_info", "t5g_model_info", model).vocab_size)).size
    lib.source_free(source)


WITH_A_COMMA = """
import json, locale, sys
from support.c_library import Library
locale.setlocale(locale.LC_NUMERIC, "xx_XX.UTF-8")
assert locale.localeconv()["decimal_point"] == ","
lib = Library(sys.argv[1])
model = lib.make("model_open", sys.argv[2].encode(), None)
lib.model_load_adapter(model, sys.argv[3].encode(), b"a", 0.5)
print(lib.take_text("model_get_adapters", model))
"""


def test_numbers_are_json_in_every_locale(lib: Library, files: Path, tmp_path: Path) -> None:
    if shutil.which("localedef") is None:
        pytest.skip("there is no localedef, and maybe no locale with another decimal point")
    characters = "".join(f"<U{code:04X}> /x{code:02x} X\n" for code in range(128))
    (tmp_path / "map").write_text(
        f"<code_set_name> UTF-8\n<comment_char> %\n<escape_char> /\nCHARMAP\n{characters}END CHARMAP\n"
    )
    (tmp_path / "locale").write_text(
        'escape_char /\nLC_NUMERIC\ndecimal_point "<U002C>"\nthousands_sep ""\ngrouping -1\nEND LC_NUMERIC\n'
    )
    sources = ["-i", tmp_path / "locale", "-f", tmp_path / "map"]
    subprocess.run(["localedef", "-c", "--no-archive", *sources, tmp_path / "xx_XX.UTF-8"], capture_output=True)
    result = subprocess.run(
        [sys.executable, "-c", WITH_A_COMMA, lib.path, files / "m.gguf", files / "a.gguf"],
        env=os.environ | {"LOCPATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert json.loads(result.stdout) == {"a": 0.5}, result.stderr
