"""Effective context: examples are what they should be, scores and lengths are right, runs go on where they ended."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from t5g.cli import eval as command
from t5g.recall import Report, Settings, measure
from t5g.recall.finished import header_of
from t5g.recall.haystack import Haystack, manual, sentences_of
from t5g.recall.measure import ask
from t5g.recall.tasks import TASKS, Maker
from t5g.truncation import Truncation

GOLDEN = Path(__file__).parents[1] / "goldens" / "v2-gqa-w5.gguf"
PROSE = " ".join(f"Sentence number {i} says nothing of importance." for i in range(200))


@pytest.fixture(scope="module")
def model() -> Iterator[t5g.Model]:
    with t5g.Model(GOLDEN) as model:
        yield model


def test_the_manual_is_prose() -> None:
    text = manual()
    assert len(text) > 200_000
    assert text.count(". ") > 1500
    assert "  " not in text


def test_a_haystack_goes_round(model: t5g.Model) -> None:
    haystack = Haystack(model.tokenizer, PROSE)
    sentences = haystack.draw(2 * haystack.n_tokens, random.Random(0))
    assert sum(map(len, sentences)) == 2 * haystack.n_tokens
    with pytest.raises(ValueError, match="haystack: has 1 sentences, expected 20 or more"):
        Haystack(model.tokenizer, "Just one.")


@pytest.mark.parametrize("task", TASKS)
def test_examples_have_the_length_and_hold_the_answer(model: t5g.Model, task: str) -> None:
    maker = Maker(model, Haystack(model.tokenizer, PROSE), task)
    for length in (700, 1500):
        example = maker.make(length, 0.5, "a seed")
        assert length - (10 if task == "words" else 0) <= len(example.source_ids) <= length  # ends with a whole word
        text = model.tokenizer.decode(example.source_ids)
        assert all(f" {answer}" in text for answer in example.answers)
        assert set(example.answers) < set(example.choices)
        assert text.rstrip().endswith("?")
        assert example == maker.make(length, 0.5, "a seed")
        assert example != maker.make(length, 0.5, "another")
    with pytest.raises(ValueError, match="lengths: 96 tokens are too few"):
        Maker(model, Haystack(model.tokenizer, PROSE), "multikey").make(96, 0.5, "a seed")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two, e.g. this. And\n  three? (Four!)", ["One.", "Two, e.g. this.", "And three?", "(Four!)"]),
        ("Эй. Она ушла. Über allem.", ["Эй.", "Она ушла.", "Über allem."]),
        ("今日は雨。明日は？はい。", ["今日は雨。", "明日は？", "はい。"]),
        ("A title\n\nA line\n\nand its end", ["A title", "A line and its end"]),
        ("", []),
    ],
)
def test_sentences_of_any_script(text: str, sentences: list[str]) -> None:
    assert sentences_of(text) == sentences


def test_sentences_longer_than_a_source_are_cut(model: t5g.Model) -> None:
    text = (". ".join("X" + " word without end" * 200 for _ in range(20))) + "."
    example = Maker(model, Haystack(model.tokenizer, text), "single").make(500, 0.5, "a seed")
    assert len(example.source_ids) == 500
    assert "The secret word" in model.tokenizer.decode(example.source_ids)


def test_needles_lie_where_they_should(model: t5g.Model) -> None:
    maker = Maker(model, Haystack(model.tokenizer, PROSE), "single")
    for depth in (0.0, 0.5, 1.0):
        text = model.tokenizer.decode(maker.make(3000, depth, "a seed").source_ids)
        assert text.index("The secret word") / text.index("What is") == pytest.approx(depth, abs=0.05)


def rows(scores: dict[int, float], **more: object) -> list[dict[str, object]]:
    return [{"length": n, "depth": d, "choice": s, "logprob": -1.0, **more} for n, s in scores.items() for d in (0, 1)]


def test_effective_lengths() -> None:
    report = Report.of("single", rows({128: 1.0, 256: 0.9, 512: 0.86, 1024: 0.84, 2048: 1.0}))
    assert report.effective_length == {"choice": 512}
    assert report.ruler_length == {"choice": 512}
    assert Report.of("single", rows({128: 0.8, 256: 0.7, 512: 0.5})).effective_length == {"choice": 256}
    assert Report.of("single", rows({128: 0.8, 256: 0.7, 512: 0.5})).ruler_length == {"choice": 0}
    assert Report.of("single", rows({128: 0.2, 256: 0.2})).effective_length == {"choice": 0}  # no better than chance
    assert "effective length: 512 tokens, " in report.text()
    assert "effective length: 256 tokens or more, " in Report.of("single", rows({128: 0.8, 256: 0.7})).text()
    assert json.loads(json.dumps(report.as_dict()))["tables"]["choice"][0]["score"] == 100


def test_what_a_type_loses() -> None:
    lossy = rows({128: 0.9, 256: 0.5}, reference={"choice": 1.0, "logprob": -0.5})
    report = Report.of("single", lossy)
    assert report.reference == {"choice": {128: pytest.approx(10), 256: 50}, "logprob": {128: 0.5, 256: 0.5}}
    assert "less than the reference" in report.text()


def test_runs_go_on_where_they_ended(model: t5g.Model, tmp_path: Path) -> None:
    settings = Settings(lengths=(200, 300), n_depths=2, n_samples=1)
    told: list[int] = []
    file = tmp_path / "done.jsonl"
    whole = measure(model, settings, haystack=PROSE, resume=file, progress=told.append)
    assert (whole.n_examples, sum(told)) == (4, 4)
    assert set(whole.tables) == {"choice", "generate"}
    text = file.read_bytes()
    lines = text.splitlines(keepends=True)
    assert len(lines) == 5
    # Cut anywhere: in a record, in a character, before the last line feed, in the first line; or nothing there.
    for kept in (b"".join(lines[:3]) + '{"key": "é'.encode()[:-1], text[:-1], lines[0][:20], lines[0][:-1], b""):
        file.write_bytes(kept)
        assert measure(model, settings, haystack=PROSE, resume=file) == whole
        assert file.read_bytes() == text


def test_a_file_serves_other_lengths_depths_and_samples(model: t5g.Model, tmp_path: Path) -> None:
    file = tmp_path / "done.jsonl"
    few, more = (Settings(lengths=n, n_depths=1, n_samples=1, generate=False) for n in ((200,), (200, 300, 200)))
    first = measure(model, few, haystack=PROSE, resume=file)
    told: list[int] = []
    assert measure(model, more, haystack=PROSE, resume=file, progress=told.append).n_examples == 2
    assert sum(told) == more.n_examples() == 2
    assert len(file.read_text().splitlines()) == 3
    assert measure(model, few, haystack=PROSE, resume=file) == first


def test_a_file_of_another_run_is_refused_and_kept(model: t5g.Model, tmp_path: Path) -> None:
    file = tmp_path / "done.jsonl"
    settings = Settings(lengths=(200,), n_depths=1, n_samples=1, generate=False)
    measure(model, settings, haystack=PROSE, resume=file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"not of a run with these settings: seed is 0, expected 1\."):
        measure(model, replace(settings, seed=1), haystack=PROSE, resume=file)
    with pytest.raises(ValueError, match="settings: haystack is"):
        measure(model, settings, haystack=PROSE + " More.", resume=file)
    with pytest.raises(ValueError, match="settings: reference is null, expected "):
        measure(model, settings, haystack=PROSE, resume=file, reference=model)
    options: list[dict[str, Any]] = [{"kv_type": "q8_0"}, {"source_cache": "latent"}, {"source_cache_budget": 1}]
    for option in options:
        ((name, value),) = option.items()
        with (
            t5g.Model(GOLDEN, **option) as other,
            pytest.raises(ValueError, match=f"settings: {name} is .*, expected {json.dumps(value)}"),
        ):
            measure(other, settings, haystack=PROSE, resume=file)
    assert file.read_bytes() == before
    for content in (b"some text\n", bytes(range(256)), b"[]\n", b'{"settings": 1}\n'):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is no file of finished examples"):
            measure(model, settings, haystack=PROSE, resume=file)
        assert file.read_bytes() == content
    file.write_bytes(before + b"{}\n")
    with pytest.raises(ValueError, match="line 3: is no finished example"):
        measure(model, settings, haystack=PROSE, resume=file)
    copy = tmp_path / "model.gguf"
    shutil.copy(GOLDEN, copy)
    with t5g.Model(copy) as other, pytest.raises(ValueError, match="is the input"):
        measure(other, settings, haystack=PROSE, resume=copy)


def test_a_file_says_where_its_examples_ran_and_how_windows_were_read() -> None:
    with t5g.Model(GOLDEN.with_name("v1-mha-w4.gguf"), encoder_window="inclusive", device="cpu") as first:
        header = header_of(Settings(lengths=(200,)), first, None, PROSE)
    assert (header["device"], header["encoder_window"]) == ("cpu", "inclusive")


def test_a_reference_with_another_vocabulary(model: t5g.Model) -> None:
    trained = Path(__file__).parents[1] / "data" / "recall.gguf"
    with t5g.Model(trained) as other, pytest.raises(ValueError, match="reference: has another vocabulary"):
        measure(model, Settings(lengths=(200,)), haystack=PROSE, reference=other)


def test_a_model_that_knows_the_answer_has_all_points(model: t5g.Model) -> None:
    class Knowing:
        """Finds the answer likelier than anything else, and writes it."""

        tokenizer = model.tokenizer

        def __init__(self, answers: tuple[str, ...]) -> None:
            self.answers = answers

        def encode(self, ids: list[int]) -> list[int]:
            return ids

        def score_batch(self, sources: list[object], targets: list[list[int]]) -> list[t5g.Score]:
            return [self.score(target) for target in targets]

        def score(self, target: list[int]) -> t5g.Score:
            text = self.tokenizer.decode(target)
            good = any(text.endswith(f" {answer}") for answer in self.answers)
            return t5g.Score(0.0, np.full(len(target), -0.1 if good else -9.0, np.float32), target)

        def generate(self, source: object, **_: object) -> object:
            from types import SimpleNamespace

            return SimpleNamespace(text=f" {' and '.join(self.answers)}.")

    for task in TASKS:
        example = Maker(model, Haystack(model.tokenizer, PROSE), task).make(700, 0.3, "a seed")
        found = ask(Knowing(example.answers), example, generate=True)  # type: ignore[arg-type]
        assert (found["choice"], found["generate"]) == (1, 1)
        other = ask(Knowing(("nothing",)), example, generate=True)  # type: ignore[arg-type]
        assert other["choice"] < 1
        assert other["generate"] == 0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"task": "none"}, "task: must be one of single, multikey, multivalue, words, got 'none'"),
        ({"n_depths": 0}, "n_depths: must be 1 or more, got 0"),
        ({"lengths": (50,)}, "lengths: must be 96 tokens or more each"),
        ({"lengths": ()}, "lengths: must be"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Settings(**settings)  # type: ignore[arg-type]


# ---- The command ----


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prose.txt").write_text(PROSE)
    more = ["--haystack", str(tmp_path / "prose.txt"), "--depths", "2", "--samples", "1", "--no-generate"]
    assert command.main(["recall", str(GOLDEN), "--lengths", "200,0.5k", *more]) == 0
    out = capsys.readouterr().out
    assert "answers preferred to wrong ones, % (4 examples)" in out
    assert "      512" in out
    # Above the file's limit of 4,096 too, and beside a reference.
    more += ["--depths", "1", "--type-reference", str(GOLDEN), "--json"]
    assert command.main(["recall", str(GOLDEN), "--lengths", "4500", *more]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tables"]["choice"][0]["length"] == 4500
    assert found["reference"]["logprob"] == {"4500": 0}
    assert command.main(["recall", str(GOLDEN), "--lengths", "200", "--haystack", str(tmp_path / "none")]) == 1


def lengths_of(out: str) -> list[int]:
    return [row["length"] for row in json.loads(out)["tables"]["choice"]]


def test_usual_lengths_are_those_that_the_file_allows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prose.txt").write_text(PROSE)
    more = ["--haystack", str(tmp_path / "prose.txt"), "--depths", "1", "--samples", "1", "--no-generate", "--json"]
    assert command.main(["recall", str(GOLDEN), *more]) == 0
    out, err = capsys.readouterr()
    assert lengths_of(out) == [1024, 4096]
    assert err == (
        "t5g-eval recall: note: sources of 16,384 and 65,536 tokens are left out: the file's limit is 4,096. --lengths "
        "measures longer ones too\n"
    )


def test_lengths_for_which_there_is_no_memory_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T5G_DEVICE", "cpu")  # others say themselves what they have
    (tmp_path / "prose.txt").write_text(PROSE)
    more = ["--haystack", str(tmp_path / "prose.txt"), "--depths", "1", "--samples", "1", "--no-generate", "--json"]
    assert command.main(["recall", str(GOLDEN), "--lengths", "200,2000000k", *more]) == 0
    out, err = capsys.readouterr()
    assert lengths_of(out) == [200]
    assert err.startswith("t5g-eval recall: warning: sources of 2,048,000,000 tokens are left out: out of memory")
    assert "--source-cache latent, --kv-type q8_0." in err
    assert err.count("\n") == 1
    assert command.main(["recall", str(GOLDEN), "--lengths", "2000000k", *more]) == 1
    assert "of memory are free" in capsys.readouterr().err


@pytest.mark.parametrize("lengths", ["many", "infk", "nank", "1k,", ""])
def test_lengths_that_are_none(capsys: pytest.CaptureFixture[str], lengths: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["recall", str(GOLDEN), "--lengths", lengths])
    assert stopped.value.code == 2
    assert "is no list of lengths such as 1k,4k,16384" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--lengths", "200,-1", "--lengths: must be 96 tokens or more each, got -1 (see t5g-eval recall --help)"),
        ("--depths", "0", "--depths: must be 1 or more, got 0"),
        ("--samples", "0", "--samples: must be 1 or more, got 0"),
    ],
)
def test_errors_name_the_options(capsys: pytest.CaptureFixture[str], option: str, value: str, text: str) -> None:
    assert command.main(["recall", str(GOLDEN), option, value]) == 2
    assert f"t5g-eval recall: error: {text}" in capsys.readouterr().err


def test_what_cannot_be_written_is_said_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t5g.recall.measure", None)
    run = ["recall", str(GOLDEN), "--lengths", "200"]
    assert command.main([*run, "--plot", str(tmp_path / "none" / "x.png")]) == 1
    assert "no such folder to write x.png to" in capsys.readouterr().err
    assert command.main([*run, "--resume", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err
    assert command.main([*run, "--resume", str(tmp_path / "x"), "--plot", str(tmp_path / "x")]) == 2
    assert "--resume and --plot both name" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert command.main([*run, "--plot", str(tmp_path / "x.png")]) == 1
    assert "pip install 't5g[plot]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_says_how_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("t5g.recall.measure", interrupted)
    run = ["recall", str(GOLDEN), "--lengths", "200"]
    assert command.main([*run, "--resume", str(tmp_path / "x")]) == 130
    assert "interrupted; the same command goes on after what is done" in capsys.readouterr().err


def test_pairs_with_and_without_their_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"source": "ab", "target": "cd"}\n')
    results = []
    for words in (["pairs"], []):
        arguments = [*words, str(GOLDEN), str(tmp_path / "pairs.jsonl"), "--no-generate", "--json"]
        assert command.main(arguments) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0] == results[1]
    assert results[0]["n_pairs"] == 1


def test_pairs_are_cut_where_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [{"source": "ab " * 30, "target": "cd"}, {"source": "ab", "target": "cd"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    run = ["pairs", str(GOLDEN), str(tmp_path / "pairs.jsonl"), "--max-source-tokens", "9", "-n", "3", "--json"]
    assert command.main(run) == 1
    assert "cut it with --truncation" in capsys.readouterr().err
    losses = {}
    ways: list[Truncation] = ["end", "start"]
    for what in ways:
        assert command.main([*run, "--truncation", what, "--reference", str(GOLDEN)]) == 0
        out, err = capsys.readouterr()
        found = json.loads(out)
        losses[what] = found["loss"]
        with t5g.Model(GOLDEN, max_source_tokens=9) as model:
            sources = [model.encode(pair["source"], truncation=what) for pair in pairs]
            scores = [model.score(source, "cd", add_eos=True) for source in sources]
        assert found["loss"] == pytest.approx(-sum(s.logprob for s in scores) / sum(len(s.token_ids) for s in scores))
        assert found["kl_divergence"] == pytest.approx(0, abs=1e-6)
        n_cut = sources[0].n_truncated
        assert (found["n_truncated_sources"], found["n_truncated_tokens"]) == (1, n_cut)
        part = {"end": "end", "start": "beginning"}[what]
        told = f"{n_cut} tokens were cut from the {part} of 1 of 2 sources, which are longer than 9"
        assert err == f"t5g-eval: warning: {told}\n"
    assert losses["end"] != losses["start"]


def test_a_heat_map(model: t5g.Model, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = Report.of("single", rows({128: 1.0, 256: 0.5}, generate=0.25))
    report.plot(tmp_path / "map.png", "a title")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_a_map_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 't5g\[plot\]'"):
        Report.of("single", rows({128: 1.0})).plot(tmp_path / "map.png", "a title")
