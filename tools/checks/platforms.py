"""Builds t5g for systems that are not this one, with zig, and runs what can be run: in a root, with wine, under qemu.

python tools/checks/platforms.py [NAME ...] [--run-only] [--fast] [--only PROGRAM ...]

Every target is compiled and linked with warnings as errors; its shared library must export the functions of t5g.h and
nothing else. Names are those of zig.TARGETS; without any, all. Needs the packages ziglang, cmake and ninja, better with
ccache, and for running `wine`, `qemu-aarch64`, and as root Debian's packages. Texts are compared with those of t5g
in Python, which must be importable (PYTHONPATH=python). Works in build/platforms.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from exports import dynamic_symbols, exports_of_archive, faults, functions, glibc_faults
from golden_arrays import GOLDENS, MODELS, write_arrays
from roots import can_change_root, copy_into, root_for
from zig import ROOT, TARGETS, WORK, Target, environment, optimising

CORPUS = ROOT / "tests" / "data" / "gguf_corpus"
ARRAYS = WORK / "goldens"
TEXT = "the quick brown fox jumps over the lazy dog"
# Programs of tests/native with their arguments; those that only sanitizers make worthwhile are left out.
TINY = [str(GOLDENS / "v1-wide-encoder.gguf"), str(GOLDENS / "v2-gqa-w5.gguf")]
PROGRAMS: dict[str, list[str]] = {
    "capi_checks": [TINY[1], "30"],
    "golden_models": [word for name in MODELS for word in (str(GOLDENS / f"{name}.gguf"), str(ARRAYS / f"{name}.txt"))],
    "kernels_selftest": [],
    "base_checks": [],
    "gguf_checks": [],
    "fuzz_gguf": [str(CORPUS)],
    "tokenizer_fuzz": [],
    "ops_checks": [],
    "conformance": ["cpu"],
    "thread_pool_stress": ["1"],
    "generate_checks": TINY,
    "shared_objects": TINY,
    "interruptions": TINY,
}
SLOW_UNDER_QEMU = {
    "tokenizer_fuzz",
    "conformance",
    "interruptions",
    "shared_objects",
    "fuzz_gguf",
    "thread_pool_stress",
}
# qemu keeps 0.3 MB of every thread that has ended: too few rounds to look for leaks.
INSTEAD_UNDER_QEMU = {"capi_checks": [TINY[1], "20"]}
EXAMPLES = ("generate", "candidates")
RUNNERS = {"wine": "wine", "qemu": "qemu-aarch64"}
# What Android's C library has had since version 9 (API 28), of what t5g asks a C library for.
BIONIC = Path(__file__).parent / "bionic.txt"
# zig's linker for macOS takes no list of exports: its own two names are there, and new and delete of the C++ library,
# which zig links in. Apple's linker takes the list, and the C++ library is the system's there.
OF_ZIG_FOR_MACOS = r" exports (_Zn[aw]\w+|_Zd[al]\w+|__dso_handle|_mh_dylib_header)$"


def must(*command: object, **more: object) -> str:
    """Run a command that must succeed, and give what it printed."""
    words = [str(part) for part in command]
    result = subprocess.run(words, capture_output=True, text=True, errors="replace", **more)  # type: ignore[call-overload]
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\n{result.stdout[-6000:]}{result.stderr[-6000:]}")
    return str(result.stdout)


# ---- Building


def build(name: str, fast: bool, only: list[str]) -> None:
    """Build all of a target, or the library and some programs."""
    target, folder = TARGETS[name], WORK / name / "build"
    variables = environment(name)
    options = ["-G", "Ninja", f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/cmake/zig.cmake", "-DT5G_WERROR=ON", *optimising(fast)]
    goals: list[str] = []
    if name.startswith("android"):
        options += ["-S", str(ROOT / "examples/android"), f"-DT5G_JNI_INCLUDE={ROOT}/tests/support/jni"]
        goals = ["t5g_jni"]
    else:
        options += ["-S", str(ROOT), "-DT5G_BUILD_PYTHON=OFF"]
        if target.shared:
            options += ["-DT5G_BUILD_EXAMPLES=ON", "-DT5G_BUILD_NATIVE_TESTS=ON"]
            goals = ["t5g_shared", *(target_of(program) for program in only)] if only else []
        else:
            options += ["-DT5G_BUILD_SHARED=OFF"]
            goals = ["t5g_static"]
    must("cmake", "-B", folder, *options, env=variables)
    must("cmake", "--build", folder, *(["--target", *goals] if goals else []), "--", "-k", "0", env=variables)


def target_of(program: str) -> str:
    """CMake's target for a program: a native test, an example, or the library."""
    return f"example_{program}" if program in EXAMPLES else program.replace("generate_checks", "generate")


