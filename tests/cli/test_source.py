"""Where the source of t5g-run comes from: -p, -f and standard input together, in whatever state callers leave that."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import t5g
from support.commands import line, run, shell, start, to_the_end
from t5g.cli import _stdin
from t5g.cli._source import joined

MODEL = Path(__file__).parents[1] / "goldens" / "v2-gqa-w5.gguf"
FLAGS = ["-n", 6, "--json"]


@pytest.fixture(scope="module")
def model() -> t5g.Model:
    return t5g.Model(MODEL)


def ids(model: t5g.Model, text: str) -> tuple[int, list[int]]:
    """What tells sources apart: how many tokens one has, and what is written about it."""
    out = model.generate(text, max_new_tokens=6)
    return out.timings.n_source_tokens, out.token_ids


def found(out: bytes) -> tuple[int, list[int]]:
    result = json.loads(out)
    return result["timings"]["n_source_tokens"], result["token_ids"]


# ---- Parts ----


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["a", "b"], "a\n\nb"),
        (["a: ", "b"], "a: b"),
        (["a\n", "b"], "a\nb"),
        (["", "b"], "b"),
        (["a", ""], "a"),
        (["a", "", "b"], "a\n\nb"),
        (["a", "b", "c"], "a\n\nb\n\nc"),
        ([], ""),
    ],
)
def test_parts_have_an_empty_line_between_them(parts: list[str], whole: str) -> None:
    assert joined(parts) == whole


def test_a_prompt_goes_in_front_of_what_is_piped(model: t5g.Model, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("first file\n")
    (tmp_path / "two.txt").write_text("second file\r\n")
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    for arguments, stdin, source in (
        (["-p", "do this"], "some text\n", "do this\n\nsome text"),
        (["-p", "do this: "], "some text\n", "do this: some text"),
        (["-p", "do this"], "", "do this"),
        (["-p", "do this"], "\n", "do this"),
        (["-p", "do this"], None, "do this"),
        (["-p", ""], "some text", "some text"),
        (["-p", "do this", "--no-stdin"], "some text", "do this"),
        (["-p", "do this", "-f", one], "not read", "do this\n\nfirst file"),
        (["-f", one, "-f", two], None, "first file\n\nsecond file"),
        (["-f", two, "-f", "-", "-p", "p"], "piped\n", "p\n\nsecond file\n\npiped"),
        (["-f", "-"], "piped", "piped"),
    ):
        result = run("run", MODEL, *arguments, *FLAGS, stdin=stdin)
        assert (result.returncode, result.stderr) == (0, b""), result.stderr
        assert found(result.stdout) == ids(model, source), arguments


def test_verbose_says_what_the_source_is_made_of(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a file")
    result = run("run", MODEL, "-p", "do this", "-f", tmp_path / "a.txt", "-n", 1, "-v")
    assert f"source: -p (7 characters), {tmp_path / 'a.txt'} (6 characters)\n" in result.stderr.decode()


# ---- Standard input ----


@pytest.mark.parametrize("redirection", ["< /dev/null", "<&-", "< EMPTY"])
def test_no_source_at_all_is_wrong_usage(redirection: str, tmp_path: Path) -> None:
    (tmp_path / "EMPTY").touch()
    result = shell(f"{line('run', MODEL)} {redirection}", cwd=tmp_path)
    state = "closed" if "&" in redirection else "empty"
    message = f"t5g-run: error: no source: standard input is {state}; give -p TEXT, -f FILE or --no-source"
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode() == f"{message} (see t5g-run --help)\n"


@pytest.mark.parametrize("redirection", ["< /dev/null", "<&-", "< EMPTY", "< /dev/zero"])
def test_a_prompt_needs_no_standard_input(redirection: str, model: t5g.Model, tmp_path: Path) -> None:
    (tmp_path / "EMPTY").touch()
    result = shell(f"{line('run', MODEL, '-p', 'do this', *FLAGS)} {redirection}", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    assert found(result.stdout) == ids(model, "do this")


def test_no_source_and_no_standard_input_either() -> None:
    result = run("run", MODEL, "--no-stdin", stdin="some text")
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"no source: nothing is given; give -p TEXT" in result.stderr


def test_an_image_alone_is_a_source(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="no Pillow")
    image.new("RGB", (30, 50)).save(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    flags = [MODEL.with_name("v2-images.gguf"), "--image", os.fsencode(tmp_path) + b"/caf\xe9.png", *FLAGS]
    expected = run("run", *flags, "-p", "")
    assert expected.returncode == 0
    theirs, ours = os.pipe()
    silent = start("run", *flags, stdin=theirs)
    os.close(theirs)
    out, err = silent.communicate(timeout=60)
    os.close(ours)
    assert b"open but silent" in err
    results = [out, run("run", *flags).stdout, run("run", *flags, "--no-stdin", stdin="text").stdout]
    assert [found(result) for result in results] == [found(expected.stdout)] * 3


def test_a_closed_standard_input_that_is_asked_for() -> None:
    result = shell(f"{line('run', MODEL, '-f', '-')} <&-")
    assert (result.returncode, result.stderr) == (1, b"t5g-run: error: -f -: standard input is closed.\n")


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_pipe_that_a_service_leaves_open_is_left_alone(kind: str, model: t5g.Model) -> None:
    """As Node.js and Java start programs: with standard input open and nothing in it."""
    if kind == "pipe":
        theirs, ours = os.pipe()
    else:
        theirs, ours = (end.detach() for end in socket.socketpair())
    process = start("run", MODEL, "-p", "do this", *FLAGS, stdin=theirs)
    os.close(theirs)
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert found(out) == ids(model, "do this")
    assert err.decode().splitlines() == [
        "t5g-run: note: standard input is open but silent, so it is left alone "
        "(-f - waits for it, --no-stdin does not look)"
    ]


@pytest.mark.parametrize("flags", [["--no-stdin"], ["-f", "/dev/null"]], ids=str)
def test_who_says_so_is_not_kept_waiting(flags: list[str], model: t5g.Model) -> None:
    theirs, ours = os.pipe()
    process = start("run", MODEL, "-p", "do this", *flags, *FLAGS, stdin=theirs)
    os.close(theirs)
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert (process.returncode, err) == (0, b"")
    assert found(out) == ids(model, "do this")


def test_text_that_comes_later_than_the_result_is_no_success() -> None:
    theirs, ours = os.pipe()
    process = start("run", MODEL, "-p", "x", "-n", 4000, "--min-new-tokens", 4000, "--draft", "off", stdin=theirs)
    os.close(theirs)
    assert process.stdout is not None
    process.stdout.read(1)
    os.write(ours, b"some text")
    _, err = process.communicate(timeout=100)
    os.close(ours)
    assert process.returncode == 1
    assert "standard input: text came later than 0.5 s" in err.decode().splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc who writes to a pipe")
@pytest.mark.parametrize(
    ("producer", "source"), [("(sleep 2; echo some text)", "do this\n\nsome text"), ("sleep 2", "do this")]
)
def test_a_command_of_the_pipeline_that_takes_its_time_is_waited_for(
    producer: str, source: str, model: t5g.Model
) -> None:
    result = shell(f"{producer} | {line('run', MODEL, '-p', 'do this', *FLAGS)}")
    assert result.stderr.decode() == "t5g-run: note: waiting for standard input (--no-stdin does without)\n"
    assert found(result.stdout) == ids(model, source)


def test_a_pipe_that_has_begun_is_read_to_its_end(model: t5g.Model) -> None:
    process = start("run", MODEL, "-p", "do this", *FLAGS, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"some ")
    process.stdin.flush()
    time.sleep(1.5)
    out, _ = process.communicate(b"text", timeout=60)
    assert found(out) == ids(model, "do this\n\nsome text")


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what its parent reads")
@pytest.mark.parametrize("program", [["bash"], ["bash", "-ex"], ["sh", "-s", "word"], ["bash", "--norc"]], ids=str)
@pytest.mark.parametrize("is_file", [False, True])
def test_a_shells_script_is_not_the_source(program: list[str], is_file: bool, model: t5g.Model, tmp_path: Path) -> None:
    """`curl ... | sh`: a program that the script starts inherits the rest of the script."""
    script = tmp_path / "script"
    script.write_text(f"true\n{line('run', MODEL, '-p', 'do this', *FLAGS)}\necho; echo done\n")
    if is_file:
        result = shell(f"{' '.join(program)} < script", cwd=tmp_path)
    else:
        result = to_the_end(program, stdin=script.read_bytes())
    first, *_, last = result.stdout.splitlines()
    assert found(first) == ids(model, "do this")
    assert last == b"done"


@pytest.mark.parametrize("end", ["", "; true"])
def test_a_script_that_text_is_piped_into_hands_it_on(end: str, model: t5g.Model, tmp_path: Path) -> None:
    script = f"{line('run', MODEL, '-p', 'do this', *FLAGS)}{end}"
    (tmp_path / "script").write_text(f"{script}\n")
    for result in (shell(script, stdin="some text"), to_the_end(["bash", tmp_path / "script"], stdin="some text")):
        assert found(result.stdout) == ids(model, "do this\n\nsome text")


def test_a_file_that_a_loop_reads_is_not_the_source(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("one\ntwo\nthree\n")
    loop = f'while read -r word; do {line("run", MODEL, "-n", 1, "-p")} "$word" > "$word.out"; done < list'
    result = shell(loop, cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.out")) == ["one.out", "three.out", "two.out"]
    assert b"a file that has been read from before" in result.stderr


# ---- Text ----


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("way", ["-f", "stdin"])
def test_marks_are_read(encoding: str, way: str, model: t5g.Model, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Grüße, 世界\n".encode(encoding))
    arguments: Sequence[object] = ["-f", path] if way == "-f" else []
    result = run("run", MODEL, *arguments, *FLAGS, stdin=path.read_bytes() if way == "stdin" else None)
    assert found(result.stdout) == ids(model, "Grüße, 世界")


def test_bytes_that_are_no_text_are_named(model: t5g.Model, tmp_path: Path) -> None:
    data = b"caf\xe9 ole"
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    for arguments, stdin, name in (
        (["-f", path], None, str(path)),
        ([], data, "standard input"),
        (["-p", "x"], data, "standard input"),
        (["-p", data], None, "-p"),
    ):
        result = run("run", MODEL, *arguments, *FLAGS, stdin=stdin)
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr.decode().startswith(f"t5g-run: error: {name}: byte 3 (0xe9) is not UTF-8. ")
        assert result.stderr.count(b"\n") == 1
        for flags, text in ((["--encoding", "latin-1"], "café ole"), (["--errors", "replace"], "caf\ufffd ole")):
            result = run("run", MODEL, *arguments, *flags, *FLAGS, stdin=stdin)
            assert (result.returncode, result.stderr) == (0, b"")
            whole = f"x\n\n{text}" if arguments == ["-p", "x"] else text
            assert found(result.stdout) == ids(model, whole)


def test_an_encoding_is_of_files_and_not_of_arguments(model: t5g.Model) -> None:
    result = run("run", MODEL, "-p", "Grüße", "--encoding", "utf-16-le", *FLAGS, stdin="世界".encode("utf-16-le"))
    assert found(result.stdout) == ids(model, "Grüße\n\n世界")


@pytest.mark.skipif(sys.platform == "darwin", reason="there, all file names are UTF-8")
def test_file_names_may_be_no_text(model: t5g.Model, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    Path(os.fsdecode(name)).write_text("some text")
    Path(os.fsdecode(name + b".gguf")).symlink_to(MODEL)
    result = run("run", name + b".gguf", "-f", name, *FLAGS, "--output", name + b".json")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert found(Path(os.fsdecode(name + b".json")).read_bytes()) == ids(model, "some text")
    for wrong, message in (
        (["-f", name + b"?"], b"caf\\xe9?: No such file or directory\n"),
        (["-p", "x", "--image", name], b"no vision tower"),
    ):
        result = run("run", MODEL, *wrong)
        assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
        assert message in result.stderr
    missing = run("run", name, "-p", "x")
    assert (missing.returncode, missing.stderr.count(b"\n")) == (1, 1)
    assert b"caf\\xe9: not a GGUF" in missing.stderr
    for flags in ([], ["--json"]):
        info = run("info", name + b".gguf", *flags)
        assert (info.returncode, info.stderr) == (0, b"")
        assert b"caf\\" in info.stdout


# ---- The rules themselves ----


def test_ancestors_are_no_siblings() -> None:
    ancestors = set(_stdin._ancestors())
    assert os.getppid() in ancestors
    assert os.getpid() not in ancestors
