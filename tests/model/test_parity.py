"""t5g equals the committed goldens: hidden states, logits, greedy and beam-search ids that transformers computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import t5g
from support.oracle import relative_error, runs_on_a_real_gpu, tolerance

FOLDER = Path(__file__).parents[1] / "goldens"
BEAMS = {"num_beams": 4}


@dataclass
class Golden:
    path: Path
    model: t5g.Model
    expected: dict[str, np.ndarray]

    @property
    def tolerance(self) -> float:
        return tolerance(self.model)

    def ids(self, name: str) -> list[int]:
        return self.expected[name].tolist()

    @property
    def sources(self) -> list[list[int]]:
        return [self.ids(name) for name in sorted(self.expected) if name.startswith("source_")]


DEVICES = sorted(name for name, state in t5g.system_info()["devices"].items() if state.startswith("available"))


def open_model(path: Path, **options: object) -> t5g.Model:
    """Open a file with the window of transformers >= 5.4, which made the goldens."""
    return t5g.Model(path, encoder_window="inclusive", **options)


NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))


def with_golden(key: str) -> pytest.MarkDecorator:
    """Run a test for those goldens alone that have what it compares with."""
    names = [name for name in NAMES if key in np.load(FOLDER / f"{name}.npz").files]
    return pytest.mark.parametrize("golden", names, indirect=True)


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=NAMES)
def golden(request: pytest.FixtureRequest, device: str) -> Iterator[Golden]:
    path = FOLDER / f"{request.param}.gguf"
    with np.load(path.with_suffix(".npz")) as arrays:
        expected = dict(arrays)
    with open_model(path, device=device) as model:
        yield Golden(path, model, expected)


def test_there_are_goldens_of_both_families() -> None:
    assert {name[:2] for name in NAMES} == {"v1", "v2"}


def test_hidden_states(golden: Golden) -> None:
    found = golden.model.encode(golden.sources[0]).hidden_states
    assert relative_error(found, golden.expected["hidden_states"]) < golden.tolerance


def test_logits(golden: Golden) -> None:
    found = golden.model.logits(golden.sources[0], golden.ids("target"))
    assert relative_error(found, golden.expected["logits"]) < golden.tolerance


@with_golden("images")
def test_images(golden: Golden) -> None:
    source = golden.model._native.encode(golden.ids("image_source"), images=list(golden.expected["images"]))
    assert relative_error(source.hidden_states, golden.expected["image_hidden_states"]) < golden.tolerance
    logits = golden.model._native.logits(source, golden.ids("target"))
    assert relative_error(logits, golden.expected["image_logits"]) < golden.tolerance


def test_logits_without_a_source_are_numbers(golden: Golden) -> None:
    assert np.isfinite(golden.model.logits([], golden.ids("target"))).all()


@with_golden("logits_without_source")
def test_logits_without_a_source_are_those_of_a_masked_one(golden: Golden) -> None:
    found = golden.model.logits([], golden.ids("target"))
    assert relative_error(found[-4:], golden.expected["logits_without_source"]) < golden.tolerance


@pytest.mark.parametrize("kind", ["greedy", "beam"])
def test_generated_ids_one_by_one(golden: Golden, kind: str) -> None:
    for i, source in enumerate(golden.sources):
        expected = golden.ids(f"{kind}_{i}")
        found = golden.model.generate(source, max_new_tokens=24, **(BEAMS if kind == "beam" else {}))
        assert without_end(golden, found.token_ids) == without_end(golden, expected)
        assert found.finish_reason == ("stop" if expected[-1] in golden.model.config.eos_token_id else "length")


@pytest.mark.parametrize("kind", ["greedy", "beam"])
def test_a_batch_generates_the_same_ids(golden: Golden, kind: str) -> None:
    sources = golden.sources[::-1]
    found = golden.model.generate_batch(sources, max_new_tokens=24, **(BEAMS if kind == "beam" else {}))
    expected = [golden.ids(f"{kind}_{i}") for i in reversed(range(len(sources)))]
    assert [without_end(golden, one.token_ids) for one in found] == [without_end(golden, one) for one in expected]


def test_score_is_teacher_forced_log_probability(golden: Golden) -> None:
    source, target = golden.sources[0], golden.ids("target")
    expected = log_softmax(golden.expected["logits"].astype(np.float64))[np.arange(len(target) - 1), target[1:]]
    found = golden.model.score(source, target[1:])
    # A GPU's logits differ in proportion to the largest; a log-probability is the difference of two such numbers.
    largest = np.abs(golden.expected["logits"]).max()
    allowed = 2 * golden.tolerance * largest if runs_on_a_real_gpu(golden.model) else 1e-3
    assert np.abs(np.asarray(found.token_logprobs) - expected).max() < allowed
    assert found.logprob == pytest.approx(sum(found.token_logprobs), rel=1e-6)


def test_generation_reports_the_log_probability_of_its_tokens(golden: Golden) -> None:
    source = golden.model.encode(golden.sources[0])
    out = golden.model.generate(source, max_new_tokens=12, min_new_tokens=12)
    logits = golden.model.logits(source, [2, *out.token_ids[:11]]).astype(np.float64)
    expected = log_softmax(logits)[np.arange(12), out.token_ids[:12]].sum()
    assert out.logprob == pytest.approx(expected, abs=1e-4)


def test_a_prefix_computes_the_same_bits(golden: Golden) -> None:
    source, target = golden.sources[0], golden.ids("target")
    whole = golden.model.logits(source, target)
    for n in (1, 2, len(target) // 2, len(target) - 1):
        np.testing.assert_array_equal(golden.model.logits(source, target[:n]), whole[:n])


def test_continuing_from_a_prefix_gives_the_same_ids(golden: Golden) -> None:
    source = golden.sources[0]
    whole = golden.model.generate(source, max_new_tokens=12, min_new_tokens=12).token_ids
    rest = golden.model.generate(source, decoder_prefix=whole[:5], max_new_tokens=7, min_new_tokens=7).token_ids
    assert rest == whole[5:]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_any_thread_count_computes_the_same_bits(golden: Golden, n_threads: int) -> None:
    source, target = golden.sources[0], golden.ids("target")
    with open_model(golden.path, n_threads=n_threads, device=golden.model.device) as other:
        np.testing.assert_array_equal(other.encode(source).hidden_states, golden.model.encode(source).hidden_states)
        np.testing.assert_array_equal(other.logits(source, target), golden.model.logits(source, target))


def test_an_encoded_source_computes_the_same_bits(golden: Golden) -> None:
    source, target = golden.sources[0], golden.ids("target")
    encoded = golden.model.encode(source)
    for _ in range(2):
        np.testing.assert_array_equal(golden.model.logits(encoded, target), golden.model.logits(source, target))


def test_the_trained_window_is_the_default(golden: Golden) -> None:
    source = golden.sources[0]
    with t5g.Model(golden.path, device=golden.model.device) as default:
        difference = relative_error(default.encode(source).hidden_states, golden.expected["hidden_states"])
    if golden.path.name.startswith("v1"):
        assert difference > 1e-3
    else:
        assert difference < golden.tolerance


def without_end(golden: Golden, ids: list[int]) -> list[int]:
    return ids[:-1] if ids and ids[-1] in golden.model.config.eos_token_id else ids


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