def library_of(name: str) -> Path:
    """The library that a target's build makes."""
    target, folder = TARGETS[name], WORK / name / "build"
    if name.startswith("android"):
        return folder / target.shared
    return folder / "csrc" / "capi" / (target.shared or "libt5g.a")


def library_faults(name: str) -> list[str]:
    """What a library has and wants that it should not."""
    path = library_of(name)
    if name.startswith("android"):
        defined, wanted = dynamic_symbols(path.read_bytes())
        lines = BIONIC.read_text().splitlines()
        known = {word for line in lines if not line.startswith("#") for word in line.split()}
        # Inline functions of the NDK's jni.h, which the header that stands in for it only declares.
        wanted = {symbol for symbol in wanted if not symbol.startswith("_ZN6JNIEnv")}
        found = [
            f"{path.name} exports {symbol}" for symbol in sorted(defined) if not symbol.startswith("Java_org_t5g_")
        ]
        return found + [f"{path.name} wants {symbol}, which bionic.txt has not" for symbol in sorted(wanted - known)]
    if path.suffix == ".a":
        found_names = exports_of_archive(path)
        # Inline functions of the C++ library may be shared with the program; nothing of ours may.
        ours = [f"{path.name} exports {symbol}" for symbol in sorted(found_names - functions()) if "3t5g" in symbol]
        return [f"{path.name} lacks {symbol}" for symbol in sorted(functions() - found_names)] + ours[:20]
    found = faults(path)
    if name.startswith("macos"):
        found = [fault for fault in found if not re.search(OF_ZIG_FOR_MACOS, fault)]
    return found + glibc_faults(path, (2, 17)) if name.startswith("glibc2.17") else found


# ---- Running


@cache
def expected(model: str) -> str:
    """What t5g in Python writes about TEXT."""
    import t5g

    with t5g.Model(model) as python:
        source = python.apply_chat_template([{"role": "user", "content": TEXT}]) if python.has_chat_template else TEXT
        return python.generate(source).text


@cache
def expected_bits() -> list[str]:
    """What tests/native/golden_models.cc says of the bits of logits, as t5g in Python has them here."""
    import t5g

    found = []
    for name in MODELS:
        window = {"encoder_window": "inclusive"} if name.startswith("v1") else {}
        with np.load(GOLDENS / f"{name}.npz") as arrays, t5g.Model(GOLDENS / f"{name}.gguf", **window) as model:
            logits = model.logits(arrays["source_0"].tolist(), arrays["target"].tolist())
        hashed = 0xCBF29CE484222325
        for byte in logits.tobytes():
            hashed = (hashed ^ byte) * 0x100000001B3 & (2**64 - 1)
        found.append(f"{hashed:016x}")
    return found


def program(folder: Path, name: str) -> Path:
    """A built program, by its name on this system."""
    place = folder / ("examples" if name in EXAMPLES else "tests/native")
    name = name.replace("generate_checks", "generate")
    return place / (f"{name}.exe" if (place / f"{name}.exe").exists() else name)


