"""t5g.h: a header for C99 and C++, whose options are those of the native table, and a library that exports it alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.c_library import CONSTANTS, FUNCTIONS, HEADER, ROOT, STRUCTS, Library
from t5g import _core

TESTS = Path(__file__).parent
C_TYPES = {
    "int": "int32_t",
    "float": "double",
    "seed": "uint64_t",
    "early_stopping": "int32_t",
    "draft": "int32_t",
    "id": "int32_t",
    "ids": "const int32_t*",
    "id_lists": "const t5g_token_run*",
    "bias": "const t5g_logit_bias*",
}


def test_options_are_those_of_the_native_table() -> None:
    section = HEADER.read_text().partition("/* options: those of")[2].partition("/* end of options */")[0]
    lines = re.findall(r"^  (\S.*?)\s(\w+);\s+/\* (.+) \*/$", section, re.MULTILINE)
    table = _core.sampling.option_table()
    assert {(name, kind) for kind, name, _ in lines} == {(row["name"], C_TYPES[row["type"]]) for row in table}
    described = {name: text for _, name, text in lines}
    for row in table:
        if row["type"] in ("int", "float", "seed"):
            assert row["help"].startswith(described[row["name"]].partition(";")[0]), row["name"]
        if row["type"] in ("ids", "id_lists", "bias"):
            assert f"size_t n_{row['name']};" in section


def test_every_function_and_struct_is_used_by_a_test() -> None:
    text = "".join(path.read_text() for path in TESTS.glob("test_*.py"))
    text += (ROOT / "tests" / "support" / "c_library.py").read_text()
    text += " model_options_init encode_options_init "  # of Library.options(), which puts the names together
    unused = [name for name in FUNCTIONS if not re.search(rf"\b(t5g_)?{name.removeprefix('t5g_')}\b", text)]
    assert not unused
    assert len(FUNCTIONS) > 40
    assert len(STRUCTS) > 7
    assert CONSTANTS["T5G_ERROR"] == 11


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ["-xc", "-std=c99"]),
        ("g++", ["-xc++", "-std=c++98", "-Wno-long-long"]),
        ("g++", ["-xc++", "-std=c++20"]),
        ("clang-19", ["-xc", "-std=c99"]),
    ],
)
def test_the_header_compiles_alone(compiler: str, flags: list[str], tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    (tmp_path / "program").write_text("#include <t5g.h>\n#include <t5g.h>\nint main(void) { return T5G_OK; }\n")
    warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-variadic-macros"]
    if "-std=c++98" in flags:
        flags = [*flags, "-D__STDC_LIMIT_MACROS"]
    command = [compiler, *flags, *warnings, f"-I{HEADER.parent}", "-fsyntax-only", tmp_path / "program"]
    subprocess.run(command, check=True)


def test_only_the_headers_functions_leave_the_library(lib: Library) -> None:
    if not str(lib.path).endswith(".so"):
        pytest.skip("nm knows this system's libraries only")
    lines = subprocess.run(
        ["nm", "-D", "--defined-only", lib.path], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert {line.split()[-1] for line in lines} == set(FUNCTIONS)


def test_what_it_says_of_itself(lib: Library) -> None:
    import json

    import t5g

    assert lib.raw("t5g_abi_version") == 1
    assert lib.raw("t5g_version").decode() == t5g.__version__
    info = json.loads(lib.take_text("system_info"))
    python = t5g.system_info()
    for key in ("kernels", "kernels_available", "cpu_features", "default_threads"):
        assert info[key] == python[key], key
    assert info["devices"]["cpu"] == python["devices"]["cpu"]  # others may have been left out of either build
    names = [lib.raw("t5g_status_name", status).decode() for status in range(13)]
    assert names == [*list(CONSTANTS)[:12], "unknown"]
    assert lib.raw("t5g_status_name", -1).decode() == "unknown"


def test_it_needs_few_libraries(lib: Library) -> None:
    output = subprocess.run(
        ["readelf", "-d", lib.path], check=True, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}
    ).stdout
    needed = set(re.findall(r"NEEDED.*\[(.*?)\]", output))
    system = {"libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "ld-linux-x86-64.so.2", "libpthread.so.0"}
    assert needed <= system | {"libdl.so.2"}
    assert "RPATH" not in output
    assert "RUNPATH" not in output
