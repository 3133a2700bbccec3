"""Folders with another C library from Debian's packages, in which programs for older or other systems run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from zig import WORK

KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def archive() -> str:
    """The address that this system fetches Debian's packages from."""
    lines = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return next(line.split()[0] for line in lines if line.endswith("debian/ main"))


def apt_get(apt: Path, kind: str, suite: str, more: dict[str, str]) -> list[str]:
    """Read a release's list of packages ("deb") or sources ("deb-src") into a folder -> the command that knows it."""
    for path in (apt / "lists" / "partial", apt / "cache" / "partial"):
        path.mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "sources").write_text(f"{kind} [signed-by={KEYS}] {archive()} {suite} main\n")
    settings = more | {
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::Etc::sourcelist": str(apt / "sources"),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": str(apt),
        "Dir::State::lists": str(apt / "lists"),
        "Dir::State::status": str(apt / "status"),
        "Dir::Cache": str(apt / "cache"),
    }
    command = ["apt-get", "-qq", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    subprocess.run([*command, "update"], check=True)
    return command


def make_root(name: str, suite: str, architecture: str, packages: list[str]) -> Path:
    """Unpack packages of a release of Debian, without what they depend on -> the folder; kept for the next time."""
    folder = WORK / "roots" / name
    if (folder / "done").exists():
        return folder / "root"
    (folder / "root").mkdir(parents=True, exist_ok=True)
    apt = folder / "apt"
    command = apt_get(apt, "deb", suite, {"APT::Architecture": architecture, "APT::Architectures": architecture})
    subprocess.run([*command, "download", *packages], check=True, cwd=apt)
    for package in apt.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / "root"], check=True)
    (folder / "root" / "tmp").mkdir(exist_ok=True)
    (folder / "done").touch()
    return folder / "root"


def root_for(target: str) -> Path:
    """The C library that a target's programs run with here: Debian's oldest in reach, or musl's."""
    architecture = "arm64" if target.endswith("arm64") else "amd64"
    if target.startswith("musl"):
        return make_root(f"musl-{architecture}", "bookworm", architecture, ["musl"])
    # The others for packages that tests need: numpy and hypothesis. Nothing of ours asks for them.
    return make_root(f"glibc-{architecture}", "bullseye", architecture, ["libc6", "libgcc-s1", "libstdc++6", "zlib1g"])


def copy_into(root: Path, paths: list[Path]) -> None:
    """Give files and folders the same names inside as outside."""
    for path in paths:
        inside = root / path.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, inside, dirs_exist_ok=True)
        else:
            shutil.copy2(path, inside)


def can_change_root() -> bool:
    """Whether this process may run programs in a folder as if there was nothing else."""
    return os.geteuid() == 0 and shutil.which("chroot") is not None
