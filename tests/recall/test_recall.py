"""Effective context: examples are what they should be, scores and lengths are right, runs go on where they ended."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import t5g
from t5g.cli import eval as command
from t5g.recall import Report, Settings, measure
from t5g.recall.haystack import Haystack, manual
from t5g.recall.measure import ask
from t5g.recall.tasks import TASKS, Maker

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
    assert haystack.n_tokens < sum(map(len, sentences)) <= 2 * haystack.n_tokens
    with pytest.raises(ValueError, match="haystack: has 1 sentences, expected 20 or more"):
        Haystack(model.tokenizer, "Just one.")


@pytest.mark.parametrize("task", TASKS)
def test_examples_have_the_length_and_hold_the_answer(model: t5g.Model, task: str) -> None:
    maker = Maker(model, Haystack(model.tokenizer, PROSE), task)
    for length in (700, 1500):
        example = maker.make(length, 0.5, "a seed")
        assert length - 60 < len(example.source_ids) <= length
        text = model.tokenizer.decode(example.source_ids)
        assert all(f" {answer}" in text for answer in example.answers)
        assert set(example.answers) < set(example.choices)
        assert text.rstrip().endswith("?")
        assert example == maker.make(length, 0.5, "a seed")
        assert example != maker.make(length, 0.5, "another")
    with pytest.raises(ValueError, match="lengths: 96 tokens are too few"):
        Maker(model, Haystack(model.tokenizer, PROSE), "multikey").make(96, 0.5, "a seed")


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
    assert "effective length: 512 tokens" in report.text()
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
    lines = file.read_text().splitlines()
    assert len(lines) == 5
    file.write_text("\n".join(lines[:3]) + '\n{"key": "cut in the mid')
    assert measure(model, settings, haystack=PROSE, resume=file) == whole
    assert file.read_text().splitlines() == lines
    with pytest.raises(ValueError, match="is not of a run with these settings"):
        measure(model, Settings(lengths=(200,)), haystack=PROSE, resume=file)


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
    with pytest.raises(SystemExit) as stopped:
        command.main(["recall", str(GOLDEN), "--lengths", "many"])
    assert stopped.value.code == 2
    assert "is no list of lengths such as 1k,4k,16384" in capsys.readouterr().err


def test_pairs_with_and_without_their_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"source": "ab", "target": "cd"}\n')
    results = []
    for words in (["pairs"], []):
        arguments = [*words, str(GOLDEN), str(tmp_path / "pairs.jsonl"), "--no-generate", "--json"]
        assert command.main(arguments) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0] == results[1]
    assert results[0]["n_pairs"] == 1


def test_a_heat_map(model: t5g.Model, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = Report.of("single", rows({128: 1.0, 256: 0.5}, generate=0.25))
    report.plot(tmp_path / "map.png", "a title")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_a_map_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 't5g\[plot\]'"):
        Report.of("single", rows({128: 1.0})).plot(tmp_path / "map.png", "a title")
