"""Builds wheels for old and other Linux systems with zig, has auditwheel check them, installs and tests them.

python tools/checks/wheels.py [NAME ...] [--test-only]
python tools/checks/wheels.py --whole [PYTEST ARGUMENT ...]

Names are those of WHEELS; without any, all. For the Python that runs this. Each wheel runs README's first command and
some tests: on this system in an environment of its own; in a root with nothing but an old C library, or musl, and a
Python built for it (pythons.py); those for ARM64 under qemu. Needs the dependency group `wheels` (pyproject.toml), and
as root Debian's packages; CUDA kernels are in the wheel for x86-64 where nvcc is found. Works in build/platforms.

--whole builds manylinux-x64 with t5g._testing, as README's second command has it, and without CUDA kernels, and runs
the whole suite in the root (whole_suite.py): half an hour. What it said is left in wheels/manylinux-x64-whole.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from exports import dynamic_symbols, glibc_faults
from pythons import PREFIX, VERSION, python_for
from roots import can_change_root, copy_into, root_for
from whole_suite import run_suite
from zig import ROOT, TARGETS, WORK, environment

PYTHON = f"{sys.version_info.major}{sys.version_info.minor}"
LIMIT_BYTES = 7_500_000
TEXT = (
    "httpx is a fully featured HTTP client library for Python 3. It includes an integrated command line client, has "
    "support for both HTTP/1.1 and HTTP/2, and provides both sync and async APIs."
)
SUMMARY = "HTTP client library for Python 3"
PACKAGES = ["numpy", "pytest>=8", "hypothesis>=6", "pyyaml", "tqdm"]
READERS = ["gguf>=0.17"]  # without what it says it needs: there is no sentencepiece for musl, and its reader needs none
TESTS = ["tests/test_package.py", "tests/runtime/test_bundled.py", "tests/model/test_parity.py"]


REPLACE_NEEDED = """
import pathlib, subprocess, sys
from auditwheel.wheeltools import InWheel
wheel, old, new = sys.argv[1:]
with InWheel(pathlib.Path(wheel), pathlib.Path(wheel)) as folder:
    (module,) = pathlib.Path(folder).glob("t5g/_core*.so")
    subprocess.run(["patchelf", "--replace-needed", old, new, module], check=True)
"""


class Wheel(NamedTuple):
    """A wheel: what zig builds it for, and what pip calls that."""

    target: str
    machine: str
    libc: str  # as in a module's name
    platform: str


WHEELS = {
    "manylinux-x64": Wheel("glibc2.17-x64", "x86_64", "gnu", "manylinux_2_17_x86_64"),
    "manylinux-arm64": Wheel("glibc2.17-arm64", "aarch64", "gnu", "manylinux_2_17_aarch64"),
    "musllinux-x64": Wheel("musl-x64", "x86_64", "musl", "musllinux_1_2_x86_64"),
    "musllinux-arm64": Wheel("musl-arm64", "aarch64", "musl", "musllinux_1_2_aarch64"),
}


def run(*command: object, **more: object) -> str:
    """Run a command that must succeed -> its standard output."""
    words = [str(part) for part in command]
    result = subprocess.run(words, stdout=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload]
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\n{result.stdout[-6000:]}")
    return str(result.stdout)


def soabi(name: str) -> str:
    """What a Python of the wheel's kind wants between a module's name and .so."""
    return f"cpython-{PYTHON}-{WHEELS[name].machine}-linux-{WHEELS[name].libc}"


def name_musl(wheel: Path, library: str) -> None:
    """Call musl in a wheel's module as its own compilers do; zig calls it libc.so. Its loader takes both for itself."""
    # In a process of its own: beside this file, packaging.py hides a package that auditwheel needs.
    run(sys.executable, "-c", REPLACE_NEEDED, wheel, "libc.so", library, cwd=wheel.parent)


