"""Where output goes: --output, and standard streams that are closed, full, or of another locale."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import t5g
from support.commands import ENVIRONMENT, line, run, shell, start, to_the_end
from t5g.cli import _streams

MODEL = Path(__file__).parents[1] / "goldens" / "v2-gqa-w5.gguf"
RUN = ("run", MODEL, "-p", "some text", "-n", 6)


@pytest.fixture(scope="module")
def expected() -> bytes:
    with t5g.Model(MODEL) as model:
        return model.generate("some text", max_new_tokens=6).text.encode() + b"\n"


def test_output_goes_to_a_file(expected: bytes, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    path.chmod(0o640)
    result = run(*RUN, "--output", path)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert path.read_bytes() == expected
    assert path.stat().st_mode & 0o777 == 0o640
    assert run(*RUN, "--json", "--output", path).returncode == 0
    assert json.loads(path.read_bytes())["text"] + "\n" == expected.decode()
    assert run(*RUN, "--output", "/dev/stdout").stdout == expected
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "FOLDER/none/out"], "none: no such folder"),
        (["--output", "FOLDER"], "is a folder"),
        (["-f", "FOLDER/in", "--output", "FOLDER/in"], "in: is the input"),
        (["-p", "x", "--temp", "-1", "--output", "FOLDER/in"], "--temp: must"),
    ],
    ids=str,
)
def test_a_failure_leaves_the_old_file(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("old")
    result = run(
        "run",
        MODEL,
        *(["-p", "x"] if "-p" not in arguments else []),
        *[a.replace("FOLDER", str(tmp_path)) for a in arguments],
    )
    status = 2 if "--temp" in arguments else 1
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (status, b"", 1)
    assert message in result.stderr.decode()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"in": "old"}


def test_ctrl_c_leaves_the_old_file(tmp_path: Path) -> None:
    import signal
    import time

    path = tmp_path / "out.txt"
    path.write_text("old")
    process = start(*RUN[:-1], 4000, "--min-new-tokens", 4000, "--draft", "off", "--output", path)
    while len(list(tmp_path.iterdir())) < 2:  # until it writes
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"t5g-run: error: interrupted\n")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">&- 2>&-"])
def test_closed_streams_do_not_matter_where_they_are_not_needed(closed: str, expected: bytes, tmp_path: Path) -> None:
    result = shell(f"{line(*RUN, '-v', '--output', tmp_path / 'out.txt')} {closed}")
    assert (result.returncode, result.stdout) == (0, b"")
    assert (b"decode" in result.stderr) == ("2>&-" not in closed)
    assert (tmp_path / "out.txt").read_bytes() == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("run", [MODEL, "-p", "x", "-n", 2]),
        ("run", [MODEL, "-p", "x", "-n", 2, "--json"]),
        ("info", [MODEL]),
        ("info", [MODEL, "--json"]),
        ("bench", [MODEL, "--source-tokens", 4, "--new-tokens", 1, "--repeat", 1]),
        ("run", [MODEL, "--jsonl", "-f", "LINES"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_that_takes_nothing_is_a_failure(
    name: str, arguments: list[object], unbuffered: str, tmp_path: Path
) -> None:
    (tmp_path / "LINES").write_text('{"text": "x"}\n')
    for redirection, why in (
        (">&-", b"it is closed"),
        ("> /dev/full", b"writing failed: No space left on device. Free some space, or write to another folder."),
    ):
        environment = ENVIRONMENT | {"PYTHONUNBUFFERED": unbuffered}
        result = shell(f"{line(name, *arguments)} {redirection}", cwd=tmp_path, env=environment)
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr == b"t5g-%s: error: standard output: %s\n" % (name.encode(), why)


@pytest.mark.parametrize(
    "name", ["run", "embed", "bench", "info", "eval", "eval recall", "convert", "quantize", "serve"]
)
def test_neither_is_help_that_nobody_can_read(name: str) -> None:
    command, *word = name.split()
    for flag in ("--help", "--version"):
        for redirection in (">&-", "> /dev/full"):
            result = shell(f"{line(command, *word, flag)} {redirection}")
            assert (result.returncode, result.stdout) == (1, b"")
            assert result.stderr.startswith(b"t5g-%s: error: standard output: " % name.encode())
            assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize("arguments", [["-p", "x", "-f", "none"], ["--nonsense"], ["-p", "x", "-n", "0"]], ids=str)
def test_nobody_to_tell_is_no_crash(arguments: list[str]) -> None:
    for redirection in ("2>&-", "2> /dev/full"):
        result = shell(f"{line('run', MODEL, *arguments)} {redirection}")
        assert (result.returncode, result.stdout, result.stderr) == (1 if "-f" in arguments else 2, b"", b"")


def test_a_reader_that_leaves_is_no_error_of_ours() -> None:
    result = shell(f"{line(*RUN[:-1], 4000, '--min-new-tokens', 4000)} | head -c 1; exit ${{PIPESTATUS[0]}}")
    assert (result.returncode, result.stderr) == (1, b"")


def prints(text: str, **variables: str) -> bytes:
    """What a command writes when it prints a text."""
    script = f"from t5g.cli import _streams; _streams.prepare(); print({text!a})"
    environment = ENVIRONMENT | {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"} | variables
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    return result.stdout


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_results_are_utf8_in_any_locale(locale: str) -> None:
    assert prints("世\udce9", LC_ALL=locale) == "世\\udce9\n".encode()
    assert prints("世", LC_ALL=locale, PYTHONIOENCODING="gb18030") == "世\n".encode("gb18030")


def test_an_encoding_that_cannot_hold_the_text_is_named() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "t5g.cli.run", "-p", "a 世 b", "--choice", "世", "-n", "9"],
        env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    told = b"standard output: '\\u4e16' cannot be written in ascii. Unset PYTHONIOENCODING for UTF-8.\n"
    assert (result.returncode, result.stderr) == (1, b"t5g-run: error: " + told)


def test_a_stream_of_somebody_elses_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = io.StringIO()
    monkeypatch.setattr(sys, "stdout", theirs)
    _streams.prepare()
    assert sys.stdout is theirs
    assert os.fstat(0)


def test_ctrl_c_while_modules_are_loaded_ends_with_130(tmp_path: Path) -> None:
    """Python notes an interruption inside exec(), as of dataclasses, and would end by the signal long after."""
    (tmp_path / "program.py").write_text(
        "import sys; from t5g.cli import _common\n"
        "def body(arguments): exec('raise KeyboardInterrupt')\n"
        "sys.exit(_common.run(_common.Parser('t5g-run', ''), body, []))"
    )
    result = to_the_end([sys.executable, "-m", "program"], cwd=tmp_path)
    assert (result.returncode, result.stderr) == (130, b"t5g-run: error: interrupted\n")
