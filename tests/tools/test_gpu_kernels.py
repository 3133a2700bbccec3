"""The GPU kernels' one text, and the checks of it, say what they should."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
address_spaces = runpy.run_path(str(ROOT / "tools/gpu/address_spaces.py"))
spills = runpy.run_path(str(ROOT / "tools/gpu/spills.py"))

LOG = """ptxas info    : Compiling entry function 'rope' for 'sm_90'
ptxas info    : Function properties for rope
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
ptxas info    : Function properties for geglu
    8 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 8 bytes cumulative stack size
"""


@pytest.fixture(scope="module")
def text() -> str:
    command = [sys.executable, str(CSRC / "kernels/gpu/one_text.py"), str(CSRC)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_one_text_is_whole(text: str) -> None:
    assert '#include "' not in text
    assert text.count("struct MatvecArgs {") == 1
    assert "__METAL_VERSION__" in text
    assert "emulator::" not in text
    assert "__launch_bounds__" not in text


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_every_kernel_is_in_the_one_text(text: str) -> None:
    names = spills["kernel_names"]()
    assert len(names) == len(set(names)) > 60
    program = "#define GPU_KERNEL(name, ...) kernel: name\n" + text[text.index("#define GPU_FOR_EACH_TYPE") :]
    found = subprocess.run(
        ["c++", "-E", "-P", "-x", "c++", "-"], input=program, capture_output=True, text=True, check=True
    )
    assert [line.split(": ")[1].split()[0] for line in found.stdout.split("kernel") if ": " in line] == names


def test_every_kernel_is_launched_by_name_of_its_row() -> None:
    """The driver gpu_kernels fails on a kernel that no test launches: so it must be built and run."""
    cmake = (ROOT / "tests/native/CMakeLists.txt").read_text(encoding="utf-8")
    assert "add_test(NAME gpu_kernels" in cmake


def test_pointers_name_their_memory() -> None:
    assert address_spaces["main"](CSRC / "kernels" / "gpu") == 0


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("  GLOBAL const f32* x = args.x;", None),
        ("  const f32* x = args.x;", "names no memory"),
        ("GPU_FN void put(SHARED u16* x, u16* w) {", "names no memory"),
        ("GPU_FN void sum(f32 (&sums)[4]) {", "names no memory"),
        ("  const f32 area = a * b;", None),
        ("  double sum = 0;", "not in Metal's language: double"),
        ("  const u32 half = 2;", "not in Metal's language: half"),
        ("struct Q8_0 : Quantized {", "not in Metal's language: struct"),
        ("  x = y;  // a const f32* in a comment", None),
    ],
)
def test_the_rule_of_address_spaces(line: str, complaint: str | None) -> None:
    found = address_spaces["complaints"](line)
    assert found == [] if complaint is None else any(complaint in text for text in found)


def test_spills_are_found_in_the_log() -> None:
    found = spills["parse"](LOG)
    assert found["rope"] == (32, 0, 0)
    assert found["geglu"] == (40, 8, 20)
    assert [text.split(":")[0] for text in spills["complaints"](found, ["rope", "geglu", "probe"])] == [
        "probe",
        "geglu",
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize("architecture", ["75", "90"])
def test_no_kernel_spills(architecture: str) -> None:
    found = spills["parse"](spills["compile_for"]("nvcc", architecture))
    assert spills["complaints"](found, spills["kernel_names"]()) == []
