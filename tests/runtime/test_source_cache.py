"""A source kept as the encoder's output alone answers as one kept as keys and values does, and takes less memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g

GOLDENS = Path(__file__).parents[1] / "goldens"
NAMES = sorted(path.stem for path in GOLDENS.glob("*.gguf"))
FEW = {"max_new_tokens": 12, "draft": "off"}


def ids(model: t5g.Model, n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(10, model.config.vocab_size, n).tolist()


@pytest.fixture(scope="module", params=["v1-wide-encoder", "v2-gqa-w5"])
def path(request: pytest.FixtureRequest) -> Path:
    return GOLDENS / f"{request.param}.gguf"


@pytest.fixture(scope="module")
def latent(path: Path) -> Iterator[t5g.Model]:
    with t5g.Model(path, source_cache="latent", n_threads=2) as model:
        yield model


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_keys(name: str) -> None:
    file = GOLDENS / f"{name}.gguf"
    with t5g.Model(file, source_cache="keys") as keys, t5g.Model(file, source_cache="latent") as latent:
        # What roundings the matrix units of a real GPU make in keys, nobody has measured.
        tolerance = 1e-3 if keys.device.startswith(("cuda", "metal")) else 1e-5
        for n in (1, 64, 65, 300):
            source, target = ids(keys, n, n), [2, *ids(keys, 40, n + 1)]
            expected = keys.logits(source, target)
            assert np.abs(latent.logits(source, target) - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_rounded_states_cost_as_much_as_rounded_keys(path: Path, kv_type: Any) -> None:
    with t5g.Model(path) as exact, t5g.Model(path, kv_type=kv_type, source_cache="latent") as latent:
        source, target = ids(exact, 100), [2, *ids(exact, 20, 1)]
        expected = exact.logits(source, target)
        allowed = {"f16": 0.01, "q8_0": 0.2}[kv_type]
        assert np.abs(latent.logits(source, target) - expected).max() <= allowed * np.abs(expected).max()
        states, found = exact.encode(source).hidden_states, latent.encode(source).hidden_states
        assert np.abs(found - states).max() <= {"f16": 2**-11, "q8_0": 2**-7}[kv_type] * np.abs(states).max()


def test_no_bit_depends_on_what_runs_beside_it(path: Path) -> None:
    """Threads, batches, beams, and whether tokens come one by one."""
    with t5g.Model(path, source_cache="latent", n_threads=1, max_source_tokens=8192) as one:
        sources = [ids(one, n, n) for n in (3, 500, 70, 4300)]  # the last has parts of several chunks
        target = [2, *ids(one, 90, 5)]
        expected = [one.generate(source, **FEW) for source in sources]
        logprobs = [alone.logprob for alone in expected]  # while the model is open: some devices compute them now
        logits = [one.logits(source, target) for source in sources]
        np.testing.assert_array_equal(one.logits(sources[3], target[:7]), logits[3][:7])
        beams = one.generate(sources[1], num_beams=3, num_return_sequences=3, max_new_tokens=8)
    with t5g.Model(path, source_cache="latent", n_threads=3, max_source_tokens=8192) as three:
        for source, rows in zip(sources, logits, strict=True):
            np.testing.assert_array_equal(three.logits(source, target), rows)
        for found, alone, logprob in zip(three.generate_batch(sources, **FEW), expected, logprobs, strict=True):
            assert found.token_ids == alone.token_ids
            assert found.logprob == logprob
        again = three.generate(sources[1], num_beams=3, num_return_sequences=3, max_new_tokens=8)
        assert [s.token_ids for s in again.sequences] == [s.token_ids for s in beams.sequences]
        drafted = three.generate(sources[1], max_new_tokens=12)
        assert drafted.token_ids == expected[1].token_ids
        assert three.score(sources[0], target[1:]).logprob == pytest.approx(
            float(sum(_log_softmax(logits[0])[i, token] for i, token in enumerate(target[1:]))), rel=1e-4
        )


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    return wide - np.log(np.exp(wide - wide.max(1, keepdims=True)).sum(1, keepdims=True)) - wide.max(1, keepdims=True)


def test_sources_of_both_kinds_run_in_one_batch(path: Path) -> None:
    """The budget lies between them."""
    with t5g.Model(path, source_cache="auto") as large, t5g.Model(path, source_cache="keys") as keys:
        n_bytes = large.memory().bytes_per_target_token
        with t5g.Model(path, source_cache="auto", source_cache_budget=64 * n_bytes) as both:
            short, long = ids(both, 60), ids(both, 200, 1)
            assert not both._core.keeps_latent(64)
            assert both._core.keeps_latent(65)
            assert not large._core.keeps_latent(200)
            found = both.generate_batch([short, long, short, long], **FEW)
            assert found[0].token_ids == found[2].token_ids == keys.generate(short, **FEW).token_ids
            assert found[1].token_ids == found[3].token_ids == both.generate(long, **FEW).token_ids
            np.testing.assert_array_equal(both.logits(short, [2]), keys.logits(short, [2]))


def test_an_empty_source_has_nothing_to_keep(latent: t5g.Model, path: Path) -> None:
    with t5g.Model(path, source_cache="keys") as keys:
        np.testing.assert_array_equal(latent.logits([], [2, 11]), keys.logits([], [2, 11]))
    assert latent.generate([], **FEW).finish_reason in ("stop", "length")


@pytest.mark.parametrize("kv_type", ["f32", "f16", "q8_0"])
def test_a_saved_source_is_what_was_saved(path: Path, tmp_path: Path, kv_type: Any) -> None:
    with t5g.Model(path, kv_type=kv_type, source_cache="latent") as model:
        source = model.encode(ids(model, 200))
        source.save(tmp_path / "source")
        width = model.config.encoder.hidden_size
        assert (tmp_path / "source").stat().st_size < 200 * (4 + 4 * width) + 100
        loaded = t5g.EncodedSource.load(model, tmp_path / "source")
        np.testing.assert_array_equal(loaded.hidden_states, source.hidden_states)
        assert loaded.token_ids == source.token_ids
        np.testing.assert_array_equal(model.logits(loaded, [2, 20]), model.logits(source, [2, 20]))
    with t5g.Model(path, source_cache="keys") as other:  # every model of the file takes it
        found = t5g.EncodedSource.load(other, tmp_path / "source")
        assert np.isfinite(other.logits(found, [2])).all()
    data = bytearray((tmp_path / "source").read_bytes())
    data[40] = 99  # the type
    (tmp_path / "damaged").write_bytes(data)
    with t5g.Model(path) as model, pytest.raises(t5g.ModelFormatError, match="states of the unknown type 99"):
        t5g.EncodedSource.load(model, tmp_path / "damaged")


def test_files_of_older_versions_open(path: Path, tmp_path: Path) -> None:
    with t5g.Model(path, source_cache="keys") as model:
        source = model.encode(ids(model, 3))
        source.save(tmp_path / "now")
        data = (tmp_path / "now").read_bytes()
        assert data[:8] == b"t5g-src3"
        (tmp_path / "two").write_bytes(b"t5g-src2" + data[8:40] + data[56:])
        (tmp_path / "one").write_bytes(b"t5g-src1" + data[8:32] + data[56:])
        for name in ("one", "two"):
            loaded = t5g.EncodedSource.load(model, tmp_path / name)
            np.testing.assert_array_equal(loaded.hidden_states, source.hidden_states)


def test_a_source_may_go_while_it_is_used(latent: t5g.Model) -> None:
    source = latent.encode(ids(latent, 100))
    expected = latent.generate(source, **FEW).token_ids
    stream = latent.stream(source, **FEW)
    next(stream)
    del source
    gc.collect()
    list(stream)
    assert stream.result.token_ids == expected


def test_closing_while_a_source_and_its_latent_live(path: Path) -> None:
    model = t5g.Model(path, source_cache="latent", kv_type="f16")
    source = model.encode(ids(model, 100))
    model.generate(source, **FEW)
    states = source.hidden_states
    model.close()
    np.testing.assert_array_equal(source.hidden_states, states)


def test_wrong_options_are_named(path: Path) -> None:
    for options, text in (
        ({"source_cache": "both"}, "source_cache is 'both', expected 'auto', 'keys' or 'latent'."),
        ({"source_cache_budget": -1}, "source_cache_budget: must be an integer of at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=text):
            t5g.Model(path, **options)
    with pytest.raises(TypeError, match="source_cache_budget: must be an integer"):
        t5g.Model(path, source_cache_budget=0.5)  # type: ignore[arg-type]


def test_a_copied_file_and_every_type_of_weights(tmp_path: Path) -> None:
    """The projection of keys is turned round, whatever it is stored in, also when the file's bytes are gone."""
    pytest.importorskip("gguf")
    for kind in ("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"):
        file = tmp_path / f"{kind}.gguf"
        with t5g.Model() as bundled:
            t5g.quantize(bundled.path, file, kind)
        with (
            t5g.Model(file, load="copy", kv_type="f32", source_cache="keys") as keys,
            t5g.Model(file, load="copy", kv_type="f32", source_cache="latent") as latent,
        ):
            source, target = ids(keys, 150), [2, *ids(keys, 10, 1)]
            expected = keys.logits(source, target)
            error = np.sqrt(np.mean((latent.logits(source, target) - expected) ** 2)) / expected.std()
            assert error < 0.03, kind  # activations are rounded at other places
