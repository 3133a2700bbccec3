"""zig (the package ziglang) as compiler, linker and C library of other systems, and how CMake is told to use it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "platforms"


class Target(NamedTuple):
    """One system, and how its programs run here ("" where they cannot)."""

    triple: str  # as zig has it
    system: str  # as CMake has it
    processor: str
    runner: str = ""
    shared: str = "libt5g.so"  # "": a static library alone
    flags: str = ""


# zig has no headers of iOS. Those of macOS, which it has, serve both systems and tell them apart by the target.
IOS_FLAGS = "-isystem {lib}/libcxx/include -isystem {lib}/libcxxabi/include -isystem {lib}/libc/include/any-macos-any"
IOS_FLAGS += " -D_LIBCPP_ABI_VERSION=1 -D_LIBCPP_HARDENING_MODE=_LIBCPP_HARDENING_MODE_NONE"
TARGETS = {
    "windows-x64": Target("x86_64-windows-gnu", "Windows", "AMD64", "wine", "libt5g.dll"),
    "windows-arm64": Target("aarch64-windows-gnu", "Windows", "ARM64", shared="libt5g.dll"),
    "macos-arm64": Target("aarch64-macos.11.0", "Darwin", "arm64", shared="libt5g.dylib"),
    "macos-x64": Target("x86_64-macos.11.0", "Darwin", "x86_64", shared="libt5g.dylib"),
    "glibc2.17-x64": Target("x86_64-linux-gnu.2.17", "Linux", "x86_64", "root"),
    "glibc2.17-arm64": Target("aarch64-linux-gnu.2.17", "Linux", "aarch64", "qemu"),
    "musl-x64": Target("x86_64-linux-musl", "Linux", "x86_64", "root"),
    "musl-arm64": Target("aarch64-linux-musl", "Linux", "aarch64", "qemu"),
    # zig has no C library of Android: musl stands in for it, and what is asked of it is compared with Android's.
    "android-arm64": Target("aarch64-linux-musl", "Linux", "aarch64", shared="libt5g_jni.so"),
    "ios-arm64": Target("aarch64-ios.15.0", "Darwin", "arm64", shared="", flags=IOS_FLAGS),
}


def zig() -> Path:
    """The program of the package ziglang."""
    import ziglang

    return Path(ziglang.__file__).parent / "zig"


def version() -> str:
    """The version of zig."""
    return subprocess.run([zig(), "version"], check=True, capture_output=True, text=True).stdout.strip()


def make_wrappers(folder: Path, target: Target) -> None:
    """Programs of one word each, as CMake wants its compilers."""
    folder.mkdir(parents=True, exist_ok=True)
    # zig's own checks of undefined behaviour would make another program of it.
    flags = f"-target {target.triple} -fno-sanitize=undefined -g0 {target.flags.format(lib=zig().parent / 'lib')}"
    words = {"cc": f"cc {flags}", "c++": f"c++ {flags}", "ar": "ar", "ranlib": "ranlib"}
    for name, command in words.items():
        path = folder / name
        text = f'#!/bin/sh\nexec "{zig()}" {command} "$@"\n'
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o755)


def environment(name: str) -> dict[str, str]:
    """The variables with which cmake/zig.cmake builds for a target."""
    target, wrappers = TARGETS[name], WORK / name / "wrappers"
    make_wrappers(wrappers, target)
    variables = os.environ | {
        "T5G_ZIG_SYSTEM": target.system,
        "T5G_ZIG_PROCESSOR": target.processor,
        "T5G_ZIG_WRAPPERS": str(wrappers),
        "T5G_ZIG_LINKS": "ON" if target.shared else "OFF",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    variables.pop("CMAKE_CXX_COMPILER_LAUNCHER", None)
    if shutil.which("ccache"):
        # zig compiles anew whatever is compiled with a list of its headers, as Ninja wants it.
        variables |= {
            "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
            "CCACHE_COMPILERTYPE": "clang",
            "CCACHE_DEPEND": "1",
            "CCACHE_COMPILERCHECK": f"string:zig {version()} {target.triple} {target.flags}",
            "CCACHE_BASEDIR": str(ROOT),
            "CCACHE_NOHASHDIR": "1",
        }
    return variables


def optimising(fast: bool) -> list[str]:
    """CMake's options for a build that is soon done, kernels included, or for one whose programs are fast."""
    # zig has two levels of optimising: none, for -O0, and all, for any other.
    flags = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0 -DNDEBUG"]
    return ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O3 -DNDEBUG"] if fast else flags