def build(name: str, *, whole: bool = False) -> Path:
    """Build a wheel with zig, or one with what only tests call -> the wheel, as auditwheel has named it."""
    wheel, folder = WHEELS[name], WORK / "wheels" / (f"{name}-whole" if whole else name)
    building = WORK / f"{name}-wheel" / "build"  # as deep as a library's: a compiler's cache takes its objects
    shutil.rmtree(folder / "raw", ignore_errors=True)
    shutil.rmtree(folder / "dist", ignore_errors=True)
    variables = environment(wheel.target) | {
        "CMAKE_TOOLCHAIN_FILE": str(ROOT / "cmake" / "zig.cmake"),
        "_PYTHON_HOST_PLATFORM": f"linux-{wheel.machine}",
        "SETUPTOOLS_EXT_SUFFIX": f".{soabi(name)}.so",
    }
    nvcc = shutil.which("nvcc") or os.environ.get("T5G_NVCC")
    # The headers of Python are the same on all 64-bit systems of Linux.
    defines = {
        "T5G_WERROR": "ON",
        "CMAKE_CXX_FLAGS_RELEASE": "-O3 -DNDEBUG",
        "Python_INCLUDE_DIR": sysconfig.get_path("include"),
        "Python_SOABI": soabi(name),
        "T5G_CUDA": "ON" if nvcc and name == "manylinux-x64" and not whole else "OFF",
        "T5G_TESTING": "ON" if whole else "OFF",
        "T5G_NVCC": nvcc or "",
    }
    settings = [word for key, value in defines.items() for word in ("-C", f"cmake.define.{key}={value}")]
    run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "raw",
        "-C", f"build-dir={building}", *settings, ROOT, env=variables,
    )  # fmt: skip
    raw = next((folder / "raw").glob("*.whl"))
    if wheel.libc == "musl":
        name_musl(raw, f"libc.musl-{wheel.machine}.so.1")
    # The oldest system that it runs on is found by auditwheel, which takes names of this machine's kind alone.
    audit = [sys.executable, "-m", "auditwheel", "repair", "--plat", "auto", "-w", folder / "dist", raw]
    run(*audit, env=variables)
    return next((folder / "dist").glob("*.whl"))


def faults(name: str, wheel: Path) -> list[str]:
    """What is wrong with a wheel's size and module."""
    found = []
    if WHEELS[name].platform not in wheel.name:
        found.append(f"auditwheel calls it {wheel.name}, not {WHEELS[name].platform}")
    if wheel.stat().st_size > LIMIT_BYTES:
        found.append(f"{wheel.name} has {wheel.stat().st_size:,} bytes; the limit is {LIMIT_BYTES:,}")
    unpacked = WORK / "wheels" / name / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
        grafted = [file for file in archive.namelist() if ".libs/" in file]
    found += [f"{wheel.name} brings {file}" for file in grafted]
    (module,) = unpacked.glob("t5g/_core*.so")
    defined, wanted = dynamic_symbols(module.read_bytes())
    if module.name != f"_core.{soabi(name)}.so":
        found.append(f"{wheel.name} has {module.name}, which Pythons for {name} do not look for")
    found += [f"{module.name} exports {symbol}" for symbol in sorted(defined - {"PyInit__core"})]
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {module.name} has {module.stat().st_size:,}", flush=True)
    if WHEELS[name].libc == "gnu":
        return found + glibc_faults(module, (2, 17))
    loader = next(root_for(WHEELS[name].target).rglob("ld-musl-*.so.1"))
    there, _ = dynamic_symbols((loader.parent / loader.readlink()).resolve().read_bytes())
    lacking = {symbol for symbol in wanted - there if not symbol.startswith(("Py", "_Py"))}
    return found + [f"{module.name} wants {symbol}, which musl has not" for symbol in sorted(lacking)]


def test_here(name: str, wheel: Path) -> None:
    """Install into a fresh environment and use it, away from the sources."""
    folder = WORK / "wheels" / name / "environment"
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    # PYTHONPATH may name the sources, and would hide what is installed.
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    install = [python, "-m", "pip", "install", "-q"]
    run(*install, wheel, *PACKAGES, cwd=folder, env=alone)
    run(*install, "--no-deps", *READERS, cwd=folder, env=alone)
    printed = run(folder / "bin" / "t5g-run", "-p", TEXT, cwd=folder, env=alone)
    assert printed == SUMMARY + "\n", printed
    printed = run(python, "-m", "pytest", "-p", "no:cacheprovider", *TESTS, cwd=ROOT, env=alone)
    print(printed.splitlines()[-1], flush=True)


def test_on_arm(wheel: Path) -> None:
    """Use it in a Python for ARM64, under qemu."""
    script = ROOT / "tools" / "checks" / "arm_under_qemu.sh"
    variables = os.environ | {"PYTHON": sys.executable, "T5G_WHEEL": str(wheel)}
    print(run(script, *TESTS, env=variables).splitlines()[-1], flush=True)
    python = ROOT / "build" / "arm" / "python"
    site = f"{ROOT}/build/arm/site:{ROOT}/build/arm/pypi"
    printed = run(python, "-m", "t5g.cli.run", "-p", TEXT, env=os.environ | {"PYTHONPATH": site})
    assert printed == SUMMARY + "\n", printed


