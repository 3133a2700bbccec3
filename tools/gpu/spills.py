"""Compiles the GPU kernels with nvcc and fails where a kernel spills registers or one of kernels.inc is missing.

It fails, too, where the PTX has what the version that it is labelled with (cmake/relabel_ptx.cmake) has not.

python tools/gpu/spills.py [--nvcc NVCC] [ARCHITECTURE ...]      default: all that are built for

Machine code is only made, not run: no GPU is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
SOURCE = CSRC / "kernels" / "gpu" / "all.cu"
ARCHITECTURES = ("75", "80", "86", "89", "90", "120")
# How the kernels are compiled for CUDA: a product and a sum are rounded once only where they say so.
FLAGS = ("-std=c++17", "-fmad=false", "-I", str(CSRC))


class Usage(NamedTuple):
    """What ptxas says of one kernel."""

    registers: int
    stack_bytes: int
    spilled_bytes: int


def parse(log: str) -> dict[str, Usage]:
    """The kernels in what `ptxas -v` prints."""
    pattern = re.compile(
        r"Function properties for (\w+)\s+(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads\s+"
        r"ptxas info\s*: Used (\d+) registers"
    )
    return {m[1]: Usage(int(m[5]), int(m[2]), int(m[3]) + int(m[4])) for m in pattern.finditer(log)}


def kernel_names() -> list[str]:
    """Every kernel of kernels.inc, as the preprocessor makes them of its rows."""
    program = '#define GPU_KERNEL(name, ...) kernel: name\n#include "kernels/gpu/kernels.inc"\n'
    command = ["c++", "-E", "-P", "-x", "c++", "-I", str(CSRC), "-"]
    text = subprocess.run(command, input=program, capture_output=True, text=True, check=True).stdout
    return re.findall(r"kernel: (\w+)", text)


def compile_for(nvcc: str, architecture: str) -> str:
    """The log of ptxas. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, "-cubin", f"-arch=sm_{architecture}", "-Xptxas", "-v"]
        command += [str(SOURCE), "-o", str(Path(folder) / "kernels.cubin")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"sm_{architecture}: nvcc failed\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def ptx_complaints(nvcc: str) -> list[str]:
    """What ptxas, which only reads it, says of the PTX for drivers that are older than the compiler."""
    said = subprocess.run(
        [nvcc, "--dryrun", "-ptx", "-x", "cu", "/dev/null"], capture_output=True, text=True, check=True
    )
    (top,) = re.findall(r"^#\$ TOP=(.*)$", said.stderr, re.MULTILINE)
    cmake = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if cmake is None:
        return ["no cmake, which relabels it"]
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder) / "kernels.ptx"
        subprocess.run([nvcc, *FLAGS, "-ptx", "-arch=compute_80", str(SOURCE), "-o", str(ptx)], check=True)
        subprocess.run([cmake, f"-DFILE={ptx}", "-P", str(ROOT / "cmake" / "relabel_ptx.cmake")], check=True)
        read = [str(Path(top) / "bin" / "ptxas"), "-arch=compute_80", str(ptx), "-o", str(Path(folder) / "nothing")]
        done = subprocess.run(read, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else sorted(set(re.findall(r"error\s+: (.+)", done.stderr))) or [done.stderr]


def complaints(found: dict[str, Usage], names: list[str]) -> list[str]:
    """What is wrong with the kernels of one architecture."""
    bad = [f"{name}: is missing" for name in names if name not in found]
    bad += [f"{name}: {usage}" for name, usage in found.items() if usage.spilled_bytes or usage.stack_bytes]
    return bad


def main() -> int:
    """Compiles for all architectures, two at a time -> exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nvcc", default="nvcc")
    parser.add_argument("architectures", nargs="*", default=ARCHITECTURES)
    arguments = parser.parse_args()
    names, bad = kernel_names(), 0
    with ThreadPoolExecutor(2) as pool:
        logs = pool.map(lambda architecture: compile_for(arguments.nvcc, architecture), arguments.architectures)
        for architecture, log in zip(arguments.architectures, logs, strict=True):
            found = parse(log)
            wrong = complaints(found, names)
            bad += len(wrong)
            most = max(usage.registers for usage in found.values())
            print(
                f"sm_{architecture}: {len(found)} kernels, at most {most} registers, {len(wrong)} complaints",
                flush=True,
            )
            print("".join(f"  {text}\n" for text in wrong), end="")
    wrong = ptx_complaints(arguments.nvcc)
    print(f"PTX: {len(wrong)} complaints")
    print("".join(f"  {text}\n" for text in wrong), end="")
    return 1 if bad or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
