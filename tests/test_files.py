"""Writing files: whole or not at all, in the right place, with the right mode, by every writer there is."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import t5g
from support import folders
from support.folders import Folder
from support.written_files import as_root, mode_of, names
from t5g._files import check_output, write_text, writing

PACKAGE = Path(t5g.__file__).parent
GOLDEN = Path(__file__).parent / "goldens" / "v2-gqa-w5.gguf"


@pytest.fixture
def umask() -> Iterator[None]:
    previous = os.umask(0o027)
    yield
    os.umask(previous)


# ---- Every writer --------------------------------------------------------------------------------------------------


def save_source(path: Path) -> None:
    with t5g.Model(GOLDEN, n_threads=1) as model:
        model.encode([5, 6, 7]).save(path)


def convert(path: Path) -> None:
    pytest.importorskip("gguf")
    with tempfile.TemporaryDirectory() as checkpoint:
        t5g.convert(Folder.of(folders.t5gemma2_config()).write(Path(checkpoint, "hf")), path)


def quantize(path: Path) -> None:
    pytest.importorskip("gguf")
    t5g.quantize(GOLDEN, path, "q8_0")


WRITERS = [save_source, convert, quantize, lambda path: write_text(path, "text\n")]
by_every_writer = pytest.mark.parametrize("write", WRITERS, ids=["source", "convert", "quantize", "text"])
Write = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


@by_every_writer
def test_a_new_file_gets_its_mode_from_the_umask(write: Write, folder: Path, umask: None) -> None:
    write(folder / "new")
    assert mode_of(folder / "new") == 0o640
    assert names(folder) == ["new"]


@by_every_writer
@pytest.mark.parametrize("mode", [0o640, 0o600, 0o755])
def test_a_file_that_is_replaced_leaves_its_mode(write: Write, folder: Path, mode: int) -> None:
    path = folder / "old"
    path.write_bytes(b"old")
    path.chmod(mode)
    before = path.stat().st_ino
    write(path)
    assert mode_of(path) == mode
    assert path.stat().st_ino != before  # who has the old one open goes on reading that
    assert path.read_bytes() != b"old"
    assert names(folder) == ["old"]


@by_every_writer
@as_root
def test_roots_files_stay_their_owners(write: Write, folder: Path) -> None:
    path = folder / "old"
    path.write_bytes(b"old")
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    write(path)
    status = path.stat()
    assert (status.st_uid, status.st_gid, mode_of(path)) == (1234, 2345, 0o640)


@by_every_writer
def test_the_target_of_a_link_is_replaced_and_the_link_stays(write: Write, folder: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "file").write_bytes(b"old")
    (folder / "direct").symlink_to(real / "file")
    (folder / "link").symlink_to("direct")
    write(folder / "link")
    assert (folder / "link").is_symlink()
    assert (folder / "direct").is_symlink()
    assert not (real / "file").is_symlink()
    assert (real / "file").read_bytes() != b"old"
    assert names(real) == ["file"]
    assert names(folder) == ["direct", "link"]


@by_every_writer
def test_a_link_to_nothing_gets_its_target(write: Write, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "link").symlink_to("sub/../sub/new")
    write(folder / "link")
    assert (folder / "link").is_symlink()
    assert (folder / "sub" / "new").stat().st_size > 0
    assert names(folder / "sub") == ["new"]


@by_every_writer
def test_what_cannot_be_written_to(write: Write, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none: no such folder to write m to"):
        write(folder / "none" / "m")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write(folder)
    (folder / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop") as caught:
        write(folder / "loop")
    assert caught.value.errno == errno.ELOOP
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        with pytest.raises(ValueError, match="is a socket, no regular file"):
            write(folder / "socket")
        assert stat.S_ISSOCK((folder / "socket").stat().st_mode)
    assert names(folder) == ["loop", "socket"]


@by_every_writer
@as_root
def test_devices_stay(write: Write, folder: Path) -> None:
    disk, null = folder / "disk", folder / "null"
    try:
        os.mknod(disk, 0o600 | stat.S_IFBLK, os.makedev(7, 250))
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this container makes no devices")
    with pytest.raises(ValueError, match="is a block device, no regular file"):
        write(disk)
    assert stat.S_ISBLK(disk.stat().st_mode)
    try:
        write(null)
    except ValueError as error:
        assert "no regular file" in str(error)  # noqa: PT017  either is right, by the writer
    assert stat.S_ISCHR(null.stat().st_mode)
    assert names(folder) == ["disk", "null"]


@pytest.mark.parametrize("write", WRITERS[:3], ids=["source", "convert", "quantize"])
def test_what_is_read_at_random_goes_to_no_pipe(write: Write, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for path in (folder / "pipe", Path("/dev/stdout"), Path("/dev/null")):
        with pytest.raises(ValueError, match="no regular file"):
            write(path)
    assert names(folder) == ["pipe"]
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)


# ---- Streams -------------------------------------------------------------------------------------------------------


def test_text_goes_through_pipes_and_devices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_text(tmp_path / "link", "text")
    reader.join()
    assert got == ["text"]
    assert names(tmp_path) == ["link", "pipe"]
    write_text("/dev/null", "text")
    with pytest.raises(OSError, match="/dev/full") as caught:
        write_text("/dev/full", "text")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_open_files_of_the_process_are_written_on(tmp_path: Path, name: str) -> None:
    """Standard output into a file: replacing that file would lose what is written before and after."""
    code = f"""
