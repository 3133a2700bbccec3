"""Builds t5g for systems that are not this one, with zig, and runs what can be run: natively, with wine, under qemu.

python tools/checks/platforms.py [NAME ...] [--run-only] [--level N]

Every target is compiled and linked with warnings as errors; its shared library must export the functions of t5g.h and
nothing else. Names are those of TARGETS; without any, Windows, macOS and musl on the most common processors. Needs the
packages ziglang, cmake and ninja, and for running `wine` and `qemu-aarch64`. Works in build/platforms.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from exports import faults

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "platforms"
GOLDENS = ROOT / "tests" / "goldens"
TEXT = "the quick brown fox jumps over the lazy dog"


class Target(NamedTuple):
    """One system, and how its programs run here ("" where they cannot)."""

    triple: str  # as zig has it
    system: str  # as CMake has it
    processor: str
    runner: str = ""
    is_usual: bool = False
    shared: str = "libt5g.so"


TARGETS = {
    "windows-x64": Target("x86_64-windows-gnu", "Windows", "AMD64", "wine", True, "libt5g.dll"),
    "windows-arm64": Target("aarch64-windows-gnu", "Windows", "ARM64", shared="libt5g.dll"),
    "macos-arm64": Target("aarch64-macos", "Darwin", "arm64", is_usual=True, shared="libt5g.dylib"),
    "macos-x64": Target("x86_64-macos", "Darwin", "x86_64", shared="libt5g.dylib"),
    "glibc2.17-x64": Target("x86_64-linux-gnu.2.17", "Linux", "x86_64", "native"),
    "glibc2.17-arm64": Target("aarch64-linux-gnu.2.17", "Linux", "aarch64", "qemu"),
    "musl-x64": Target("x86_64-linux-musl", "Linux", "x86_64", "native", True),
    "musl-arm64": Target("aarch64-linux-musl", "Linux", "aarch64", "qemu"),
}
# Programs of tests/native with their arguments; those that only sanitizers or this compiler's builtins make worthwhile
# are left out.
TINY = [str(GOLDENS / "v1-wide-encoder.gguf"), str(GOLDENS / "v2-gqa-w5.gguf")]
PROGRAMS: dict[str, list[str]] = {
    "base_checks": [],
    "gguf_checks": [],
    "fuzz_gguf": [str(ROOT / "tests" / "data" / "gguf_corpus")],
    "tokenizer_fuzz": [],
    "kernels_selftest": [],
    "ops_checks": [],
    "generate_checks": TINY,
    "shared_objects": TINY,
    "interruptions": TINY,
    "capi_checks": [TINY[1], "20"],
}
SLOW_UNDER_QEMU = {"tokenizer_fuzz", "kernels_selftest", "interruptions", "shared_objects", "fuzz_gguf"}


def zig() -> str:
    """The zig of the package ziglang."""
    import ziglang

    return str(Path(ziglang.__file__).parent / "zig")


def run(*command: object, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a command and give what it printed."""
    words = [str(part) for part in command]
    return subprocess.run(words, capture_output=True, text=True, errors="replace", **more)  # type: ignore[call-overload,no-any-return]


def must(*command: object, **more: object) -> str:
    """Run a command that must succeed, and give what it printed."""
    result = run(*command, **more)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{result.stdout[-6000:]}{result.stderr[-6000:]}")
    return result.stdout


def make_wrappers(folder: Path, triple: str) -> None:
    """Programs of one word each, as CMake wants its compilers."""
    folder.mkdir(parents=True, exist_ok=True)
    # zig's own checks of undefined behaviour would make another program of it.
    compile_flags = f"-target {triple} -fno-sanitize=undefined -g0"
    for name, words in {
        "cc": f"cc {compile_flags}",
        "c++": f"c++ {compile_flags}",
        "ar": "ar",
        "ranlib": "ranlib",
    }.items():
        (folder / name).write_text(f'#!/bin/sh\nexec "{zig()}" {words} "$@"\n')
        (folder / name).chmod(0o755)


