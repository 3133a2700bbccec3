"""Options that have no effect with others of the same line are wrong usage, whatever their value: nothing is begun."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import ended

MODEL = str(Path(__file__).parents[1] / "goldens" / "v2-gqa-w5.gguf")
PAIRS = ["eval", MODEL, "PAIRS", "--no-generate"]
RUN = ["run", MODEL]
CHECK = ["bench", MODEL, "--check"]
CONVERT = ["convert", ".", "-o", "out.gguf"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*PAIRS, "--outputs", "OLD"], "--outputs does not go with --no-generate: no text is generated"),
        ([*PAIRS, "-n", "256"], "--max-new-tokens does not go with --no-generate"),
        ([*PAIRS, "--max-new-tokens", "9"], "--max-new-tokens does not go with --no-generate"),
        ([*PAIRS, "--num-beams", "1"], "--num-beams does not go with --no-generate"),
        (["eval", "pairs", *PAIRS[1:], "--num-beams", "3"], "--num-beams does not go with --no-generate"),
        (["eval", MODEL, "PAIRS", "--seed", "0"], "--seed needs --limit N"),
        (["eval", "recall", MODEL, "--errors", "replace"], "--errors needs --haystack FILE"),
        (["eval", "recall", MODEL, "--encoding", "latin-1"], "--encoding needs --haystack FILE"),
        ([*RUN, "-p", "x", "--forget"], "--forget needs a terminal"),
        ([*RUN, "-f", "OLD", "--forget"], "--forget needs a terminal"),
        ([*RUN, "--jsonl", "-f", "PAIRS", "--forget"], "--forget needs a terminal"),
        ([*RUN, "--no-source", "--system", "x"], "--system says how the source is read, which --no-source leaves out"),
        ([*RUN, "--no-source", "--raw"], "--raw says how the source is read"),
        ([*RUN, "--no-source", "--truncation", "error"], "--truncation says how the source is read"),
        ([*RUN, "-p", "x", "--raw", "--system", "x"], "--system does not go with --raw"),
        ([*RUN, "--jsonl", "-f", "PAIRS", "--raw", "--system", "x"], "--system does not go with --raw"),
        (
            [*RUN, "-p", "x", "--source-cache", "keys", "--source-cache-budget", "512"],
            "--source-cache-budget does not go with --source-cache keys",
        ),
        (
            ["eval", "recall", MODEL, "--source-cache", "latent", "--source-cache-budget", "9"],
            "--source-cache-budget does not go with --source-cache latent",
        ),
        ([*CHECK, "--json"], "--json does not go with --check"),
        ([*CHECK, "--image", "OLD"], "--image does not go with --check"),
        ([*CHECK, "--batch", "1"], "--batch does not go with --check"),
        ([*CHECK, "--new-tokens", "64"], "--new-tokens does not go with --check"),
        ([*CHECK, "--source-tokens", "9"], "--source-tokens does not go with --check"),
        ([*CHECK, "--repeat", "5"], "--repeat does not go with --check"),
        ([*CHECK, "--lora", "OLD"], "--lora does not go with --check"),
        ([*CONVERT, "--adapter", "--pure"], "--pure does not go with --adapter: it is of a whole model"),
        ([*CONVERT, "--adapter", "--no-vision"], "--no-vision does not go with --adapter"),
        ([*CONVERT, "--adapter", "--vision-type", "f32"], "--vision-type does not go with --adapter"),
        ([*CONVERT, "--adapter", "--encoder-only"], "--encoder-only does not go with --adapter"),
        ([*CONVERT, "--adapter", "--no-tokenizer"], "--no-tokenizer does not go with --adapter"),
        ([*CONVERT, "--no-vision", "--vision-type", "f32"], "--vision-type does not go with --no-vision"),
    ],
    ids=lambda value: " ".join(word for word in value if word != MODEL) if isinstance(value, list) else "",
)
def test_options_that_contradict_each_other_are_wrong_usage(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if words[0] == "convert":
        pytest.importorskip("gguf")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "OLD").write_text("old")
    (tmp_path / "PAIRS").write_text('{"source": "a", "target": "b"}\n')
    assert ended(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f": error: {message}" in err
    assert err.endswith(" --help)\n")
    assert err.count("\n") == 1
    assert (tmp_path / "OLD").read_text() == "old"


def test_more_than_a_model_takes_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("bench", MODEL, "--source-tokens", "4,999999") == 1
    source = capsys.readouterr()
    assert ended("bench", MODEL, "--source-tokens", "4", "--new-tokens", "999999", "--json") == 1
    target = capsys.readouterr()
    assert (source.out, target.out) == ("", "")
    assert "t5g-bench: error: --source-tokens: 999,999 tokens, but the model's limit is " in source.err
    assert source.err.endswith("Ask for fewer, or raise the limit with --max-source-tokens.\n")
    assert "t5g-bench: error: --new-tokens: 999,999 tokens, but the model's limit is " in target.err
    assert target.err.endswith("with --max-target-tokens.\n")


def test_as_many_as_a_model_takes_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["bench", MODEL, "--max-target-tokens", "7", "--source-tokens", "4", "--repeat", "1"]
    assert ended(*line, "--new-tokens", "7") == 0
    capsys.readouterr()
    assert ended(*line, "--new-tokens", "8") == 1
    assert "--new-tokens: 8 tokens, but the model's limit is 7." in capsys.readouterr().err
