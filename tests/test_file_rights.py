"""Files and folders that not everybody may write to: what is refused, what is followed, and whose the result is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.written_files import WRITE, as_root, in_child, mode_of, names
from t5g._files import write_text


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents let other users in, which pytest's own do not."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def drop_privileges() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def as_nobody(*arguments: object) -> str:
    """What the program above prints when another user than root runs it."""
    return in_child(f"from test_file_rights import drop_privileges; drop_privileges()\n{WRITE}", *arguments, "1").stdout


def test_folders_and_files_that_may_not_be_written(open_folder: Path) -> None:
    (open_folder / "locked").mkdir()
    (open_folder / "locked" / "file").write_text("old")
    (open_folder / "locked" / "file").chmod(0o666)
    (open_folder / "locked").chmod(0o555)
    read_only = open_folder / "read-only"
    read_only.write_text("old")
    read_only.chmod(0o444)
    for path in (open_folder / "locked" / "new", open_folder / "locked" / "file", read_only):
        printed = as_nobody(path)
        assert printed.startswith("PermissionError")
        assert str(path) in printed
    assert read_only.read_text() == "old"
    assert names(open_folder) == ["locked", "read-only"]
    assert names(open_folder / "locked") == ["file"]


@as_root
def test_what_a_group_may_is_not_for_another_group(open_folder: Path) -> None:
    path = open_folder / "file"
    path.write_text("old")
    os.chown(path, 65534, 2345)
    path.chmod(0o664)
    assert as_nobody(path) == "done\n"
    status = path.stat()
    assert (path.read_text(), status.st_uid, status.st_gid, mode_of(path)) == ("new", 65534, 65534, 0o644)


@as_root
def test_links_of_others_in_open_folders_are_followed_only_where_the_system_does(open_folder: Path) -> None:
    protected = Path("/proc/sys/fs/protected_symlinks")
    if not protected.exists() or protected.read_text().strip() == "0":
        pytest.skip("this system follows all links")
    open_folder.chmod(0o1777)
    (open_folder / "mine").write_text("old")
    (open_folder / "link").symlink_to("mine")
    os.chown(open_folder / "link", 4321, 4321, follow_symlinks=False)
    (open_folder / "dangling").symlink_to("new")
    os.chown(open_folder / "dangling", 4321, 4321, follow_symlinks=False)
    for name in ("link", "dangling"):
        with pytest.raises(PermissionError, match=name):
            write_text(open_folder / name, "new")
    assert (open_folder / "mine").read_text() == "old"
    assert names(open_folder) == ["dangling", "link", "mine"]
