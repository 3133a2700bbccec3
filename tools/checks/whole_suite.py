"""README's second command, the whole suite, on a wheel in a root with an old glibc: as in a container of that age.

Beside the C library and the Python of pythons.py the root gets a shell, Debian's libraries of that age for TLS and
archives with CPython's modules for them, and from PyPI what the extra `test` names. /dev and /proc are this system's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pythons import PREFIX, VERSION, source_of, step, variables_for
from roots import copy_into, make_root
from zig import ROOT, WORK

PROGRAMS = [
    "bash", "dash", "coreutils", "grep", "sed", "libc-bin", "libselinux1", "libpcre2-8-0", "libpcre3", "libacl1",
    "libattr1", "libgmp10", "libtinfo6", "mount", "libmount1", "libblkid1", "binutils",
    "binutils-x86-64-linux-gnu", "binutils-common", "libbinutils",
]  # fmt: skip
LIBRARIES = ["libssl1.1", "libssl-dev", "libbz2-1.0", "libbz2-dev", "liblzma5", "liblzma-dev"]
SQLITE = ["libsqlite3-0", "libsqlite3-dev"]
# CPython's modules that pythons.py leaves out: their sources, and the libraries that they link.
MODULES = {
    "_ssl": (["_ssl.c"], ["ssl", "crypto"]),
    "_hashlib": (["_hashopenssl.c"], ["crypto"]),
    "_bz2": (["_bz2module.c"], ["bz2"]),
    "_lzma": (["_lzmamodule.c"], ["lzma"]),
    "_sqlite3": (["_sqlite/*.c"], ["sqlite3"]),
}
# What packages may ask of a system: the root's glibc is 2.31.
KINDS = ["2014", "2010", "_2_12", "_2_17", "_2_24", "_2_26", "_2_27", "_2_28", "_2_31"]
NO_WHEELS = ["rouge-score"]  # sources alone, of Python alone


def add_programs(target: str, root: Path) -> None:
    """Give a root a shell, and its Python the modules that want other libraries."""
    packages = make_root("glibc-amd64-programs", "bullseye", "amd64", [*PROGRAMS, *LIBRARIES, *SQLITE])
    subprocess.run(["cp", "-an", f"{packages}/.", root], check=True)  # no library under a program that runs
    if not (root / "bin" / "sh").exists():
        (root / "bin" / "sh").symlink_to("dash")
    folder, sources, variables = WORK / target / "python", source_of("Python-"), variables_for(target)
    suffix = next((root / PREFIX[1:]).glob(f"lib/python{VERSION}/lib-dynload/math.*")).name.partition(".")[2]
    here = packages / "usr" / "include"
    headers = [
        sources / "Include",
        sources / "Include" / "internal",
        folder / "cpython",
        here,
        here / "x86_64-linux-gnu",
    ]
    for name, (patterns, libraries) in MODULES.items():
        files = [path for pattern in patterns for path in sorted((sources / "Modules").glob(pattern))]
        output = root / PREFIX[1:] / "lib" / f"python{VERSION}" / "lib-dynload" / f"{name}.{suffix}"
        if output.exists():
            continue
        words = [variables["CC"], "-shared", "-fPIC", "-O2", "-s", "-DPy_BUILD_CORE_MODULE", '-DMODULE_NAME="sqlite3"']
        words += [f"-I{path}" for path in headers] + [str(path) for path in files]
        words += [f"-L{packages}/usr/lib/x86_64-linux-gnu", f"-L{packages}/lib/x86_64-linux-gnu"]
        step(folder, *words, *(f"-l{library}" for library in libraries), "-o", output, variables=variables)


def install(wheel: Path, root: Path) -> None:
    """Give the root's Python the wheel and all that its tests may need, where it looks by itself."""
    site, own = root / PREFIX[1:] / "lib" / f"python{VERSION}" / "site-packages", wheel.parent / "pure"
    shutil.rmtree(site, ignore_errors=True)
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--wheel-dir", own, *NO_WHEELS], check=True)
    platforms = [word for kind in KINDS for word in ("--platform", f"manylinux{kind}_x86_64")]
    wanted = ["--only-binary=:all:", "--implementation", "cp", "--python-version", VERSION, "--find-links", str(own)]
    wanted += [*platforms, "--platform", "any"]
    subprocess.run([*pip, "install", "-q", "--target", site, *wanted, f"{wheel}[test]"], check=True)


def run_suite(target: str, wheel: Path, root: Path, arguments: list[str]) -> int:
    """Run pytest on the tests of this folder, show the end of what it says -> its status."""
    add_programs(target, root)
    install(wheel, root)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    copy_into(root, [ROOT / name for name in listed.split("\0") if name])
    for name in ("dev", "proc"):
        (root / name).mkdir(exist_ok=True)
    # In a name space of its own: what is mounted goes with it. Its first process is the shell: tests are none of those.
    mounts = f'mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && {shutil.which("chroot")} "$0" "$@"'
    variables = {
        "PATH": f"{PREFIX}/bin:/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1", "TERM": os.environ.get("TERM", "dumb"),
    }  # fmt: skip
    # That Python has waited for ever at its end, for a thread that was gone, when all had been said.
    call = f"import os, sys, pytest; os.chdir({str(ROOT)!r}); status = pytest.main(sys.argv[1:]); "
    call += "sys.stdout.flush(); os._exit(status)"
    alone = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", mounts, str(root)]
    command = [*alone, f"{PREFIX}/bin/python{VERSION}", "-c", call]
    log = wheel.parent / "suite.log"
    with log.open("w", encoding="utf-8") as file:
        pytest = [*command, "-p", "no:cacheprovider", "-rs", *arguments]
        status = subprocess.run(pytest, env=variables, stdout=file, stderr=subprocess.STDOUT).returncode
    print(log.read_text(encoding="utf-8", errors="replace")[-12_000:])
    return status
