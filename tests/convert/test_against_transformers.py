"""Checkpoints saved by transformers: every parameter of the model in memory is in the file, whatever its name was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g

gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.cases import BOS, BY_NAME, EOI  # noqa: E402
from support.checkpoints import build_model, save_checkpoint  # noqa: E402

pytestmark = pytest.mark.oracle
NAMES = ("v1-wide-encoder", "v1-no-softcap", "v1-final-cap-only", "v2-gqa-w5", "v2-decoder-deeper", "v2-six-one-w6")


def rms_norms(model: Any) -> list[Any]:
    """Weights that the reference adds one to."""
    modules = model.named_modules()
    return [module.weight for _, module in modules if type(module).__name__.endswith("RMSNorm")]


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_in_the_file(tmp_path: Path, name: str) -> None:
    model = save_checkpoint(BY_NAME[name], tmp_path / "hf")
    t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32")
    stored = {t.name: np.array(t.data) for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    # Random tensors are told apart by their values: no table of names that could repeat a mistake.
    unclaimed = {values.tobytes(): key for key, values in stored.items()}
    norms = {id(weight) for weight in rms_norms(model)}
    for key, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if id(parameter) in norms:
            values = values + np.float32(1)
        values = values.T if key.endswith("mm_input_projection_weight") else values
        found = unclaimed.pop(np.ascontiguousarray(values).tobytes(), None)
        assert found is not None, key
        assert stored[found].shape == values.shape, key
    assert unclaimed == {}


@pytest.mark.parametrize("name", ["v1-gqa-w3", "v2-mqa-w4"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_and_shards(tmp_path: Path, name: str, dtype: str) -> None:
    model = build_model(BY_NAME[name]).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "hf", max_shard_size="60KB")
    assert len(list((tmp_path / "hf").glob("model-*.safetensors"))) > 2
    t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32")
    table = next(t for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors if t.name == "token_embd.weight")
    np.testing.assert_array_equal(np.array(table.data), model.lm_head.out_proj.weight.detach().float().numpy())


@pytest.mark.parametrize("name", ["v1-gqa-w3", "v2-mqa-w4"])
def test_untied_models(tmp_path: Path, name: str) -> None:
    model = build_model(BY_NAME[name])
    model.config.tie_word_embeddings = False
    with torch.no_grad():
        head = torch.nn.Parameter(torch.randn_like(model.lm_head.out_proj.weight))
        model.lm_head.out_proj.weight = head
    model.save_pretrained(tmp_path / "hf")
    t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32")
    stored = {t.name: np.array(t.data) for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    np.testing.assert_array_equal(stored["output.weight"], head.detach().numpy())
    embedding = model.get_decoder().embed_tokens.weight.detach().numpy()
    np.testing.assert_array_equal(stored["token_embd.weight"], embedding)


def test_a_t5gemma2_with_three_tables_computes_what_transformers_computes(tmp_path: Path) -> None:
    case = BY_NAME["v2-mqa-w4"]
    model = build_model(case)
    encoder, decoder = model.get_encoder().text_model.embed_tokens, model.get_decoder().embed_tokens
    model.config.tie_word_embeddings = False
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for owner, name in ((decoder, "weight"), (decoder, "eoi_embedding"), (model.lm_head.out_proj, "weight")):
            values = torch.randn(getattr(owner, name).shape, generator=generator) * 0.2
            setattr(owner, name, torch.nn.Parameter(values))
    assert not torch.equal(encoder.weight, decoder.weight)
    model.save_pretrained(tmp_path / "hf")
    t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32", vision=False)
    source, target = [17, EOI, 40, 99, 31, 250, 300], [BOS, 60, EOI, 71, 200, 12]
    with torch.no_grad():
        want = model(
            input_ids=torch.tensor([source]),
            attention_mask=torch.ones(1, len(source), dtype=torch.long),
            decoder_input_ids=torch.tensor([target]),
        ).logits[0]
    with t5g.Model(tmp_path / "m.gguf") as converted:
        found = converted.logits(source, target)
    np.testing.assert_allclose(found, want.numpy(), rtol=0, atol=2e-4 * float(want.abs().max()))


def test_hyper_parameters_are_those_of_the_loaded_config(tmp_path: Path) -> None:
    model = save_checkpoint(BY_NAME["v2-long-encoder-softcap"], tmp_path / "hf")
    t5g.convert(tmp_path / "hf", tmp_path / "m.gguf")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    sides = {"encoder": model.config.encoder.text_config, "decoder": model.config.decoder}
    for side, config in sides.items():
        expected = {
            "block_count": config.num_hidden_layers,
            "embedding_length": config.hidden_size,
            "feed_forward_length": config.intermediate_size,
            "attention.head_count": config.num_attention_heads,
            "attention.head_count_kv": config.num_key_value_heads,
            "attention.key_length": config.head_dim,
            "attention.query_pre_attn_scalar": config.query_pre_attn_scalar,
            "attention.sliding_window": config.sliding_window,
            "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in config.layer_types],
            "rope.freq_base": config.rope_parameters["full_attention"]["rope_theta"],
            "rope.freq_base_swa": config.rope_parameters["sliding_attention"]["rope_theta"],
            "rope.scaling.factor": config.rope_parameters["full_attention"]["factor"],
            "context_length": config.max_position_embeddings,
        }
        found = {key: reader.get_field(f"t5gemma2.{side}.{key}").contents() for key in expected}
        assert found == expected
    assert reader.get_field("t5gemma2.decoder.final_logit_softcapping").contents() == 4.0
    assert reader.get_field("t5gemma2.encoder.attn_logit_softcapping") is None
