"""Files that are not written to the end, or by several at the same time: the old one stays, or a new one is whole."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import t5g
from support.written_files import TOO_LARGE, WRITE, as_root, in_child, names
from t5g import _core
from t5g._files import write_text, writing

GOLDEN = Path(__file__).parent / "goldens" / "v2-gqa-w5.gguf"


# ---- Disks that fill up --------------------------------------------------------------------------------------------


def test_a_file_that_grows_too_large_leaves_the_old_one(tmp_path: Path) -> None:
    """A limit on the size of files fails in the same call as a disk that fills up."""
    path = tmp_path / "file"
    path.write_text("old")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    out = in_child(WRITE, path, 100_000, preexec_fn=limit)
    assert out.stdout == f"OSError [Errno {errno.EFBIG}] {path}: writing failed: File too large. {TOO_LARGE}\n"
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@as_root
def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this container mounts nothing")
    try:
        (disk / "file").write_text("old")
        with pytest.raises(OSError, match=r"file") as caught:
            write_text(disk / "file", "new" * 100_000)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match=r"file: no space left on device: 1\.00 GB needed"):
            _core.OutputFile(bytes(disk / "file"), 1_000_000_000)
        with t5g.Model(GOLDEN, n_threads=1) as model, pytest.raises(OSError, match="no space left"):
            model.encode([5] * 2000).save(disk / "file")
        assert (disk / "file").read_text() == "old"
        assert names(disk) == ["file"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_error_of_the_writer_is_not_hidden_by_one_of_the_disk(tmp_path: Path) -> None:
    def fill_and_fail() -> None:
        with writing(tmp_path / "file") as file:
            file.write(b"half")
            os.close(file.fileno())  # as if the disk were gone
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill_and_fail()
    assert names(tmp_path) == []


# ---- Interruptions, and others at the same time --------------------------------------------------------------------


SLOW = """
import sys, time
from t5g._files import writing
with writing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


def test_ctrl_c_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SLOW, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        assert len(names(tmp_path)) == 2
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    """What is there is always one writer's, whole; threads and processes alike."""
    path = tmp_path / "file"
    write_text(path, "0" * 50_000)
    done = threading.Event()
    seen: list[str] = []

    def write(digit: str) -> None:
        for _ in range(30):
            write_text(path, digit * 50_000)

    def read() -> None:
        while not done.is_set():
            seen.append(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    child = os.fork()
    if child == 0:
        try:
            write("9")
        finally:
            os._exit(0)
    threads = [threading.Thread(target=write, args=(str(digit),)) for digit in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.waitpid(child, 0)
    done.set()
    reader.join()
    assert all(text == text[0] * 50_000 for text in seen)
    assert names(tmp_path) == ["file"]


def test_a_forked_child_does_not_take_its_parents_file_away(tmp_path: Path) -> None:
    output = _core.OutputFile(bytes(tmp_path / "file"))
    child = os.fork()
    if child == 0:
        output.discard()
        os._exit(0)
    os.waitpid(child, 0)
    os.write(output.fileno(), b"text")
    output.commit()
    assert (tmp_path / "file").read_text() == "text"


def test_another_current_folder_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with writing("file") as file:
        file.write(b"text")
        monkeypatch.chdir(tmp_path / "other")
    assert names(tmp_path) == ["file", "other"]


def test_a_target_that_turns_into_something_else_stays(tmp_path: Path) -> None:
    output = _core.OutputFile(bytes(tmp_path / "file"))
    os.mkfifo(tmp_path / "file")
    with pytest.raises(ValueError, match="no regular file any more"):
        output.commit()
    assert names(tmp_path) == ["file"]
    assert stat.S_ISFIFO((tmp_path / "file").stat().st_mode)
