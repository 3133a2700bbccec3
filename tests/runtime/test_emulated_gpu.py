"""Whole models on the emulated GPU, beside the CPU: sources that move, caches and files of every type, errors.

What a device must do by itself, tests of the other files check on this one too where T5G_DEVICE says so
(as in .ci/run), and tests/model/test_parity.py on all that there are.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import t5g

GOLDENS = Path(__file__).parents[1] / "goldens"
SOURCE = [2, *((37 * i) % 300 + 10 for i in range(150))]
TARGET = [2, *((11 * i) % 300 + 10 for i in range(20))]

pytestmark = pytest.mark.skipif(
    not t5g.system_info()["devices"]["emulated"].startswith("available"), reason="a build without T5G_EMULATED_GPU"
)


@pytest.fixture(scope="module", params=["v1-mqa-w5", "v2-mqa-w4"])
def path(request: pytest.FixtureRequest) -> Path:
    return GOLDENS / f"{request.param}.gguf"


@pytest.fixture(scope="module")
def models(path: Path) -> Iterator[dict[str, t5g.Model]]:
    with t5g.Model(path, device="cpu") as cpu, t5g.Model(path, device="emulated") as emulated:
        yield {"cpu": cpu, "emulated": emulated}


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))


def test_a_model_says_where_it_runs(models: dict[str, t5g.Model], monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    assert {name: model.device for name, model in models.items()} == {"cpu": "cpu", "emulated": "emulated"}
    monkeypatch.setenv("T5G_DEVICE", "emulated")
    with t5g.Model(path) as model:
        assert model.device == "emulated"


@pytest.mark.parametrize("kv_type", ["f32", "f16", "q8_0"])
def test_keys_of_every_type_give_the_tokens_of_the_cpu(
    path: Path, models: dict[str, t5g.Model], kv_type: Literal["f32", "f16", "q8_0"]
) -> None:
    with t5g.Model(path, device="emulated", kv_type=kv_type) as model:
        states = model.encode(SOURCE)
        found, expected = model.logits(states, TARGET), models["cpu"].logits(SOURCE, TARGET)
        assert relative_rms(found, expected) < {"f32": 1e-3, "f16": 5e-3, "q8_0": 5e-2}[kv_type]
        # Alone, with others and again: the same bits.
        np.testing.assert_array_equal(model.logits(states, TARGET[:7]), found[:7])
        together = model.generate_batch([SOURCE, SOURCE[:9], SOURCE[:70]], max_new_tokens=8)
        alone = [model.generate(SOURCE[:n], max_new_tokens=8) for n in (None, 9, 70)]
        assert [out.token_ids for out in together] == [out.token_ids for out in alone]
        assert [out.logprob for out in together] == [out.logprob for out in alone]


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_no_kernel_leans_on_the_order_of_its_groups(
    path: Path, monkeypatch: pytest.MonkeyPatch, kv_type: Literal["f16", "q8_0"]
) -> None:
    monkeypatch.setenv("T5G_EMULATED_TWICE", "1")  # else DeviceError
    with t5g.Model(path, device="emulated", kv_type=kv_type) as model:
        states = model.encode(SOURCE)
        model.logits(states, TARGET)
        model.generate(states, decoder_prefix=TARGET, max_new_tokens=3)
        model.generate(states, num_beams=3, max_new_tokens=3)
        model.generate_batch([SOURCE, SOURCE[:9]], temperature=0.9, seed=1, max_new_tokens=3)


def test_sources_move_between_devices(models: dict[str, t5g.Model], tmp_path: Path) -> None:
    for here, there in (("cpu", "emulated"), ("emulated", "cpu")):
        source = models[here].encode(SOURCE)
        source.save(tmp_path / here)
        moved = t5g.EncodedSource.load(models[there], tmp_path / here)
        np.testing.assert_array_equal(moved.hidden_states, source.hidden_states)
        found, expected = (models[device].generate(moved, max_new_tokens=8) for device in (there, here))
        assert found.token_ids == expected.token_ids


@pytest.mark.parametrize("kv_type", ["f32", "f16", "q8_0"])
def test_latent_sources_answer_as_keys_do_and_move_between_devices(
    path: Path, models: dict[str, t5g.Model], tmp_path: Path, kv_type: Literal["f32", "f16", "q8_0"]
) -> None:
    allowed = {"f32": 1e-3, "f16": 5e-3, "q8_0": 5e-2}[kv_type]
    with (
        t5g.Model(path, device="emulated", kv_type=kv_type, source_cache="latent") as emulated,
        t5g.Model(path, device="cpu", kv_type=kv_type, source_cache="latent") as cpu,
    ):
        source = emulated.encode(SOURCE)
        emulated.generate(SOURCE[:9], max_new_tokens=2)  # whatever ran before the source is looked at
        found = emulated.logits(source, TARGET)
        exact = models["cpu"].logits(SOURCE, TARGET)
        assert relative_rms(found, exact) < 1.25 * relative_rms(cpu.logits(SOURCE, TARGET), exact) + 1e-3
        # Alone, with others and again: the same bits.
        np.testing.assert_array_equal(emulated.logits(SOURCE, TARGET[:7]), found[:7])
        together = emulated.generate_batch([SOURCE, SOURCE[:9], SOURCE[:70], SOURCE], max_new_tokens=6)
        alone = [emulated.generate(SOURCE[:n], max_new_tokens=6) for n in (None, 9, 70, None)]
        assert [out.token_ids for out in together] == [out.token_ids for out in alone]
        assert [out.logprob for out in together] == [out.logprob for out in alone]
        for here, there in ((cpu, emulated), (emulated, cpu)):
            source = here.encode(SOURCE)
            source.save(tmp_path / "source")
            moved = t5g.EncodedSource.load(there, tmp_path / "source")
            np.testing.assert_array_equal(moved.hidden_states, source.hidden_states)
            assert relative_rms(there.logits(moved, TARGET), here.logits(source, TARGET)) < allowed


def test_sources_of_both_kinds_run_in_one_batch(models: dict[str, t5g.Model], path: Path) -> None:
    budget = 64 * models["emulated"].memory().bytes_per_target_token
    with t5g.Model(path, device="emulated", source_cache_budget=budget) as both:
        found = both.generate_batch([SOURCE[:60], SOURCE, SOURCE[:60]], max_new_tokens=6)
        assert found[0].token_ids == models["emulated"].generate(SOURCE[:60], max_new_tokens=6).token_ids
        assert found[1].token_ids == both.generate(SOURCE, max_new_tokens=6).token_ids
        assert found[2].token_ids == found[0].token_ids
        beams = both.generate(SOURCE, num_beams=2, num_return_sequences=2, max_new_tokens=4)
        again = both.generate(SOURCE, num_beams=2, num_return_sequences=2, max_new_tokens=4)
        assert [s.token_ids for s in beams.sequences] == [s.token_ids for s in again.sequences]


@pytest.mark.parametrize("type_name", ["f16", "bf16", "q8_0", "q5_1", "q4_0"])
def test_a_type_is_as_close_to_f32_as_on_the_cpu(
    path: Path, models: dict[str, t5g.Model], tmp_path: Path, type_name: str
) -> None:
    pytest.importorskip("gguf")
    t5g.quantize(path, tmp_path / "narrow.gguf", type_name, pure=True)
    states = models["cpu"].encode(SOURCE).hidden_states, models["cpu"].logits(SOURCE, TARGET)
    errors = {}
    for device in ("cpu", "emulated"):
        with t5g.Model(tmp_path / "narrow.gguf", device=device) as model:
            found = model.encode(SOURCE).hidden_states, model.logits(SOURCE, TARGET)
        errors[device] = [relative_rms(*pair) for pair in zip(found, states, strict=True)]
    for cpu, emulated in zip(errors["cpu"], errors["emulated"], strict=True):
        assert emulated <= 1.25 * cpu + 1e-3


def test_weights_that_do_not_fit_are_an_error_before_they_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T5G_EMULATED_MEMORY", "1")
    with pytest.raises(t5g.DeviceError, match=r"weights need \d+ MiB of its memory, and \d+ MiB are free") as caught:
        t5g.Model(path, device="emulated")
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize("value", ["many", "-1", "3 MiB"])
def test_memory_is_a_number(path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("T5G_EMULATED_MEMORY", value)
    with pytest.raises(t5g.InvalidArgumentError, match=f"T5G_EMULATED_MEMORY is '{value}', expected a number of MiB"):
        t5g.Model(path, device="emulated")


def test_a_source_that_does_not_fit_leaves_the_model_usable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T5G_EMULATED_MEMORY", "3")
    with t5g.Model(path, device="emulated") as model:
        before = model.generate(SOURCE[:9], max_new_tokens=4).token_ids
        with pytest.raises(t5g.DeviceError, match="out of memory"):
            model.generate(SOURCE * 26, max_new_tokens=4)
        assert model.generate(SOURCE[:9], max_new_tokens=4).token_ids == before


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_leaves_the_model_usable(models: dict[str, t5g.Model]) -> None:
    model = models["emulated"]
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.encode(SOURCE * 26)
    timer.join()
    assert len(model.generate(SOURCE, max_new_tokens=4, min_new_tokens=4).token_ids) == 4
