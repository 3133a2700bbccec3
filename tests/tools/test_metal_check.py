"""tools/gpu/metal.sh finds what Metal's compiler would refuse: faults planted into a copy of the kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "csrc" / "kernels" / "gpu"
CLANG = os.environ.get("CLANG", "clang++-19")

pytestmark = pytest.mark.skipif(shutil.which(CLANG) is None, reason=f"needs {CLANG}")

# File, what is in it, what is put there, and what is said about it.
FAULTS = {
    "a pointer without memory": ("rows.h", "GLOBAL f32* out = args.out", "f32* out = args.out", "names no memory"),
    "a pointer to other memory": ("rows.h", "GLOBAL f32* out = args.out", "SHARED f32* out = args.out", "error"),
    "a reference without memory": ("norm.h", "PRIVATE const f32 (&sums)", "const f32 (&sums)", "names no memory"),
    "double precision": ("norm.h", "f32 squares = 0;", "double squares = 0;", "not in Metal's language: double"),
    "a type as a name": ("elements.h", "const u32 pairs =", "const u32 half =", "not in Metal's language: half"),
    "a function that is not there": ("elements.h", "tanh_(args.a[first + i]", "tanhf(args.a[first + i]", "error"),
    "a base class": ("formats.h", "struct Q8_0 {", "struct Q8_0 : RawBytes {", "not in Metal's language: struct"),
}


def check(csrc: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "tools/gpu/metal.sh"), str(csrc)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(KERNELS, tmp_path / "kernels" / "gpu")
    return tmp_path


def test_the_kernels_pass(copy: Path) -> None:
    done = check(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no complaint" in done.stdout


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, copy: Path) -> None:
    file, before, after, said = FAULTS[name]
    path = copy / "kernels" / "gpu" / file
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    done = check(copy)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