def install_in_root(name: str, wheel: Path, root: Path) -> Path:
    """Give a root's Python the wheel, what its tests need, and the tests -> the folder of the packages."""
    site = root / PREFIX[1:] / "site"
    shutil.rmtree(site, ignore_errors=True)
    # The root's C library is newer than the oldest that ours runs on.
    kinds = ["manylinux_2_27", "manylinux_2_28", "manylinux_2_31"] if WHEELS[name].libc == "gnu" else ["musllinux_1_1"]
    platforms = [WHEELS[name].platform, *(f"{kind}_{WHEELS[name].machine}" for kind in kinds)]
    words = [word for platform in (*platforms, "any") for word in ("--platform", platform)]
    install = [
        sys.executable, "-m", "pip", "install", "-q", "--target", site, "--only-binary=:all:", "--implementation", "cp",
        "--python-version", VERSION, *words,
    ]  # fmt: skip
    # Debian's musl, 1.2.3, does not know the relative relocations of what later wheels of numpy bring.
    older = ["numpy==2.0.*"] if WHEELS[name].libc == "musl" else []
    run(*install, wheel, *PACKAGES, *older)
    run(*install, "--no-deps", *READERS)
    copy_into(root, [ROOT / "tests", ROOT / "pyproject.toml"])
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev" / "null").touch()  # a file serves
    return site


def start_in_root(name: str, root: Path, site: Path) -> tuple[list[str], dict[str, str]]:
    """How the root's Python is started, and with which variables."""
    alone = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    python = f"{PREFIX}/bin/python{VERSION}"
    if TARGETS[WHEELS[name].target].runner != "qemu":
        return ["chroot", str(root), python], alone | {"PYTHONPATH": f"/{site.relative_to(root)}"}
    # Tests start sys.executable, which no system but that of the root can run as it is.
    wrapper = root.parent / "python"
    wrapper.write_text(f'#!/bin/sh\nexec qemu-aarch64 -cpu max -L "{root}" "{root}{python}" "$@"\n')
    wrapper.chmod(0o755)
    emulation = ROOT / "tools" / "checks" / "emulation"
    return [str(wrapper)], alone | {"PYTHONPATH": f"{site}:{emulation}", "T5G_EMULATED_PYTHON": str(wrapper)}


def test_in_root(name: str, wheel: Path) -> None:
    """Use it in a root with nothing but a C library and a Python."""
    root = python_for(WHEELS[name].target)
    start, alone = start_in_root(name, root, install_in_root(name, wheel, root))
    libc = "import platform; print(platform.python_version(), *platform.libc_ver(), platform.machine())"
    print(f"{name} in a root: Python", run(*start, "-c", libc, env=alone).strip(), flush=True)
    printed = run(*start, "-m", "t5g.cli.run", "-p", TEXT, env=alone)
    assert printed == SUMMARY + "\n", printed
    words = ["-p", "no:cacheprovider", *TESTS]
    call = f"import os, sys, pytest; os.chdir({str(ROOT)!r}); sys.exit(pytest.main({words}))"
    print(run(*start, "-c", call, env=alone).splitlines()[-1], flush=True)


def check(name: str, is_built: bool) -> list[str]:
    """Build one wheel and use it -> what is wrong."""
    wheel = next((WORK / "wheels" / name / "dist").glob("*.whl")) if is_built else build(name)
    found = faults(name, wheel)
    if name == "manylinux-x64":
        test_here(name, wheel)
    if name == "manylinux-arm64":
        test_on_arm(wheel)
    elif can_change_root():
        test_in_root(name, wheel)
    return found


def check_whole(arguments: list[str]) -> int:
    """Run the whole suite in the root with the old glibc -> pytest's status."""
    target = WHEELS["manylinux-x64"].target
    return run_suite(target, build("manylinux-x64", whole=True), python_for(target), arguments)


def main() -> int:
    """Check the wheels named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(WHEELS))
    parser.add_argument("--test-only", action="store_true", help="what is built already")
    parser.add_argument("--whole", nargs=argparse.REMAINDER, help="the whole suite; what follows is pytest's")
    arguments = parser.parse_args()
    if arguments.whole is not None:
        return check_whole(arguments.whole)
    found = [fault for name in arguments.names or WHEELS for fault in check(name, arguments.test_only)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
