"""Options of the model: every command that opens one has those that mean something to it, and hands them on."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import t5g
from t5g.cli import _model, _recall, bench, embed, run, serve
from t5g.cli import eval as pairs

GOLDEN = Path(__file__).parents[1] / "goldens" / "v1-mha-w4.gguf"
ALL = set(inspect.signature(t5g.Model).parameters) - {"path"}
OF_DECODERS = {"kv_type", "source_cache", "source_cache_budget", "max_target_tokens"}
GIVEN = {
    "--threads": "3",
    "--device": "cpu",
    "--kv-type": "q8_0",
    "--source-cache": "latent",
    "--source-cache-budget": "7",
    "--max-source-tokens": "5",
    "--max-target-tokens": "6",
    "--encoder-window": "inclusive",
    "--load": "copy",
}
TAKEN = {
    "n_threads": 3,
    "device": "cpu",
    "kv_type": "q8_0",
    "source_cache": "latent",
    "source_cache_budget": 7 << 20,
    "max_source_tokens": 5,
    "max_target_tokens": 6,
    "encoder_window": "inclusive",
    "load": "copy",
}


def test_every_option_of_a_model_has_a_flag() -> None:
    assert set(_model._DESTINATIONS) == set(TAKEN) == ALL


@pytest.mark.parametrize(
    ("command", "words", "missing"),
    [
        (run, [], set()),
        (serve, [], set()),
        (bench, [], set()),
        (pairs, ["m.gguf", "pairs.jsonl"], set()),
        (_recall, ["m.gguf"], {"max_source_tokens", "max_target_tokens"}),  # which its lengths say
        (embed, [], OF_DECODERS),
    ],
    ids=["run", "serve", "bench", "eval pairs", "eval recall", "embed"],
)
def test_every_command_takes_what_means_something_to_it(
    command: ModuleType, words: list[str], missing: set[str]
) -> None:
    parser = command.parser() if command is _recall else command._parser()
    flags = {name: flag for name, flag in zip(TAKEN, GIVEN, strict=True) if name not in missing}
    line = [word for flag in flags.values() for word in (flag, GIVEN[flag])]
    arguments = parser.parse_args([*words, *line, "--lora", "a.gguf:0.5"])
    assert _model.options(arguments) == {name: value for name, value in TAKEN.items() if name not in missing}
    assert arguments.lora == ["a.gguf:0.5"]


def test_what_is_given_reaches_the_model(tmp_path: Path) -> None:
    """Of embed, whose vectors another window changes: they are not gone on with either."""
    texts, out = tmp_path / "texts", tmp_path / "v.npy"
    texts.write_text("a text of more words than five\n")
    command = [sys.executable, "-m", "t5g.cli.embed", "-f", texts, "-o", out]
    done = subprocess.run([*command, "--max-source-tokens", "5"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "the model's limit is 5" in done.stderr
    again = [*command, "--resume", "--encoder-window", "inclusive"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "is of another model, other texts or options" in done.stderr) == (1, True)


def test_memory_for_sources_is_never_negative(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run.main(["--source-cache-budget", "-1"])
    assert capsys.readouterr().err.startswith("t5g-run: error: argument --source-cache-budget: must be 0 or more")


def test_a_model_of_a_bad_adapter_is_closed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    closed: list[t5g.Model] = []
    monkeypatch.setattr(t5g.Model, "close", lambda self: closed.append(self))
    arguments = run._parser().parse_args([str(GOLDEN), "--lora", str(tmp_path / "none.gguf")])
    with pytest.raises(FileNotFoundError):
        _model.opened(arguments)
    assert len(closed) == 1


def test_the_server_reads_as_long_sources_as_it_was_told_to() -> None:
    pytest.importorskip("starlette")
    from starlette.testclient import TestClient
    from t5g.server.app import Server
    from t5g.server.settings import Settings

    arguments = serve._parser().parse_args(["--max-source-tokens", "4", "--source-cache", "latent"])
    with _model.opened(arguments) as model, TestClient(Server(model, Settings("m")).app) as client:
        client.headers["Host"] = "127.0.0.1"
        answer = client.post("/v1/completions", json={"prompt": "a text of more words than four"})
        assert answer.status_code == 400
        assert "the model's limit is 4" in json.dumps(answer.json())
        assert client.post("/v1/completions", json={"prompt": "a", "max_tokens": 2}).status_code == 200
