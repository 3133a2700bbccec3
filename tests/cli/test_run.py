"""t5g-run, t5g-info and t5g-bench as processes: what goes to which stream, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import t5g

GOLDENS = Path(__file__).parents[1] / "goldens"
MODEL = GOLDENS / "v2-gqa-w5.gguf"


def run(command: str, *arguments: object, stdin: str | bytes = "") -> subprocess.CompletedProcess[bytes]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    line = [sys.executable, "-m", f"t5g.cli.{command}", *map(str, arguments)]
    return subprocess.run(line, input=data, capture_output=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def model() -> t5g.Model:
    return t5g.Model(MODEL)


def test_the_text_comes_from_an_argument_a_file_or_standard_input(model: t5g.Model, tmp_path: Path) -> None:
    text = "a small text\nof two lines"
    expected = model.generate(text, max_new_tokens=8).text.encode() + b"\n"
    (tmp_path / "source.txt").write_text(text + "\n")
    for result in (
        run("run", MODEL, "-p", text, "-n", 8),
        run("run", MODEL, "-f", tmp_path / "source.txt", "-n", 8),
        run("run", MODEL, "-n", 8, stdin=text + "\n"),
    ):
        assert (result.returncode, result.stdout, result.stderr) == (0, expected, b"")


def test_options_reach_the_model(model: t5g.Model) -> None:
    options = {"num_beams": 3, "length_penalty": 0.5, "no_repeat_ngram_size": 2, "max_new_tokens": 9}
    expected = model.generate("text", **options)
    flags = ["--num-beams", 3, "--length-penalty", 0.5, "--no-repeat-ngram", 2, "-n", 9]
    found = json.loads(run("run", MODEL, "-p", "text", *flags, "--json").stdout)
    assert found["token_ids"] == expected.token_ids
    sampled = model.generate("text", temperature=0.9, top_k=20, top_p=0.9, min_p=0.01, seed=4, repetition_penalty=1.2)
    flags = ["--temp", 0.9, "--top-k", 20, "--top-p", 0.9, "--min-p", 0.01, "--seed", 4, "--repeat-penalty", 1.2]
    for spelled in (flags, ["--temperature", *flags[1:-2], "--repetition-penalty", 1.2]):
        found = json.loads(run("run", MODEL, "-p", "text", *spelled, "--json").stdout)
        assert found["token_ids"] == sampled.token_ids


def test_errors_name_flags_and_unknown_flags_are_answered() -> None:
    for arguments, told in (
        (["--max-new-tokens", 0], "t5g-run: error: --max-new-tokens: must be at least 1, got 0."),
        (["--num-beams", 2, "--temp", 1], "t5g-run: error: --num-beams: beam search does not sample"),
        (["--top_k", 1], "t5g-run: error: unrecognized arguments: --top_k 1. Did you mean --top-k?"),
    ):
        result = run("run", MODEL, "-p", "text", *arguments)
        assert result.returncode != 0
        assert result.stderr.decode().startswith(told)


def test_a_text_in_the_place_of_the_model_is_answered() -> None:
    result = run("run", "Summarise this text", "-p", "text")
    told = "t5g-run: error: Summarise this text: no such file. The model's file comes first; give the text with -p.\n"
    assert (result.returncode, result.stderr.decode()) == (1, told)
    assert b"give the text with -p" in run("run", "a text " * 50, "-p", "text").stderr
    assert b"give the text" not in run("run", "none.gguf", "-p", "text").stderr


def test_what_is_missing_is_told_after_the_text() -> None:
    line = [sys.executable, "-m", "t5g.cli.run", str(MODEL), "-p", "one two three four five six seven", "-n", "3"]
    line += ["--truncation", "end", "--max-source-tokens", "5"]
    both = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=True).stdout
    text, told, end = both.decode().rsplit("\n", 2)
    assert (told.startswith("t5g-run: warning: "), end) == (True, "")
    assert told.endswith("tokens were cut from the end of the source")
    assert "t5g-run" not in text
    several = run("run", MODEL, "-p", "text", "-n", 3, "--num-beams", 2, "--num-return-sequences", 2, "--logprobs", 1)
    assert several.stderr.decode().splitlines() == [
        "t5g-run: note: this is the first of 2 texts; --json shows all",
        "t5g-run: note: --json shows the log-probabilities that --logprobs asks for",
    ]


def test_every_option_of_generation_has_a_flag() -> None:
    from t5g import _core
    from t5g.cli.run import _options, _parser

    assert not {row["name"] for row in _core.sampling.option_table()} & set(_options(_parser().parse_args([]))) - {
        "draft"
    }
    flags = "-n 9 --min-new-tokens 2 --temp 0.5 --top-k 3 --top-p 0.5 --min-p 0.1 --seed 1 --repeat-penalty 1.5"
    flags += " --no-repeat-ngram 2 --num-beams 2 --length-penalty 0.5 --early-stopping true --num-return-sequences 2"
    flags += " --typical-p 0.9 --epsilon-cutoff 0.1 --eta-cutoff 0.1 --encoder-repeat-penalty 2 --alternatives 2"
    flags += " --encoder-no-repeat-ngram 3 --logit-bias 5=1.5 --logit-bias 6=-inf --suppress-tokens 7,8 --bad-word bad"
    flags += " --forced-bos 9 --eos-token 1,2 --logprobs 3 --timeout 4"
    options = _options(_parser().parse_args([*flags.split(), "--draft", "off"]))
    for row in _core.sampling.option_table():
        assert options[row["name"]] != row["default"], row["name"]


def test_constraints_have_flags(tmp_path: Path) -> None:
    from t5g import constraints
    from t5g.cli.run import _options, _parser

    def options(*flags: str) -> dict[str, object]:
        return _options(_parser().parse_args(flags))

    assert options("--choice", "a", "--choice", "b")["choices"] == ["a", "b"]
    (tmp_path / "file").write_text("{}")
    for name in ("json_schema", "grammar"):
        flag = f"--{name.replace('_', '-')}"
        assert options(flag, "{}")[name] == options(f"{flag}-file", str(tmp_path / "file"))[name] == "{}"
    assert options("--regex", "a")["regex"] == "a"
    # A function is nothing for a command line.
    assert set(constraints.NAMES) == {"choices", "json_schema", "grammar", "regex", "allowed_tokens"}
    out = run("run", "-p", "text", "--choice", "one", "--choice", "two", "--json", "--logprobs", 2)
    found = json.loads(out.stdout)
    assert found["text"] in ("one", "two")
    assert len(found["token_logprobs"]) == len(found["top_logprobs"]) == len(found["token_ids"])
    wrong = run("run", "-p", "text", "--grammar", "a", "--grammar-file", "b")
    assert (wrong.returncode, b"do not go together" in wrong.stderr) == (2, True)
    wrong = run("run", "-p", "text", "--logit-bias", "nonsense")
    assert (wrong.returncode, b"ID=X" in wrong.stderr) == (2, True)


def test_several_sequences_are_in_the_json() -> None:
    found = json.loads(run("run", MODEL, "-p", "text", "--num-beams", 3, "--num-return-sequences", 2, "--json").stdout)
    assert len(found["sequences"]) == 2
    assert found["sequences"][0]["token_ids"] == found["token_ids"]


def test_json_has_text_ids_and_timings(model: t5g.Model) -> None:
    result = run("run", MODEL, "-p", "text", "-n", 5, "--json")
    found = json.loads(result.stdout)
    expected = model.generate("text", max_new_tokens=5)
    assert found["text"] == expected.text
    assert found["token_ids"] == expected.token_ids
    assert found["finish_reason"] == expected.finish_reason
    assert found["timings"]["n_new_tokens"] == len(expected.token_ids)
    assert found["timings"]["decode_tokens_per_second"] > 0


def test_timings_go_to_standard_error(model: t5g.Model) -> None:
    result = run("run", MODEL, "-p", "text", "-n", 5, "-v")
    assert b"decode" in result.stderr
    assert b"decode" not in result.stdout


def test_special_tokens_may_stay_in_the_output(model: t5g.Model) -> None:
    def generated(seed: int) -> tuple[str, str]:
        out = model.generate("text", temperature=50.0, seed=seed, max_new_tokens=40)
        return out.text, model.tokenizer.decode(out.token_ids, skip_special_tokens=False)

    seed = next(seed for seed in range(1000) if len(set(generated(seed))) == 2)
    expected = generated(seed)[1]
    flags = ["-p", "text", "--temp", 50, "--seed", seed, "-n", 40, "--special-output"]
    assert run("run", MODEL, *flags).stdout.decode() == expected + "\n"
    assert json.loads(run("run", MODEL, *flags, "--json").stdout)["text"] == expected


def test_no_source_and_a_prefix(model: t5g.Model) -> None:
    expected = model.generate([], decoder_prefix="a text", max_new_tokens=5).text.encode() + b"\n"
    assert run("run", MODEL, "--no-source", "--decoder-prefix", "a text", "-n", 5).stdout == expected


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["none.gguf", "-p", "x"], 1, "none.gguf"),
        ([MODEL, "-f", "none.txt"], 1, "none.txt"),
        ([__file__, "-p", "x"], 1, "not a GGUF"),
        ([MODEL, "-p", "x", "-n", "0"], 2, "--max-new-tokens: must"),
        ([MODEL, "-p", "x", "--temp", "-1"], 2, "--temp: must"),
        ([MODEL, "-p", "x", "--image", "a.png"], 1, "--image: "),
        ([MODEL, "-p", "x", "--device", "cuda:99"], 1, "device 'cuda"),
        ([MODEL, "-p", "x", "-t", "0"], 2, "--threads: must"),
        ([MODEL, "-p", "x", "-n", "many"], 2, "invalid int"),
        ([MODEL, "-p", "x", "--no-source"], 2, "-p is part of the source, which --no-source leaves out"),
        ([MODEL, "-f", "x", "--no-source"], 2, "-f is part of the source"),
        ([MODEL, "-f", "-", "-f", "-"], 2, "-f - is given twice"),
        ([MODEL, "-f", "-", "--no-stdin"], 2, "contradict"),
        ([MODEL, "-p", "x", "--resume"], 2, "--resume needs --jsonl"),
        ([MODEL, "-p", "x", "--batch-size", 2], 2, "--batch-size needs --jsonl"),
        ([MODEL, "-p", "x", "--encoding", "utf-9", "-f", __file__], 2, "'utf-9' is not a text encoding"),
        ([MODEL, "--nonsense"], 2, "nonsense"),
        ([MODEL, "-n", 3, "Some text"], 2, "Some text: give the text with -p"),
    ],
    ids=str,
)
def test_failures_are_one_line_and_a_status(arguments: list[object], status: int, message: str) -> None:
    result = run("run", *arguments)
    lines = result.stderr.decode().splitlines()
    assert result.returncode == status
    assert result.stdout == b""
    assert len(lines) == 1
    assert lines[0].startswith("t5g-run: error: ")
    assert message in lines[0]


def test_options_without_effect_are_told_in_a_line_each() -> None:
    result = run("run", MODEL, "-p", "text", "-n", 1, "--top-p", "0.5", "--seed", 3, "--length-penalty", 2)
    assert result.returncode == 0
    sampling, beams = result.stderr.decode().splitlines()
    assert sampling.startswith("t5g-run: warning: --top-p and --seed have no effect: the likeliest token is taken.")
    assert sampling.endswith("Set --temp above 0 to sample.")
    assert beams.startswith("t5g-run: warning: --length-penalty has no effect: there is no beam search.")
    result = run("run", MODEL, "--no-source", "-n", 1, "--special", "--pan-and-scan")
    assert [line.split(" has ")[0] for line in result.stderr.decode().splitlines()] == [
        "t5g-run: warning: --special",
        "t5g-run: warning: --pan-and-scan",
    ]
    assert run("run", MODEL, "-p", "text", "-n", 1, "--temp", "0.5", "--top-p", "0.5", "--seed", 3).stderr == b""


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_ends_with_130() -> None:
    flags = ["-n", "1000000", "--min-new-tokens", "1000000", "--repeat-penalty", "1.5"]
    line = [sys.executable, "-m", "t5g.cli.run", str(MODEL), "-p", "x", *flags]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.decode().splitlines() == ["t5g-run: error: interrupted"]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo terminal")
def test_a_terminal_is_asked_for_sources(model: t5g.Model) -> None:
    import pty

    main, child = pty.openpty()
    line = [sys.executable, "-m", "t5g.cli.run", str(MODEL), "-n", "4"]
    process = subprocess.Popen(line, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.close(child)
    os.write(main, b"first text\n\nsecond text\n\x04")
    out, _ = process.communicate(timeout=60)
    os.close(main)
    assert process.returncode == 0
    for text in ("first text", "second text"):
        assert model.generate(text, max_new_tokens=4).text in out.decode()


def test_info(model: t5g.Model) -> None:
    result = run("info", MODEL)
    assert result.returncode == 0
    assert b"t5gemma2" in result.stdout
    facts = json.loads(run("info", MODEL, "--json", "--tensors").stdout)
    assert facts["size_bytes"] == MODEL.stat().st_size
    assert facts["config"]["encoder"]["hidden_size"] == model.config.encoder.hidden_size
    assert sum(t["n_tensors"] for t in facts["types"].values()) == len(facts["tensors"])
    assert b"token_embd.weight" in run("info", MODEL, "--tensors").stdout
    assert b"bundled.gguf: t5gemma2" in run("info").stdout
    failed = run("info", "none.gguf")
    assert (failed.returncode, failed.stderr.decode().count("\n")) == (1, 1)


def test_bench() -> None:
    arguments = ["--source-tokens", "16", "--new-tokens", 4, "--batch", "1,2", "--repeat", 1]
    facts = json.loads(run("bench", MODEL, *arguments, "--json").stdout)
    assert [(r["test"], r.get("batch")) for r in facts["results"]] == [("encode", None), ("decode", 1), ("decode", 2)]
    assert all(r["tokens_per_second"] > 0 for r in facts["results"])
    assert b"of bandwidth" in run("bench", MODEL, *arguments).stdout
    assert run("bench", MODEL, "--source-tokens", "0").returncode == 2
