"""t5g-embed: lines or JSONL in, .npy, JSONL or Parquet out, and an interrupted run goes on where it has ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import t5g
from support.commands import ENVIRONMENT, command, run

TEXTS = ["a library for HTTP", "a game with cards", "", "the HTTP client library"]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    with t5g.Model() as model:
        return model.embed(TEXTS)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return path


def rows(data: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in data.decode().splitlines()]


def test_an_array(tmp_path: Path, lines: Path, expected: np.ndarray) -> None:
    result = run("embed", "-f", lines, "-o", tmp_path / "v.npy")
    assert (result.returncode, result.stdout) == (0, b""), result.stderr
    found = np.load(tmp_path / "v.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert {path.name for path in tmp_path.iterdir()} == {"texts.txt", "v.npy"}


def test_json_lines(tmp_path: Path, expected: np.ndarray) -> None:
    given = "".join(json.dumps({"text": text, "id": f"n{i}"}) + "\n" for i, text in enumerate(TEXTS))
    shown = run("embed", "--jsonl", stdin=given)
    assert shown.returncode == 0, shown.stderr
    assert [row["id"] for row in rows(shown.stdout)] == ["n0", "n1", "n2", "n3"]
    np.testing.assert_array_equal(np.array([row["embedding"] for row in rows(shown.stdout)], np.float32), expected)
    assert run("embed", "--jsonl", "-o", tmp_path / "v.jsonl", stdin=given).returncode == 0
    assert (tmp_path / "v.jsonl").read_bytes() == shown.stdout


def test_parquet(tmp_path: Path, lines: Path, expected: np.ndarray) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("embed", "-f", lines, "-o", tmp_path / "v.parquet").returncode == 0
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table["id"].to_pylist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), expected)


def test_what_is_cut_is_said(tmp_path: Path) -> None:
    texts, out = tmp_path / "long", tmp_path / "v.npy"
    texts.write_text("a text of more words than five\na\n")
    result = run("embed", "-f", texts, "-o", out, "--max-source-tokens", "5", "--truncation", "start")
    with t5g.Model(max_source_tokens=5) as model:
        expected = model.embed(texts.read_text().splitlines(), truncation="start")
        n_cut = model.encode("a text of more words than five", truncation="start").n_truncated
    np.testing.assert_array_equal(np.load(out), expected)
    warning = f"{n_cut} tokens are cut from the beginning of 1 of 2 texts, which are longer than 5\n"
    assert result.stderr.decode() == f"t5g-embed: warning: {warning}"


def test_options_are_those_of_embed(tmp_path: Path, lines: Path) -> None:
    options = ("--pooling", "max", "--no-normalize", "--layer", "-2", "--batch-size", "3")
    assert run("embed", "-f", lines, "-o", tmp_path / "v.npy", *options).returncode == 0
    with t5g.Model() as model:
        expected = model.embed(TEXTS, pooling="max", normalize=False, layer=-2)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), expected)


def test_an_interrupted_run_goes_on(tmp_path: Path, lines: Path, expected: np.ndarray) -> None:
    out, part = tmp_path / "v.npy", tmp_path / "v.npy.part"
    code = """
import sys, t5g
from t5g.cli import embed
real, calls = t5g.Model.embed, []
def once(self, *args, **options):
    if calls: raise KeyboardInterrupt
    calls.append(1)
    return real(self, *args, **options)
t5g.Model.embed, embed._CHUNK = once, 2
sys.exit(embed.main(sys.argv[1:]))
"""
    import subprocess
    import sys

    from support.commands import ENVIRONMENT

    arguments = [sys.executable, "-c", code, "-f", str(lines), "-o", str(out)]
    result = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, check=False)
    assert result.returncode == 130
    assert b"--resume goes on" in result.stderr
    assert not out.exists()
    half = part.read_bytes()
    part.write_bytes(half + b"\x01\x02")  # and part of a row
    assert run("embed", "-f", lines, "-o", out, "--resume").returncode == 0
    np.testing.assert_array_equal(np.load(out), expected)
    assert not part.exists()
    part.write_bytes(half)
    shorter = run("embed", "-f", lines, "-o", out, "--resume", "--truncation", "error", "--max-source-tokens", "4000")
    assert shorter.returncode == 1
    other = run("embed", "-f", lines, "-o", out, "--resume", "--pooling", "max")
    assert other.returncode == 1
    assert b"is of another model, other texts or options" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "v.txt"), "expected a name that ends in .npy .jsonl .parquet"),
        (("--resume",), "--resume needs --output"),
        (("--batch-size", "0"), "--batch-size must be 1 or more"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    result = run("embed", *arguments, stdin="a text")
    assert result.returncode == 2
    assert words in result.stderr.decode()


def test_a_line_that_is_wrong_is_named_before_any_work(tmp_path: Path) -> None:
    result = run("embed", "--jsonl", "-o", tmp_path / "v.npy", stdin='{"text": "a"}\n{"txt": "b"}\n')
    assert result.returncode == 1
    assert b'standard input: line 2: expected an object with "text"' in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_text_that_is_too_long_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one\n" * 300 + "one two three four five six\n")  # in the second chunk
    arguments = ("-f", tmp_path / "texts.txt", "-o", tmp_path / "v.npy", "--max-source-tokens", 4)
    failed = run("embed", *arguments)
    assert failed.returncode == 1
    assert failed.stderr.decode().startswith(f"t5g-embed: error: {tmp_path / 'texts.txt'}: line 301: has ")
    assert "cut it with --truncation" in failed.stderr.decode()
    assert run("embed", *arguments, "--truncation", "end").returncode == 0
    found = np.load(tmp_path / "v.npy")
    with t5g.Model(max_source_tokens=4) as model:
        np.testing.assert_array_equal(found[-1:], model.embed(["one two three four five six"], truncation="end"))


def test_on_a_terminal_it_says_what_it_waits_for_and_mixes_nothing_into_results() -> None:
    pty = pytest.importorskip("pty", exc_type=ImportError)
    main, child = pty.openpty()
    with subprocess.Popen(command("embed"), stdin=child, stdout=child, stderr=child, env=ENVIRONMENT) as process:
        os.close(child)
        os.write(main, b"one text\nanother\n\x04")
        shown = b""
        with contextlib.suppress(OSError):  # the end, on Linux
            while data := os.read(main, 1 << 16):
                shown += data
        assert process.wait(timeout=60) == 0
    os.close(main)
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    assert "t5g-embed: note: reads from the terminal, line by line; Ctrl-D ends" in lines
    assert [json.loads(line)["id"] for line in lines if line.startswith("{")] == [1, 2]
    assert "\r" not in "".join(lines)  # no bar
