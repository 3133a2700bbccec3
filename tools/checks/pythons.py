"""A CPython for another C library than this system's: Debian's sources, built by zig, in a root with that library.

Debian has no Python for musl, and none that is both new enough for t5g and linked for an old glibc. Neither needs much:
CPython, zlib and libffi, in two minutes. Modules for TLS, databases and terminals are left out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from roots import apt_get, root_for
from zig import TARGETS, WORK, environment

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SOURCES = WORK / "pythons"
PREFIX = "/opt/python"


def step(folder: Path, *command: object, variables: dict[str, str] | None = None) -> None:
    """Run a command that must succeed; what it says is kept in the folder's log."""
    words = [str(part) for part in command]
    with (folder / "build.log").open("a", encoding="utf-8") as log:
        print("$", *words, file=log, flush=True)
        done = subprocess.run(words, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise SystemExit(f"{words[0]} failed: see {folder / 'build.log'}")


def fetch_sources(folder: Path, suite: str, packages: list[str]) -> None:
    """Unpack a release of Debian's sources into a folder, without its patches; kept for the next time."""
    if (folder / "done").exists():
        return
    command = apt_get(folder / "apt", "deb-src", suite, {})
    step(folder, *command, "source", "--download-only", *packages)
    for archived in sorted(folder.glob("*.orig.tar.*[!c]")):  # not their signatures
        step(folder, "tar", "xf", archived)
    (folder / "done").touch()


def source_of(name: str) -> Path:
    """The folder of a package's sources."""
    return next(path for path in sorted(SOURCES.glob(f"{name}*")) if path.is_dir())


def variables_for(target: str) -> dict[str, str]:
    """What configure scripts read: zig's wrappers as compilers."""
    kept = environment(target)
    wrappers = WORK / target / "wrappers"
    names = {"CC": "cc", "CXX": "c++", "CPP": "cc -E", "AR": "ar", "RANLIB": "ranlib"}
    programs = {name: f"{wrappers}/{program}" for name, program in names.items()}
    return kept | programs | {"READELF": str(shutil.which("readelf")), "CFLAGS": "-O2 -fPIC -Wno-date-time"}


def build_libraries(target: str, prefix: Path) -> None:
    """Build zlib and libffi, static, into a folder."""
    variables, folder = variables_for(target), prefix.parent
    shutil.copytree(source_of("zlib-"), folder / "zlib", dirs_exist_ok=True)  # it builds where its sources are
    step(folder / "zlib", "./configure", "--static", f"--prefix={prefix}", variables=variables)
    step(folder / "zlib", "make", "-j2", "libz.a", "install", variables=variables)
    (folder / "libffi").mkdir(exist_ok=True)
    step(
        folder / "libffi", source_of("libffi-") / "configure", "--build=x86_64-pc-linux-gnu",
        f"--host={host_of(target)}", "--disable-shared", "--disable-docs", "--disable-exec-static-tramp",
        f"--prefix={prefix}", variables=variables,
    )  # fmt: skip
    step(folder / "libffi", "make", "-j2", "install", variables=variables)


def host_of(target: str) -> str:
    """A target's name for configure scripts. Another word than the builder's, or they would run what they compile."""
    return f"{TARGETS[target].processor}-t5g-linux-{'musl' if target.startswith('musl') else 'gnu'}"


def build_python(target: str, libraries: Path, root: Path) -> None:
    """Build CPython and install what runs programs into the root."""
    folder = libraries.parent / "cpython"
    folder.mkdir(exist_ok=True)
    variables = variables_for(target) | {
        "CPPFLAGS": f"-I{libraries}/include",
        "LDFLAGS": f"-dynamic -s -L{libraries}/lib",  # for musl, zig links statically, and nothing could be loaded
        "PKG_CONFIG_LIBDIR": f"{libraries}/lib/pkgconfig",
        # zig's musl is younger than Debian's, which lacks these.
        "ac_cv_func_preadv2": "no",
        "ac_cv_func_pwritev2": "no",
        "ac_cv_file__dev_ptmx": "yes",
        "ac_cv_file__dev_ptc": "no",
    }
    # CPython's setup.py asks where the compiler's headers are, or dpkg where this system's are, and names these folders
    # before zig's own: it gets no answer.
    compiler = folder / "cc"
    lines = [
        "#!/bin/sh",
        '[ "$1" != -print-multiarch ] || { echo none; exit; }',
        'for word; do shift; [ "$word" = -v ] || set -- "$@" "$word"; done',
        f'exec {variables["CC"]} "$@"',
    ]
    compiler.write_text("\n".join(lines) + "\n")
    compiler.chmod(0o755)
    variables["CC"] = str(compiler)
    source = source_of("Python-")
    step(
        folder, source / "configure", "--build=x86_64-pc-linux-gnu", f"--host={host_of(target)}",
        f"--with-build-python={sys.executable}", "--without-ensurepip", "--disable-test-modules", "--disable-ipv6",
        f"--prefix={PREFIX}", variables=variables,
    )  # fmt: skip
    if target.startswith("musl"):  # configure asks after the builder's C library, not the host's
        makefile = folder / "Makefile"
        processor = TARGETS[target].processor
        makefile.write_text(makefile.read_text().replace(f"{processor}-linux-gnu", f"{processor}-linux-musl"))
    step(folder, "make", "-j2", variables=variables)
    step(folder, "make", "altbininstall", "sharedinstall", f"DESTDIR={root}", variables=variables)
    library = root / PREFIX[1:] / "lib" / f"python{VERSION}"
    skipped = shutil.ignore_patterns("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "__pycache__")
    shutil.copytree(source / "Lib", library, dirs_exist_ok=True, ignore=skipped)
    for data in folder.glob("build/lib*/_sysconfigdata*.py"):
        shutil.copy2(data, library)


def python_for(target: str) -> Path:
    """Build a Python for one of zig's targets for Linux -> the root in which it is PREFIX; kept for the next time.

    It has the version of the Python that runs this.
    """
    root, folder = root_for(target), WORK / target / "python"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        fetch_sources(SOURCES, "bookworm", [f"python{VERSION}", "zlib", "libffi"])
        build_libraries(target, folder / "libraries")
        build_python(target, folder / "libraries", root)
        (folder / "done").touch()
    return root