def build(name: str, target: Target, optimise: str) -> Path:
    """Build everything for one target -> its folder."""
    folder = WORK / name
    make_wrappers(folder / "wrappers", target.triple)
    environment = os.environ | {
        "T5G_ZIG_SYSTEM": target.system,
        "T5G_ZIG_PROCESSOR": target.processor,
        "T5G_ZIG_WRAPPERS": str(folder / "wrappers"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("CMAKE_CXX_COMPILER_LAUNCHER", None)  # zig keeps what it has compiled by itself
    must(
        "cmake", "-S", ROOT, "-B", folder / "build", "-G", "Ninja", f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/cmake/zig.cmake",
        "-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_CXX_FLAGS_RELEASE={optimise} -DNDEBUG", "-DT5G_WERROR=ON",
        "-DT5G_BUILD_PYTHON=OFF", "-DT5G_BUILD_EXAMPLES=ON", "-DT5G_BUILD_NATIVE_TESTS=ON", env=environment,
    )  # fmt: skip
    must("cmake", "--build", folder / "build", env=environment)
    return folder / "build"


def program(folder: Path, name: str) -> Path:
    """A built program, by its name on this system."""
    place = folder / ("examples" if name in ("generate", "candidates", "summarise_folder") else "tests/native")
    name = "generate" if name == "generate_checks" else name
    return place / (f"{name}.exe" if (place / f"{name}.exe").exists() else name)


def command_for(target: Target, path: Path, arguments: list[str]) -> list[str]:
    """How a program of this target is started here."""
    if target.runner == "wine":
        return ["wine", str(path), *[f"Z:{a}" if a.startswith("/") else a for a in arguments]]
    if target.runner == "qemu":
        return ["qemu-aarch64", "-cpu", "max", "-L", "/usr/aarch64-linux-gnu", str(path), *arguments]
    return [str(path), *arguments]


def run_programs(target: Target, folder: Path) -> list[str]:
    """Run the native tests and an example -> what failed."""
    environment = os.environ | {
        "WINEDEBUG": "-all",
        "WINEPREFIX": str(WORK / "wine"),
        "WINEPATH": f"Z:{folder / 'csrc' / 'capi'}",
        "LD_LIBRARY_PATH": str(folder / "csrc" / "capi"),
        "T5G_NUM_THREADS": "2",
    }
    failed = []
    for name, arguments in {**PROGRAMS, "generate": [TINY[1], TEXT]}.items():
        if target.runner == "qemu" and name in SLOW_UNDER_QEMU:
            continue
        result = run(*command_for(target, program(folder, name), arguments), env=environment, timeout=540)
        print(f"  {name}: {'ok' if result.returncode == 0 else f'status {result.returncode}'}", flush=True)
        if result.returncode != 0:
            failed.append(f"{name}: status {result.returncode}\n{result.stdout[-1500:]}{result.stderr[-1500:]}")
    return failed


def check(name: str, target: Target, optimise: str, run_only: bool) -> list[str]:
    """Build and run one target -> what is wrong."""
    start = time.monotonic()
    folder = WORK / name / "build"
    if not run_only:
        build(name, target, optimise)
    library = folder / "csrc" / "capi" / target.shared
    found = faults(library)
    size = library.stat().st_size / 1e6
    print(f"{name}: built in {time.monotonic() - start:.0f} s; {library.name} has {size:.2f} MB", flush=True)
    runner = {"wine": "wine", "qemu": "qemu-aarch64"}.get(target.runner)
    if target.runner and (runner is None or shutil.which(runner)):
        found += run_programs(target, folder)
    else:
        print("  cannot be run here", flush=True)
    return [f"{name}: {fault}" for fault in found]


def main() -> int:
    """Check the targets named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TARGETS))
    parser.add_argument("--run-only", action="store_true", help="what is built already")
    parser.add_argument("--level", default="2", choices="0123", help="of optimising: 0 is four times as fast to build")
    arguments = parser.parse_args()
    names = arguments.names or [name for name, target in TARGETS.items() if target.is_usual]
    found = [f for name in names for f in check(name, TARGETS[name], f"-O{arguments.level}", arguments.run_only)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
