"""Models in every type: close to the same weights in f32, and as deterministic."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import t5g
from t5g_convert import presets

pytest.importorskip("gguf")
pytest.importorskip("sentencepiece")

from support.folders import Folder, t5gemma2_config, t5gemma_config

TYPES = [name for name in presets.TYPES if name != "f32"]
SOURCES = [[2, *((37 * i) % 60 + 3 for i in range(n))] for n in (1, 5, 90)]
TARGET = [2, *((11 * i) % 60 + 3 for i in range(30))]


@pytest.fixture(scope="module", params=[t5gemma_config, t5gemma2_config], ids=["t5gemma", "t5gemma2"])
def f32_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized")
    source = Folder.of(request.param()).write(folder / "hf")
    t5g.convert(source, folder / "f32.gguf", type="f32", vision=False)
    return folder / "f32.gguf"


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))


@pytest.mark.parametrize("type_name", TYPES)
def test_a_type_is_close_to_its_own_weights_in_f32(f32_path: Path, tmp_path: Path, type_name: str) -> None:
    """What the type lost is lost in both; what is left is the rounding of activations, to 8 bits or to bfloat16.

    Each rounding adds about 0.5 % of noise (bfloat16: 0.1 %, and as much in attention), and random layers, unlike
    trained ones, amplify it.
    """
    t5g.quantize(f32_path, tmp_path / "narrow.gguf", type_name, pure=True)
    t5g.quantize(tmp_path / "narrow.gguf", tmp_path / "wide.gguf", "f32")
    with t5g.Model(tmp_path / "narrow.gguf") as narrow, t5g.Model(tmp_path / "wide.gguf") as wide:
        tolerance = {"f16": 1e-5, "bf16": 0.03}.get(type_name, 0.1)
        for source in SOURCES:
            states = [model.encode(source).hidden_states for model in (narrow, wide)]
            assert relative_rms(*states) < tolerance
            logits = [model.logits(source, TARGET) for model in (narrow, wide)]
            assert relative_rms(*logits) < tolerance


@pytest.mark.parametrize(("type_name", "kv_type"), [("q8_0", "auto"), ("q4_0", "q8_0"), ("f32", "f16")])
def test_batches_threads_and_caches_change_no_bit(
    f32_path: Path, tmp_path: Path, type_name: str, kv_type: Literal["auto", "f16", "q8_0"]
) -> None:
    path = tmp_path / "model.gguf"
    t5g.quantize(f32_path, path, type_name, pure=True)
    results = []
    for n_threads in (1, 3):
        with t5g.Model(path, n_threads=n_threads, kv_type=kv_type) as model:
            alone = [model.generate(source, max_new_tokens=12, min_new_tokens=12) for source in SOURCES]
            batch = model.generate_batch(SOURCES, max_new_tokens=12, min_new_tokens=12)
            assert [(out.token_ids, out.logprob) for out in batch] == [(out.token_ids, out.logprob) for out in alone]
            score = model.score(SOURCES[2], alone[2].token_ids)
            assert score.logprob == alone[2].logprob
            results.append((model.encode(SOURCES[2]).hidden_states, model.logits(SOURCES[2], TARGET)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_caches_are_exact_where_weights_are_and_close_where_they_are_not(f32_path: Path, tmp_path: Path) -> None:
    """Halves keep 11 bits and q8_0 7 or 8 of a block's largest value; random layers amplify what is lost."""
    t5g.quantize(f32_path, tmp_path / "q8_0.gguf", "q8_0", pure=True)
    with t5g.Model(f32_path) as exact, t5g.Model(tmp_path / "q8_0.gguf") as rounded:
        assert (exact.kv_type, rounded.kv_type) == ("f32", "f16")
        expected = [exact.logits(source, TARGET) for source in SOURCES]
    errors = {}
    for kv_type, share in (("f16", 1 / 2), ("q8_0", 1 / 3)):
        with t5g.Model(f32_path, kv_type=kv_type) as model, t5g.Model(f32_path, kv_type="f32") as wide:
            assert model.kv_type == kv_type
            if model.device in ("cpu", "deferred"):  # GPUs pad heads as narrow as these
                assert model.memory().bytes_per_target_token <= share * wide.memory().bytes_per_target_token
            errors[kv_type] = max(
                relative_rms(model.logits(source, TARGET), logits)
                for source, logits in zip(SOURCES, expected, strict=True)
            )
    assert 0 < errors["f16"] < 2e-3
    assert errors["f16"] < errors["q8_0"] < 5e-2


def test_long_sources_whose_full_layers_multiply_int8(tmp_path: Path) -> None:
    """More than 4,096 tokens: as close to f32 as shorter ones, and as deterministic, beside one that is shorter."""
    config = t5gemma2_config()
    for side in (config["encoder"]["text_config"], config["decoder"]):
        side["layer_types"] = ["sliding_attention", *["full_attention"] * (side["num_hidden_layers"] - 1)]
        side |= {"head_dim": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "query_pre_attn_scalar": 64}
    t5g.convert(Folder.of(config).write(tmp_path / "hf"), tmp_path / "narrow.gguf", type="q8_0", vision=False)
    t5g.quantize(tmp_path / "narrow.gguf", tmp_path / "wide.gguf", "f32")
    long, longest = ([2, *((37 * i * i) % 60 + 3 for i in range(n))] for n in (4096, 4500))
    with t5g.Model(tmp_path / "wide.gguf", max_source_tokens=5000) as wide:
        assert "full_attention" in wide.config.encoder.layer_types
        exact = wide.encode(long).hidden_states
    states = []
    for n_threads in (1, 3):
        with t5g.Model(tmp_path / "narrow.gguf", max_source_tokens=5000, n_threads=n_threads) as narrow:
            states.append(narrow.encode(long).hidden_states)
            together = narrow.embed([SOURCES[2], long, longest], pooling="none", normalize=False)
            assert np.array_equal(together[0], narrow.encode(SOURCES[2]).hidden_states)
            assert np.array_equal(together[1], states[0])
    assert np.array_equal(*states)
    assert relative_rms(states[0], exact) < 0.1
