"""How commands end: 2 where the command line alone is to blame, 1 where a file, a model or the machine is."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import ended

MODEL = str(Path(__file__).parents[1] / "goldens" / "v2-gqa-w5.gguf")
RUN = ["run", MODEL, "-p", "x"]


def needs(command: str) -> None:
    """Skip where the package of a command's extra is not installed."""
    for package in {"serve": ["uvicorn"], "quantize": ["gguf"], "convert": ["gguf"]}.get(command, []):
        pytest.importorskip(package)


def lines_of(folder: Path) -> str:
    (folder / "pairs.jsonl").write_text('{"source": "a", "target": "b"}\n')
    return str(folder / "pairs.jsonl")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*RUN, "--threads", "0"], "--threads: must be an integer of at least 1, got 0"),
        ([*RUN, "--device", "nonsense"], "--device is 'nonsense', expected one of 'auto'"),
        ([*RUN, "--kv-type", "q3"], "argument --kv-type: invalid choice: 'q3'"),
        ([*RUN, "--max-source-tokens", "0"], "--max-source-tokens: must be an integer of at least 1"),
        ([*RUN, "--temp", "-1"], "--temp: must be at least 0 and finite, got -1."),
        ([*RUN, "--top-p", "2"], "--top-p: must be at least 0 and at most 1, got 2."),
        ([*RUN, "-n", "0"], "--max-new-tokens: must be at least 1, got 0."),
        ([*RUN, "--min-new-tokens", "9999"], "--min-new-tokens: must be at most"),
        ([*RUN, "--repeat-penalty", "0"], "--repeat-penalty: must be more than 0"),
        ([*RUN, "--no-repeat-ngram", "-1"], "--no-repeat-ngram: must be at least 0"),
        ([*RUN, "--num-beams", "0"], "--num-beams: must be at least 1"),
        ([*RUN, "--num-return-sequences", "3"], "--num-return-sequences: greedy decoding finds one sequence"),
        ([*RUN, "--bad-word", ""], "argument --bad-word: must not be empty"),
        ([*RUN, "--suppress-tokens", "99999999"], "--suppress-tokens: token 99999999 is outside"),
        ([*RUN, "--eos-token", "-5"], "--eos-token: token ids are never negative"),
        ([*RUN, "--forced-bos", "99999999"], "--forced-bos: token 99999999 is outside"),
        ([*RUN, "--logit-bias", "x"], "argument --logit-bias: invalid ID=X value"),
        ([*RUN, "--encoding", "nonsense", "-f", __file__], "--encoding: 'nonsense' is not a text encoding"),
        ([*RUN, "--lora", ":2"], "--lora :2: names no file"),
        ([*RUN, "--lora", f"{MODEL}:nan"], "--lora: must be a finite number"),
        ([*RUN, "--json-schema", "{"], "--json-schema: is not JSON"),
        (["run", "--jsonl", "-f", "/dev/null", "--batch-size", "0"], "--batch-size: must be an integer of at least 1"),
        (["run", "--jsonl", "-f", "/dev/null", "--top-p", "2"], "--top-p: must be"),
        (["embed", MODEL, "-f", __file__, "--layer", "99"], "--layer: must be from"),
        (["embed", MODEL, "-f", __file__, "--batch-size", "0"], "--batch-size must be 1 or more"),
        (["embed", MODEL, "-f", __file__, "-o", "x.txt"], "--output is 'x.txt'"),
        (["embed", MODEL, "-f", __file__, "--threads", "-1"], "--threads: must be"),
        (["bench", MODEL, "--threads", "0"], "--threads: must be"),
        (["bench", MODEL, "--source-tokens", "x"], "--source-tokens is 'x'"),
        (["eval", MODEL, "PAIRS", "--num-beams", "0"], "--num-beams: must be"),
        (["eval", "pairs", MODEL, "PAIRS", "-n", "0"], "--max-new-tokens: must be"),
        (["eval", "pairs", MODEL, "PAIRS", "--limit", "0"], "--limit is 0"),
        (["eval", "recall", MODEL, "--depths", "0"], "--depths: must be 1 or more"),
        (["eval", "recall", MODEL, "--lengths", "5"], "--lengths: must be 96 tokens or more"),
        (["eval", "recall", MODEL, "--device", "nonsense"], "--device is 'nonsense'"),
        (["eval", MODEL], "the following arguments are required: PAIRS.jsonl"),
        (["info", MODEL, "--nonsense"], "unrecognized arguments: --nonsense"),
        (["quantize", MODEL, "out.gguf", "q9"], "unknown type 'q9'"),
        (["quantize", MODEL, "out.gguf", "q8_0", "--threads", "0"], "--threads is 0"),
        (["convert", ".", "-o", "out.gguf", "--type", "q9"], "unknown type 'q9'"),
        (["convert", "."], "the following arguments are required: -o/--output"),
        (["serve", MODEL, "--threads", "0"], "--threads: must be"),
        (["serve", MODEL, "--device", "nonsense"], "--device is 'nonsense'"),
        (["serve", MODEL, "--api-key", " x"], "--api-key: must be ASCII characters without spaces"),
    ],
    ids=lambda value: " ".join(word for word in value if word not in RUN) if isinstance(value, list) else "",
)
def test_a_wrong_value_is_wrong_usage(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs(words[0])
    monkeypatch.chdir(tmp_path)
    words = [lines_of(tmp_path) if word == "PAIRS" else word for word in words]
    assert ended(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"t5g-{words[0]}")
    assert f": error: {message}" in err
    assert err.endswith(" --help)\n")
    assert err.count("\n") == 1


PATHS = [
    ["run", "", "-p", "x"],
    [*RUN, "-f", ""],
    [*RUN, "-o", ""],
    [*RUN, "--image", ""],
    [*RUN, "--lora", ""],
    [*RUN, "--json-schema-file", ""],
    [*RUN, "--stop", ""],
    [*RUN, "--choice", ""],
    [*RUN, "--regex", ""],
    ["embed", MODEL, "-f", ""],
    ["embed", MODEL, "-f", __file__, "-o", ""],
    ["bench", MODEL, "--image", ""],
    ["eval", MODEL, ""],
    ["eval", MODEL, "x", "--outputs", ""],
    ["eval", MODEL, "x", "--reference", ""],
    ["eval", "recall", MODEL, "--plot", ""],
    ["info", ""],
    ["quantize", MODEL, "", "q8_0"],
    ["convert", "", "-o", "x"],
    ["convert", ".", "-o", ""],
    ["convert", ".", "-o", "x", "--base", ""],
    ["serve", "--host", ""],
    ["serve", "--served-name", ""],
    ["serve", "--cors-origin", ""],
]


@pytest.mark.parametrize("words", PATHS, ids=lambda words: " ".join(word for word in words if word not in RUN))
def test_an_empty_text_is_no_value(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(*words) == 2
    assert "must not be empty" in capsys.readouterr().err


def test_texts_that_may_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("run", MODEL, "-p", "", "--decoder-prefix", "", "--no-stdin", "-n", "1", "--json") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "none.gguf", "-p", "x"], "none.gguf: no such file."),
        ([*RUN, "-f", "none"], "none: No such file"),
        ([*RUN, "--image", "none"], "this file has no vision tower"),
        ([*RUN, "--lora", "none"], "none: no such file."),
        ([*RUN, "-o", "none/out"], "none: no such folder to write out to"),
        ([*RUN, "--max-source-tokens", "1"], "the model's limit is 1. Shorten it, or cut it with --truncation;"),
        (["embed", MODEL, "-f", "none"], "none: No such file"),
        (["bench", MODEL, "--source-tokens", "9999999", "--new-tokens", "1"], "the model's limit is"),
        (["eval", MODEL, "none"], "none: No such file"),
        (["eval", "recall", "none.gguf"], "none.gguf: no such file."),
        (["info", "none.gguf"], "none.gguf: no such file."),
        (["quantize", "none.gguf", "out", "q8_0"], "none.gguf: no such file."),
        (["quantize", MODEL, "none/out", "q8_0"], "none: no such folder to write out to"),
        (["convert", "none", "-o", "out"], "none: "),
        (["serve", "none.gguf"], "none.gguf: no such file."),
    ],
    ids=lambda value: " ".join(word for word in value if word not in RUN) if isinstance(value, list) else "",
)
def test_what_fails_while_working_is_a_failure(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs(words[0])
    monkeypatch.chdir(tmp_path)
    assert ended(*words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"t5g-{words[0]}")
    assert ": error: " in err
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_variable_of_the_environment_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T5G_DEVICE", "nonsense")
    assert ended(*RUN) == 1
    assert capsys.readouterr().err.startswith("t5g-run: error: T5G_DEVICE is 'nonsense', expected one of")