def command_for(name: str, path: Path, arguments: list[str]) -> list[str]:
    """How a program of a target is started here."""
    runner = TARGETS[name].runner
    if runner == "wine":
        return ["wine", str(path), *[f"Z:{a}" if a.startswith("/") else a for a in arguments]]
    if runner == "qemu":
        return ["qemu-aarch64", "-cpu", "max", "-L", str(root_for(name)), str(path), *arguments]
    root = root_for(name)
    library = library_of(name)
    copy_into(root, [path, *library.parent.glob(f"{library.name}*")])  # programs ask for it by its ABI's number
    return ["chroot", str(root), str(path), *arguments]


def is_runnable(target: Target) -> bool:
    """Whether this machine has what a target's programs need."""
    if target.runner == "root":
        return can_change_root()
    return bool(target.runner) and shutil.which(RUNNERS[target.runner]) is not None


def run_program(name: str, program_name: str, arguments: list[str], text: str = "") -> str:
    """Run one program -> what is wrong. text: what it must print, if anything."""
    folder = WORK / name / "build"
    variables = os.environ | {
        "WINEDEBUG": "-all",
        "WINEPREFIX": str(WORK / "wine"),
        "WINEPATH": f"Z:{folder / 'csrc' / 'capi'}",
        "LD_LIBRARY_PATH": str(folder / "csrc" / "capi"),
        "T5G_NUM_THREADS": "2",
    }
    start = time.monotonic()
    command = command_for(name, program(folder, program_name), arguments)
    result = subprocess.run(
        command, env=variables, capture_output=True, encoding="utf-8", errors="replace", timeout=540
    )
    printed = result.stdout.replace("\r\n", "\n")
    wrong = "" if result.returncode == 0 else f"status {result.returncode}"
    if not wrong and text and printed != text + "\n":
        wrong = f"printed {printed!r} instead of {text!r}"
    print(f"  {program_name}: {wrong or 'ok'}, {time.monotonic() - start:.1f} s", flush=True)
    if program_name == "golden_models" and not wrong:
        same = [line.split()[-1] for line in printed.splitlines()] == expected_bits()
        print(f"    logits have {'the same bits as' if same else 'other bits than'} here", flush=True)
    return f"{program_name}: {wrong}\n{printed[-1500:]}{result.stderr[-1500:]}" if wrong else ""


def run_programs(name: str, only: list[str]) -> list[str]:
    """Run the native tests and an example -> what failed."""
    runner = TARGETS[name].runner
    if runner == "root":
        copy_into(root_for(name), [GOLDENS, CORPUS, ARRAYS])
    chosen = {program: words for program, words in PROGRAMS.items() if not only or program in only}
    if runner == "qemu":
        chosen = {
            program: INSTEAD_UNDER_QEMU.get(program, words)
            for program, words in chosen.items()
            if program not in SLOW_UNDER_QEMU
        }
    found = [run_program(name, program, words) for program, words in chosen.items()]
    if not only or "generate" in only:
        found += [run_program(name, "generate", [model, TEXT], expected(model)) for model in TINY]
    return [fault for fault in found if fault]


def check(name: str, arguments: argparse.Namespace) -> list[str]:
    """Build and run one target -> what is wrong."""
    start = time.monotonic()
    if not arguments.run_only:
        build(name, arguments.fast, arguments.only)
    found = library_faults(name)
    library = library_of(name)
    print(
        f"{name}: built in {time.monotonic() - start:.0f} s; {library.name} has {library.stat().st_size / 1e6:.2f} MB",
        flush=True,
    )
    if is_runnable(TARGETS[name]) and arguments.only != ["t5g_shared"]:
        found += run_programs(name, arguments.only)
    elif not arguments.only:
        print("  cannot be run here", flush=True)
    return [f"{name}: {fault}" for fault in found]


def main() -> int:
    """Check the targets named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TARGETS))
    parser.add_argument("--run-only", action="store_true", help="what is built already")
    parser.add_argument("--fast", action="store_true", help="optimised, as in a release: takes four times as long")
    parser.add_argument("--only", nargs="+", default=[], help=f"t5g_shared, generate, {', '.join(PROGRAMS)}")
    arguments = parser.parse_args()
    write_arrays(ARRAYS)
    found = [fault for name in arguments.names or TARGETS for fault in check(name, arguments)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
