"""Disks that are full, read-only or forbidden: writers say what happened and what to do, and leave no half file."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.written_files import TOO_LARGE, in_child, names
from t5g import _core
from t5g._files import make_folder, writing_in_place

MODEL = Path(__file__).parent / "goldens" / "v2-gqa-w5.gguf"
N_BYTES = 4096


def limit() -> None:
    """Forbid larger files, which fails in the same calls as a disk that fills up."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (N_BYTES, N_BYTES))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space, or write to another folder."),
        (errno.EDQUOT, "Free some space, have the quota raised, or write to another folder."),
        (errno.EFBIG, TOO_LARGE),
        (errno.EROFS, "It can only be read from: write to another folder."),
        (errno.EACCES, "Get the permission to write there, or write to another folder."),
        (errno.EPERM, "Get the permission to write there, or write to another folder."),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
def test_what_to_do_is_said(number: int, remedy: str) -> None:
    assert _core.writing_error(b"a/file", number) == f"a/file: writing failed: {os.strerror(number)}. {remedy}"


def test_where_nothing_is_known_to_help_nothing_is_said() -> None:
    assert _core.writing_error(b"file", errno.EIO) == f"file: writing failed: {os.strerror(errno.EIO)}."


SAVE = "import t5g, sys; t5g.Model(sys.argv[2], n_threads=1).encode([5] * 99).save(sys.argv[1])"
QUANTIZE = "import t5g, sys; t5g.quantize(sys.argv[2], sys.argv[1], 'q8_0')"
TEXT = "import sys; from t5g._files import write_text; write_text(sys.argv[1], 'x' * 9999)"


@pytest.mark.parametrize("code", [SAVE, QUANTIZE, TEXT], ids=["source", "quantize", "text"])
@pytest.mark.parametrize("old", [False, True], ids=["new", "replaced"])
def test_every_writer_says_it_and_leaves_nothing(code: str, old: bool, tmp_path: Path) -> None:
    if code is QUANTIZE:
        pytest.importorskip("gguf")
    if old:
        (tmp_path / "file").write_text("old")
    result = in_child(code, tmp_path / "file", MODEL, preexec_fn=limit)
    *_, last = result.stderr.splitlines()
    assert last == f"OSError: [Errno {errno.EFBIG}] {tmp_path / 'file'}: writing failed: File too large. {TOO_LARGE}"
    assert names(tmp_path) == (["file"] if old else [])
    assert not old or (tmp_path / "file").read_text() == "old"


def by_command(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"t5g.cli.{name}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=limit)


def test_commands_say_it_in_one_line(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.write_text("a b\n" * 700)
    rows = tmp_path / "rows"
    rows.write_text('{"text": "a", "decoder_prefix": "b"}\n' * 90)
    out = tmp_path / "out.npy"
    for name, arguments in {
        "embed": ["-f", texts, "-o", out],
        "run": [MODEL, "--jsonl", "-f", rows, "-o", out, "-n", "1"],
    }.items():
        result = by_command(name, *arguments)
        file = f"{out}.part" if name == "embed" else out
        assert result.stderr == f"t5g-{name}: error: {file}: writing failed: File too large. {TOO_LARGE}\n"
        assert (result.returncode, result.stdout) == (1, "")


def test_a_folder_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="folder: writing failed: Not a directory"):
        make_folder(tmp_path / "file" / "folder")


def test_a_full_device() -> None:
    told = r"^\[Errno 28\] /dev/full: writing failed: .*Free some space, or write"
    with pytest.raises(OSError, match=told), writing_in_place("/dev/full") as file:
        file.write(b"x")