import sys
from t5g._files import write_text
print("before", flush=True)
write_text({name!r}, "text\\n")
print("after", flush=True)
"""
    with (tmp_path / "log").open("w") as log:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code], stdout=log, env=environment, check=True)
    assert (tmp_path / "log").read_text() == "before\ntext\nafter\n"
    assert names(tmp_path) == ["log"]


# ---- Names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ü" * 127, "n" * 255, "\udcff.bin", "a\nb", " "])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "text")
    write_text(tmp_path / name, "new")
    assert (tmp_path / name).read_text() == "new"
    assert names(tmp_path) == [name]
    save_source(tmp_path / name)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=r"is empty|no zero bytes"):
        write_text(name, "text")


def test_inputs_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("text")
    (tmp_path / "link").symlink_to("input")
    os.link(tmp_path / "input", tmp_path / "second name")
    for name in ("input", "link", "second name"):
        with pytest.raises(ValueError, match="is the input"):
            check_output(tmp_path / name, [tmp_path / "input", tmp_path / "missing"])
    assert check_output(tmp_path / "new", [tmp_path / "input"]) == (tmp_path / "new").resolve()


def test_a_source_does_not_replace_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(GOLDEN.read_bytes())
    (tmp_path / "link").symlink_to(path)
    for name in ("model.gguf", "link"):
        with pytest.raises(ValueError, match=r"is a model, which a source must not replace"):
            save_source(tmp_path / name)
    assert path.read_bytes() == GOLDEN.read_bytes()


# ---- The rule ------------------------------------------------------------------------------------------------------


def test_the_evaluations_output_is_checked_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from t5g.cli import eval as command

    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"source": "a", "target": "b"}) + "\n")
    for path, words in ((tmp_path / "none" / "o", "no such folder"), (pairs, "is the input")):
        assert command.main([str(tmp_path / "no model"), str(pairs), "--outputs", str(path)]) == 1
        assert words in capsys.readouterr().err
    assert len(pairs.read_text()) > 2


def test_nobody_else_writes_files() -> None:
    """Whoever writes a file of the package's does it with `writing` or `write_text`."""
    import re

    writes = re.compile(
        r"""write_(text|bytes)\(|\.touch\(|os\.replace|\bopen\([^)]*["'][rb]*[wax+]|O_CREAT|savefig\((?!file,)"""
    )
    allowed = re.compile(r"^\s*(from t5g\._files import|write_text\()|def write_text|  # a lock, which stays empty$")
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "_files.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if writes.search(line) and not allowed.search(line)
    ]
    assert not found, "\n".join(found)


def test_what_is_written_is_binary(tmp_path: Path) -> None:
    with writing(tmp_path / "file") as file:
        assert isinstance(file, io.BufferedWriter)
        assert file.tell() == 0
        file.write(b"\r\n\0")
        assert file.tell() == 3
    assert (tmp_path / "file").read_bytes() == b"\r\n\0"
