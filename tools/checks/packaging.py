"""Builds the sdist, a wheel from that sdist alone in an empty environment, and checks what is in both.

Run by a Python that has the package `build`. Works in build/packaging.
"""

import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "packaging"
# What only a clone needs.
NOT_PACKED = (".ci/", ".github/", "tools/")
SUFFIXES = {".py", ".pyi", ".typed", ".so", ".gguf", ".md", ".html", ".css", ".js"}  # the last three: the server's page
WHEEL_LIMIT_BYTES = 7_500_000  # the bundled model and the kernels for GPUs included
INSTALLED_LIMIT_BYTES = 15_000_000
# What the kernels for GPUs add to the wheel, packed.
GPU_LIMIT_BYTES = 1_500_000
GPU_ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_120", "compute_80")  # 8.9 runs the code of 8.6


def output(*command: str | Path, cwd: Path = ROOT) -> str:
    """Return the standard output of a command that must succeed."""
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def build_sdist() -> Path:
    """Return the sdist of the working tree.

    Made of a copy without builds and environments: each of their many files is compared with .gitignore's patterns.
    """

    def elsewhere(folder: str, _: list[str]) -> list[str]:
        return ["build", ".venv", ".git"] if Path(folder) == ROOT else []

    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copytree(ROOT, Path(scratch) / "t5g", ignore=elsewhere, symlinks=True)
        output(sys.executable, "-m", "build", "--sdist", "--outdir", WORK, copy)
    return next(WORK.glob("t5g-*.tar.gz"))


def sdist_faults(sdist: Path) -> list[str]:
    """Compare what is packed with what git tracks."""
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in (m.name for m in archive.getmembers() if m.isfile())} - {
            "PKG-INFO"
        }
    tracked = {name for name in output("git", "ls-files").splitlines() if not name.startswith(NOT_PACKED)}
    return [f"the sdist lacks {name}" for name in sorted(tracked - packed)] + [
        f"the sdist packs {name}, which git does not track" for name in sorted(packed - tracked)
    ]


def build_wheel(sdist: Path) -> Path:
    """Return the wheel that pip makes of the sdist in an empty environment, away from the sources."""
    venv.create(WORK / "empty", with_pip=True)
    pip = WORK / "empty" / "bin" / "pip"
    output(pip, "wheel", "-q", "--no-deps", "--wheel-dir", WORK, sdist, cwd=WORK)
    wheel = next(WORK.glob("t5g-*.whl"))
    output(pip, "install", "-q", wheel, cwd=WORK)
    return wheel


def module_faults(module: Path) -> list[str]:
    """Inspect the native module: stripped, no search path of the build machine, one public symbol."""
    faults = []
    if re.search(r"R(UN)?PATH", output("readelf", "-d", module)):
        faults.append("the module has an RPATH")
    if ".symtab" in output("readelf", "-S", "-W", module):
        faults.append("the module is not stripped")
    exported = [line.split()[-1] for line in output("nm", "-D", "--defined-only", module).splitlines()]
    return faults + [f"the module exports {name}" for name in exported if name != "PyInit__core"]


def architectures(image: bytes) -> list[str]:
    """What a file of nvcc's has: "sm_80" for machine code, "compute_80" for PTX.

    Entries follow the file's header of 16 bytes: kind (1: PTX, 2: machine code), size of their own header, size.
    """
    found, at = [], 16
    while at < len(image):
        kind, _, header, size = struct.unpack_from("<HHIQ", image, at)
        (number,) = struct.unpack_from("<I", image, at + 28)
        found.append(f"{'compute' if kind == 1 else 'sm'}_{number}")
        at += header + size
    return found


def gpu_faults(module: Path) -> list[str]:
    """Find the CUDA kernels in the native module, by how nvcc's files begin, weigh them, and see what they are for."""
    content = module.read_bytes()
    images = []
    for match in re.finditer(b"\\x50\\xed\\x55\\xba\\x01\\x00\\x10\\x00", content):
        (size,) = struct.unpack_from("<Q", content, match.start() + 8)
        images.append(content[match.start() : match.start() + 16 + size])
    if not images:
        return ["the module has no CUDA kernels, though there is an nvcc"] if shutil.which("nvcc") is not None else []
    packed = sum(len(zlib.compress(image, 9)) for image in images)
    found = sorted(name for image in images for name in architectures(image))
    print(f"{module.name}: CUDA kernels for {', '.join(found)}; {packed:,} bytes packed")
    faults = []
    if packed > GPU_LIMIT_BYTES:
        faults.append(f"the CUDA kernels take {packed:,} bytes; the limit is {GPU_LIMIT_BYTES:,}")
    if found != sorted(GPU_ARCHITECTURES):
        faults.append(f"the CUDA kernels are for {', '.join(found)}, expected {', '.join(sorted(GPU_ARCHITECTURES))}")
    return faults


def wheel_faults(wheel: Path) -> list[str]:
    """Inspect the wheel's files and size."""
    with zipfile.ZipFile(wheel) as archive:
        files = archive.infolist()
        archive.extractall(WORK / "unpacked")
    stray = [
        f.filename for f in files if not re.match(r"t5g/|t5g_convert/[^/]*\.py$|t5g-[^/]*\.dist-info/", f.filename)
    ]
    suffixes = {Path(f.filename).suffix for f in files if f.filename.startswith(("t5g/", "t5g_convert/"))}
    modules = [f.filename for f in files if f.filename.endswith(".so")]
    size = sum(f.file_size for f in files if not f.filename.endswith(".gguf"))  # the bundled model has its own budget
    print(
        f"{wheel.name}: {wheel.stat().st_size:,} bytes packed, {size:,} installed (without a model), {len(files)} files"
    )
    faults = [f"the wheel contains {name}" for name in stray]
    faults += [f"the wheel contains {suffix} files" for suffix in sorted(suffixes - SUFFIXES)]
    if [Path(module).name.partition(".")[0] for module in modules] != ["_core"]:
        faults.append(f"the native modules of the wheel should be _core alone, and are {', '.join(modules)}")
    if wheel.stat().st_size > WHEEL_LIMIT_BYTES:
        faults.append(f"the wheel has {wheel.stat().st_size:,} bytes; the limit is {WHEEL_LIMIT_BYTES:,}")
    if size > INSTALLED_LIMIT_BYTES:
        faults.append(f"the wheel installs {size:,} bytes; the limit is {INSTALLED_LIMIT_BYTES:,}")
    for module in modules:
        faults += module_faults(WORK / "unpacked" / module) + gpu_faults(WORK / "unpacked" / module)
    return faults


def main() -> int:
    """Build, look, import."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    sdist = build_sdist()
    faults = sdist_faults(sdist)
    wheel = build_wheel(sdist)
    faults += wheel_faults(wheel)
    print(
        output(WORK / "empty" / "bin" / "python", "-c", "import t5g; print('imports t5g', t5g.__version__)", cwd=WORK),
        end="",
    )
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
