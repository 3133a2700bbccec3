"""t5g-convert and t5g-quantize: exit statuses, and what goes to which stream."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import folders
from support.folders import Folder

gguf = pytest.importorskip("gguf")

from t5g.cli import convert, quantize  # noqa: E402


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Folder.of(folders.t5gemma_config()).write(tmp_path / "hf")


def test_convert_and_quantize(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.gguf"
    assert convert.main([str(source), "-o", str(out), "--type", "BF16"]) == 0
    stdout, stderr = capsys.readouterr()
    assert re.search(r"^bf16 +\d+ +[\d,]+ +\d", stdout, re.MULTILINE)
    assert str(out) in stdout
    assert stderr.startswith("t5g-convert: note: ")
    assert "tokenizer" in stderr

    small = tmp_path / "s.gguf"
    assert quantize.main([str(out), str(small), "Q8_0", "--dry-run"]) == 0
    stdout, stderr = capsys.readouterr()
    assert re.search(r"^enc\.blk\.0\.attn_q\.weight +bf16 -> q8_0 +4.35 KB  \[64 x 64\]$", stdout, re.MULTILINE)
    assert "dry run" in stdout
    assert not small.exists()

    assert quantize.main([str(out), str(small), "Q8_0"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stderr == ""
    assert small.stat().st_size < out.stat().st_size


@pytest.mark.parametrize(
    "arguments",
    [
        ["HF"],
        ["HF", "-o", "OUT", "--type", "q3"],
        ["HF", "-o", "OUT", "--threads", "0"],
        ["HF", "-o", "OUT", "--vision-type", "x"],
    ],
)
def test_wrong_usage(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    names = {"HF": str(source), "OUT": str(tmp_path / "m.gguf")}
    try:
        status = convert.main([names.get(a, a) for a in arguments])
    except SystemExit as ended:
        status = int(str(ended.code))
    stdout, stderr = capsys.readouterr()
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"t5g-convert: error: .*\n", stderr)


def test_failures_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for main, arguments in (
        (convert.main, [str(tmp_path / "no\nfolder"), "-o", str(tmp_path / "m.gguf")]),
        (quantize.main, [str(tmp_path / "no\nfile"), str(tmp_path / "m.gguf"), "q8_0"]),
    ):
        assert main(arguments) == 1
        stdout, stderr = capsys.readouterr()
        assert stdout == ""
        assert re.fullmatch(r"t5g-\w+: error: .*no such.*\n", stderr)
    assert list(tmp_path.iterdir()) == []


def test_gguf_dump_reads_the_file(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = pytest.importorskip("gguf.scripts.gguf_dump")
    convert.main([str(source), "-o", str(tmp_path / "m.gguf"), "--type", "q4_0"])
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gguf-dump", str(tmp_path / "m.gguf")])
        dump.main()
    stdout = capsys.readouterr().out
    assert "general.architecture = 't5gemma'" in stdout
    assert "dec.blk.1.cross_attn_post_norm.weight" in stdout
