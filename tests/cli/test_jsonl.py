"""t5g-run --jsonl: results in order whatever the lines hold, at once where a producer waits, after an interruption."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.commands import line, run, shell, start, to_the_end
from t5g.cli._output import as_json

GOLDENS = Path(__file__).parents[1] / "goldens"
MODEL = GOLDENS / "v2-gqa-w5.gguf"
FLAGS = ["--jsonl", "-n", 6]


@pytest.fixture(scope="module")
def model() -> t5g.Model:
    return t5g.Model(MODEL)


def lines(rows: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def parsed(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(row) for row in data.splitlines()]


def texts(n: int) -> list[str]:
    return [f"text {'again ' * (7 * i % 5)}{i}" for i in range(n)]


def test_every_line_gets_what_it_would_get_alone(model: t5g.Model) -> None:
    rows: list[dict[str, Any]] = [{"text": text} for text in texts(40)]
    rows[3] |= {"id": "three", "decoder_prefix": "so"}
    rows[4] |= {"id": {"a": [1]}, "decoder_prefix": [5, 6]}
    rows[5] |= {"id": 0, "images": None, "decoder_prefix": None}
    result = run("run", MODEL, *FLAGS, "--batch-size", 3, stdin=lines(rows))
    assert (result.returncode, result.stderr) == (0, b"")
    found = parsed(result.stdout)
    assert [out["id"] for out in found] == [1, 2, 3, "three", {"a": [1]}, 0, *range(7, 41)]
    for row, out in zip(rows, found, strict=True):
        alone = model.generate(row["text"], decoder_prefix=row.get("decoder_prefix"), max_new_tokens=6)
        assert out["text"] == alone.text
        assert out["token_ids"] == alone.token_ids
        assert out["finish_reason"] == alone.finish_reason


def test_options_and_the_instruction_are_for_all_lines(model: t5g.Model) -> None:
    rows = lines({"text": text} for text in texts(4))
    flags = ["-p", "do this: ", "--num-beams", 3, "--num-return-sequences", 2, "--decoder-prefix", "so"]
    found = parsed(run("run", MODEL, *FLAGS, *flags, stdin=rows).stdout)
    for text, out in zip(texts(4), found, strict=True):
        alone = model.generate(
            f"do this: {text}", num_beams=3, num_return_sequences=2, decoder_prefix="so", max_new_tokens=6
        )
        assert [s["token_ids"] for s in out["sequences"]] == [s.token_ids for s in alone.sequences]
    whole = parsed(run("run", MODEL, *FLAGS, "--json", stdin=rows).stdout)
    assert whole[0]["logprob"] == pytest.approx(model.generate(texts(4)[0], max_new_tokens=6).logprob)
    assert whole[0]["timings"]["n_new_tokens"] == len(whole[0]["token_ids"])


def test_log_probabilities_that_are_not_shown_are_told_of() -> None:
    result = run("run", MODEL, *FLAGS, "--logprobs", 1, stdin=lines([{"text": "a"}, {"text": "b"}]))
    note = b"t5g-run: note: --json shows the log-probabilities that --logprobs asks for\n"
    assert (result.returncode, result.stderr) == (0, note)
    assert run("run", MODEL, *FLAGS, "--logprobs", 1, "--json", stdin=lines([{"text": "a"}])).stderr == b""


def test_what_is_cut_of_a_source_is_told(model: t5g.Model) -> None:
    rows = [{"text": "again " * 50}, {"text": "short"}]
    flags = ["--max-source-tokens", 20, "--truncation", "middle"]
    cut, whole = parsed(run("run", MODEL, *FLAGS, *flags, stdin=lines(rows)).stdout)
    assert cut["n_truncated"] == model.encode(rows[0]["text"]).n_tokens - 20 > 0
    assert "n_truncated" not in whole


def test_images_of_a_line(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="no Pillow")
    path = tmp_path / "noise.png"
    image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)).save(path)
    with t5g.Model(GOLDENS / "v2-images.gguf") as model:
        expected = [
            model.generate("<start_of_image>the dog", images=path, max_new_tokens=6),
            model.generate("a <start_of_image> <start_of_image>", images=[path, path], max_new_tokens=6),
            model.generate("the dog", max_new_tokens=6),
        ]
    rows = [
        {"text": "the dog", "images": str(path)},
        {"text": "a <start_of_image> <start_of_image>", "images": [str(path)] * 2},
        {"text": "the dog", "images": []},
        {"text": "the dog", "images": ["none.png"]},
    ]
    result = run("run", GOLDENS / "v2-images.gguf", *FLAGS, stdin=lines(rows))
    found = parsed(result.stdout)
    assert [out["token_ids"] for out in found[:3]] == [out.token_ids for out in expected]
    assert "none.png: No such file" in found[3]["error"]
    (without,) = parsed(run("run", MODEL, *FLAGS, stdin=lines(rows[:1])).stdout)
    assert "no vision tower" in without["error"]


def test_a_line_that_is_wrong_does_not_lose_the_others(model: t5g.Model, tmp_path: Path) -> None:
    limit = model.config.encoder.max_position_embeddings
    data = lines([{"text": "one"}, {"text": "x " * limit, "id": "long"}])
    data += b'not json\n\n  \r\n{"text": "caf\xe9", "id": "bytes"}\n[1]\n{"id": "none"}\n{"text": 5}\n'
    data += lines(
        [
            {"text": "a", "decoder_prefix": [True]},
            {"text": "a", "images": [5]},
            {"text": "a", "decoder_prefix": [10**9]},
        ]
    )
    data += rb'{"text": "half \ud800"}' + b"\n" + lines([{"text": "two"}])[:-1]
    path = tmp_path / "in.jsonl"
    path.write_bytes(data)
    result = run("run", MODEL, *FLAGS, "-f", path)
    found = parsed(result.stdout)
    errors = [
        ("long", "line 2: source has "),
        (3, "line 3: not valid JSON"),
        (6, "line 6: byte "),
        (7, "line 7: expected an object, found [1]."),
        ("none", 'line 8: "text" is missing, expected a string.'),
        (9, 'line 9: "text" is 5, expected a string.'),
        (10, 'line 10: "decoder_prefix" is [true], expected a string or a list of token ids.'),
        (11, 'line 11: "images" is [5], expected a path or a list of paths.'),
        (12, "line 12: decoder_prefix"),
        (13, "line 13: not valid JSON (half of a surrogate pair"),
    ]
    assert [out["id"] for out in found] == [1, *(key for key, _ in errors), 14]
    for out, (_, message) in zip(found[1:-1], errors, strict=True):
        assert set(out) == {"id", "error"}
        assert out["error"].startswith(f"{path}: {message}"[: len(str(path)) + 12])
        assert message in out["error"]
    for out, text in ((found[0], "one"), (found[-1], "two")):
        assert out["token_ids"] == model.generate(text, max_new_tokens=6).token_ids
    assert result.returncode == 1
    (message,) = result.stderr.decode().splitlines()
    assert message.startswith(
        't5g-run: error: 10 of 12 sources failed and have an "error" instead of a text. The first: '
    )


def strict(line: bytes) -> Any:
    """Parse as JSON, and not as Python, which takes NaN for it."""

    def refused(word: str) -> None:
        raise ValueError(word)

    return json.loads(line, parse_constant=refused)


def test_numbers_that_are_not_finite_are_not_repeated(tmp_path: Path) -> None:
    rows = b'{"text": "y", "id": NaN}\n{"text": "y", "id": 1e999}\n{"text": "y", "id": [-Infinity]}\n'
    sources, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    sources.write_bytes(rows + b'{"text": "y", "id": -1.5e3}\n')
    command = ("run", MODEL, *FLAGS, "-f", sources, "--output", results, "--resume")
    assert run(*command).returncode == 1
    found = [strict(row) for row in results.read_bytes().splitlines()]
    assert [out["id"] for out in found] == [1, 2, 3, -1500.0]
    for number, word in enumerate(("NaN", "1e999", "-Infinity"), 1):
        assert f"line {number}: not valid JSON ({word} is not a finite number)." in found[number - 1]["error"]
    with sources.open("ab") as file:
        file.write(b'{"text": "z"}\n')
    assert run(*command).returncode == 0
    assert strict(results.read_bytes().splitlines()[-1])["id"] == 5
    embedded = run("embed", MODEL, "--jsonl", stdin=rows)
    assert (embedded.returncode, embedded.stdout) == (1, b"")
    assert b"line 1: not valid JSON (NaN is not a finite number)" in embedded.stderr


def test_results_that_are_not_finite_are_null() -> None:
    value = {"a": [1.5, math.nan, (math.inf,)], "b": {"c": -math.inf}, "d": "\u00e9"}
    assert as_json(value) == '{"a": [1.5, null, [null]], "b": {"c": null}, "d": "\u00e9"}'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_lines_of_any_encoding(encoding: str, model: t5g.Model) -> None:
    row = json.dumps({"text": "Grüße, \u2028 世界"}, ensure_ascii=False)
    result = run("run", MODEL, *FLAGS, stdin=f"{row}\r\n{row}".encode(encoding))
    expected = model.generate("Grüße, \u2028 世界", max_new_tokens=6)
    assert [out["token_ids"] for out in parsed(result.stdout)] == [expected.token_ids] * 2


def test_bytes_that_are_no_text_may_be_replaced(model: t5g.Model) -> None:
    data = b'{"text": "caf\xe9"}\n'
    for flags, text in ((["--errors", "replace"], "caf\ufffd"), (["--encoding", "latin-1"], "café")):
        result = run("run", MODEL, *FLAGS, *flags, stdin=data)
        assert parsed(result.stdout)[0]["token_ids"] == model.generate(text, max_new_tokens=6).token_ids


def test_several_files_are_one_input(model: t5g.Model, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(lines([{"text": "one"}, {"text": "two"}])[:-1])
    (tmp_path / "b").write_bytes(b"\n" + lines([{"text": "three"}]))
    result = run(
        "run", MODEL, *FLAGS, "-f", tmp_path / "a", "-f", "-", "-f", tmp_path / "b", stdin=lines([{"text": "in"}])
    )
    found = parsed(result.stdout)
    assert [out["id"] for out in found] == [1, 2, 3, 5]
    for text, out in zip(["one", "two", "in", "three"], found, strict=True):
        assert out["token_ids"] == model.generate(text, max_new_tokens=6).token_ids


def test_fields_that_nobody_reads_are_told_of_once(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(lines([{"text": "a", "titel": 1}] * 3))
    result = run("run", MODEL, *FLAGS, "-f", path)
    assert (result.returncode, len(parsed(result.stdout))) == (0, 3)
    fields = "text, images, decoder_prefix, id"
    assert result.stderr.decode() == (
        f't5g-run: warning: {path}: line 1: the field "titel" is not read; those that are: {fields}\n'
    )


def test_a_producer_that_waits_for_each_answer_gets_it(model: t5g.Model) -> None:
    process = start("run", MODEL, *FLAGS, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for text in texts(3):
        process.stdin.write(lines([{"text": text}]))
        process.stdin.flush()
        out = json.loads(process.stdout.readline())
        assert out["token_ids"] == model.generate(text, max_new_tokens=6).token_ids
    rest, err = process.communicate(timeout=60)
    assert (process.returncode, rest, err) == (0, b"", b"")


def test_a_producer_that_is_silent_does_not_hold_up_the_end() -> None:
    """A thread still waits for standard input when the command has ended."""
    theirs, ours = os.pipe()
    process = start("run", MODEL, *FLAGS, stdin=theirs)
    os.close(theirs)
    os.write(ours, lines([{"text": "x"}]))
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["id"] == 1
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    os.close(ours)
    assert (process.returncode, err) == (130, b"t5g-run: error: interrupted\n")


def test_an_interruption_just_before_it_waits_for_a_line_is_not_lost() -> None:
    """interrupt_main() marks Ctrl-C as pressed and wakes nobody, as a signal does that comes just before the wait."""
    script = (
        "import _thread, sys, threading; from t5g.cli.run import main; "
        "threading.Timer(2, _thread.interrupt_main).start(); sys.exit(main(sys.argv[1:]))"
    )
    theirs, ours = os.pipe()
    line = [sys.executable, "-c", script, MODEL, "--jsonl"]
    with os.fdopen(ours, "wb"), subprocess.Popen(line, stdin=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, b"t5g-run: error: interrupted\n")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of its memory from /proc")
def test_memory_does_not_grow_with_the_input() -> None:
    """20 times as many lines: 30 MB of them, and as much of results."""
    script = (
        "import sys; from t5g.cli.run import main; main(sys.argv[1:]); "
        "sys.stderr.write(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for n in (400, 8000):
        rows = lines({"id": "x" * 4000, "text": f"text {i}"} for i in range(n))
        result = to_the_end([sys.executable, "-c", script, MODEL, "--jsonl", "-n", "1"], stdin=rows)
        assert len(result.stdout.splitlines()) == n
        peaks.append(int(result.stderr.split()[1]))
    assert peaks[1] - peaks[0] < 8000  # kB


# ---- Files of results ----


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(lines({"id": f"id{i}", "text": text} for i, text in enumerate(texts(20))))
    return path


def test_an_interrupted_run_is_gone_on_with(sources: Path, tmp_path: Path) -> None:
    whole = run("run", MODEL, *FLAGS, "-f", sources).stdout
    out = tmp_path / "out.jsonl"
    flags = [*FLAGS, "-f", sources, "--output", out, "--resume"]
    assert run("run", MODEL, *flags).returncode == 0  # nothing is there yet
    assert out.read_bytes() == whole
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for n_bytes in (0, 1, ends[0] - 1, ends[0], ends[0] + 5, ends[10], len(whole) - 1, len(whole)):
        out.write_bytes(whole[:n_bytes])
        out.chmod(0o640)
        result = run("run", MODEL, *flags)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
        assert out.read_bytes() == whole
        assert out.stat().st_mode & 0o777 == 0o640
    out.write_bytes(b"something else")
    assert run("run", MODEL, *flags[:-1]).returncode == 0  # without --resume the file is a new one
    assert out.read_bytes() == whole


def test_what_is_done_is_there_after_ctrl_c(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    theirs, ours = os.pipe()
    process = start("run", MODEL, *FLAGS, "--output", out, stdin=theirs)
    os.close(theirs)
    os.write(ours, lines({"text": text} for text in texts(5)))
    while not out.exists() or out.read_bytes().count(b"\n") < 5:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 130
    assert len(parsed(out.read_bytes())) == 5
    assert err.decode() == "t5g-run: error: interrupted; --resume goes on after the results that are there\n"


@pytest.mark.parametrize(
    ("old", "message"),
    [
        (b'{"id": "id1", "text": ""}\n', 'line 1 is the result of id "id1", but the source there'),
        (b'{"text": ""}\n', "line 1 is no result of --jsonl"),
        (b"A letter.\n", "not valid JSON"),
        (lines({"id": f"id{i}"} for i in range(21)), "line 21: there are more results than sources"),
    ],
)
def test_results_of_another_input_are_left_as_they_are(old: bytes, message: str, sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(old)
    result = run("run", MODEL, *FLAGS, "-f", sources, "--output", out, "--resume")
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (1, b"", 1)
    assert message in result.stderr.decode()
    assert out.read_bytes() == old


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "--resume needs --output"),
        (["--image", "x"], "--image does not go with --jsonl"),
        (["--no-source"], "--no-source does not go with --jsonl"),
        (["--no-stdin"], "--jsonl needs lines"),
    ],
    ids=str,
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    result = run("run", MODEL, "--jsonl", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert message in result.stderr.decode()


def test_failures_before_the_first_line(sources: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["-f", "none.jsonl"], "none.jsonl: No such file"),
        (["-f", sources, "--output", sources], "is the input"),
        (["-f", sources, "--output", tmp_path], "is a folder"),
    ):
        result = run("run", MODEL, "--jsonl", *arguments)
        assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (1, b"", 1)
        assert message in result.stderr.decode()
    for flag in ("--batch-size", "--temp"):
        result = run("run", MODEL, "--jsonl", "-f", sources, flag, -1)
        assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (2, b"", 1)
        assert f"error: {flag}: must be" in result.stderr.decode()
    assert len(sources.read_bytes().splitlines()) == 20


def test_old_results_stay_where_there_is_nothing_to_begin_with(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    for arguments in (["-f", "none.jsonl"], ["-f", sources, "-f", tmp_path], ["-f", sources, "--temp", -1]):
        assert run("run", MODEL, "--jsonl", *arguments, "-o", out).returncode == (2 if "--temp" in arguments else 1)
        assert out.read_text() == "old"


def test_no_lines_are_no_failure() -> None:
    for data in (b"", b"\n\n"):
        result = run("run", MODEL, "--jsonl", stdin=data)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_results_go_through_pipes(sources: Path, tmp_path: Path) -> None:
    whole = run("run", MODEL, *FLAGS, "-f", sources).stdout
    os.mkfifo(tmp_path / "fifo")
    result = shell(f"cat fifo & {line('run', MODEL, *FLAGS, '-f', sources, '--output', 'fifo')}; wait", cwd=tmp_path)
    assert (result.stdout, result.stderr) == (whole, b"")
    result = shell(f"{line('run', MODEL, *FLAGS, '-f', sources, '--output', '/dev/stdout')} | cat")
    assert result.stdout == whole
    for script in (
        f"cat {sources} > fifo & {line('run', MODEL, *FLAGS, '-f', 'fifo')}",
        f"{line('run', MODEL, *FLAGS)} -f <(cat {sources})",
    ):
        assert shell(script, cwd=tmp_path).stdout == whole


def test_verbose_tells_how_fast_it_was(sources: Path) -> None:
    result = run("run", MODEL, *FLAGS, "-f", sources, "-v")
    assert result.stderr.decode().startswith("t5g-run: 20 sources in ")
