"""Hyper-parameters reach the file whatever layout config.json has; what would be a guess is an error."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import t5g
from support import folders
from support.folders import Folder

pytest.importorskip("gguf")

from t5g_convert.config import ModelConfig, Rope, read_config


def read(tmp_path: Path, config: dict[str, Any], generation: dict[str, Any] | None = None) -> ModelConfig:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    return read_config(tmp_path)


def sides(config: dict[str, Any]) -> list[dict[str, Any]]:
    encoder = config["encoder"]
    return [encoder.get("text_config", encoder), config["decoder"]]


def test_t5gemma(tmp_path: Path) -> None:
    config = read(tmp_path, folders.t5gemma_config())
    assert (config.encoder.hidden_size, config.decoder.hidden_size) == (64, 32)
    assert config.encoder.is_sliding == (True, False, True)
    assert config.encoder.full_rope == config.encoder.sliding_rope == Rope(10000.0, 1.0)
    assert (config.decoder.attn_logit_softcapping, config.decoder.final_logit_softcapping) == (50.0, 30.0)
    assert config.eos_token_ids == (1, 107)
    assert config.decoder_start_token_id == 2
    assert config.vision is None
    assert config.image_token_ids == {}


def test_t5gemma2(tmp_path: Path) -> None:
    config = read(tmp_path, folders.t5gemma2_config())
    assert config.encoder.full_rope == Rope(1e6, 8.0)
    assert config.encoder.sliding_rope == Rope(1e4, 1.0)
    assert config.encoder.is_sliding == (True, True)
    assert config.vision is not None
    assert (config.vision.mm_tokens_per_image, config.vision.pool_size) == (4, 2)
    assert config.image_token_ids == {"image": 292, "boi": 290, "eoi": 291}


def test_older_layouts_mean_the_same(tmp_path: Path) -> None:
    new, old = folders.t5gemma_config(), folders.t5gemma_config()
    for side in sides(old):
        del side["rope_parameters"]
        side |= {"rope_theta": 10000.0, "rope_scaling": None}
    assert read(tmp_path, old) == read(tmp_path, new)

    new, old = folders.t5gemma2_config(), folders.t5gemma2_config()
    for side in sides(old):
        del side["rope_parameters"]
        side |= {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
        side["_sliding_window_pattern"] = 6
    assert read(tmp_path, old) == read(tmp_path, new)


def test_layer_types_win_over_the_pattern(tmp_path: Path) -> None:
    config = folders.t5gemma2_config()
    config["decoder"] |= {
        "sliding_window_pattern": 2,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    }
    assert read(tmp_path, config).decoder.is_sliding == (False, True, True)
    del config["decoder"]["layer_types"]
    assert read(tmp_path, config).decoder.is_sliding == (True, False, True)


def test_null_softcaps_are_none_and_missing_ones_are_the_familys(tmp_path: Path) -> None:
    config = folders.t5gemma_config()
    config["decoder"] |= {"attn_logit_softcapping": None, "final_logit_softcapping": None}
    decoder = read(tmp_path, config).decoder
    assert (decoder.attn_logit_softcapping, decoder.final_logit_softcapping) == (0.0, 0.0)
    del config["decoder"]["attn_logit_softcapping"], config["decoder"]["final_logit_softcapping"]
    decoder = read(tmp_path, config).decoder
    assert (decoder.attn_logit_softcapping, decoder.final_logit_softcapping) == (50.0, 30.0)


def test_attention_softcap_of_a_t5gemma2_is_ignored_as_its_reference_does(tmp_path: Path) -> None:
    config = folders.t5gemma2_config()
    config["decoder"] |= {"attn_logit_softcapping": 7.0, "final_logit_softcapping": 4.0}
    decoder = read(tmp_path, config).decoder
    assert (decoder.attn_logit_softcapping, decoder.final_logit_softcapping) == (0.0, 4.0)


def test_generation_config_wins_for_what_ends_generation(tmp_path: Path) -> None:
    generation = {"eos_token_id": [7, 9], "pad_token_id": 5, "decoder_start_token_id": 3}
    config = read(tmp_path, folders.t5gemma_config(), generation)
    assert (config.eos_token_ids, config.pad_token_id, config.decoder_start_token_id) == ((7, 9), 5, 3)


def _missing(key: str) -> Any:
    return lambda side: side.pop(key)


def _set(key: str, value: Any) -> Any:
    return lambda side: side.__setitem__(key, value)


@pytest.mark.parametrize(
    ("make", "change", "words"),
    [
        (folders.t5gemma_config, _missing("query_pre_attn_scalar"), "query_pre_attn_scalar"),
        (folders.t5gemma2_config, _missing("sliding_window"), "sliding_window"),
        (folders.t5gemma2_config, _missing("rope_parameters"), "rope_theta"),
        (folders.t5gemma2_config, _missing("vocab_size"), "vocab_size"),
        (folders.t5gemma_config, _set("hidden_activation", "gelu"), "hidden_activation.*gelu_pytorch_tanh"),
        (folders.t5gemma_config, _set("attention_bias", True), "attention_bias"),
        (folders.t5gemma_config, _set("hidden_size", "64"), "hidden_size.*'64'"),
        (folders.t5gemma_config, _set("hidden_size", -64), "hidden_size.*-64"),
        (folders.t5gemma_config, _set("num_hidden_layers", 2.0), "num_hidden_layers"),
        (folders.t5gemma_config, _set("rms_norm_eps", float("nan")), "rms_norm_eps"),
        (folders.t5gemma_config, _set("layer_types", ["full_attention"]), "layer_types"),
        (folders.t5gemma_config, _set("layer_types", [[], {}]), "layer_types"),
        (folders.t5gemma_config, _set("num_key_value_heads", 3), "num_key_value_heads"),
        (folders.t5gemma_config, _set("head_dim", 15), "head_dim"),
        (folders.t5gemma_config, _set("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}), "yarn"),
        (folders.t5gemma_config, _set("rope_parameters", {"rope_type": "linear", "rope_theta": 1e4}), "factor"),
        (
            folders.t5gemma2_config,
            _set("rope_parameters", {"rope_type": "default", "rope_theta": 1e4}),
            "full_attention",
        ),
    ],
)
def test_a_guess_is_an_error_that_names_the_field(tmp_path: Path, make: Any, change: Any, words: str) -> None:
    config = make()
    change(config["decoder"])
    with pytest.raises(t5g.ModelFormatError, match=words) as error:
        read(tmp_path, config)
    assert "config.json" in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"model_type": "t5gemma2_encoder"}, "'text_config' is missing"),
        ({"model_type": "t5_gemma_module", "is_decoder": True}, "a decoder without its encoder"),
        ({"model_type": None}, "model_type"),
        ({"encoder": None}, "'encoder' is missing"),
        ({"decoder": 3}, "'decoder' is not an object"),
        ({"eos_token_id": ["</s>"]}, "eos_token_id"),
        ({"eos_token_id": []}, r"config\.json: 'eos_token_id' is \[\], expected token ids"),
        ({"eos_token_id": [True]}, "eos_token_id"),
        ({"eos_token_id": -1}, "eos_token_id"),
        ({"pad_token_id": []}, "pad_token_id"),
        ({"bos_token_id": True}, "bos_token_id"),
        ({"decoder_start_token_id": "2"}, "decoder_start_token_id"),
    ],
)
def test_not_such_a_model(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(t5g.ModelFormatError, match=words):
        read(tmp_path, folders.t5gemma_config() | change)


def test_sides_of_a_t5gemma2_must_agree(tmp_path: Path) -> None:
    config = folders.t5gemma2_config()
    config["decoder"] = copy.deepcopy(config["decoder"]) | {"hidden_size": 96}
    with pytest.raises(t5g.ModelFormatError, match="hidden_size is 64 in the encoder and 96 in the decoder"):
        read(tmp_path, config)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff", '{"a": ' + "[" * 5000])
def test_damaged_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(t5g.ModelFormatError, match=r"config\.json"):
        read_config(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_files_may_have_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    folder = Folder.of(folders.t5gemma2_config()).write(tmp_path / "hf", shards=2)
    t5g.convert(folder, tmp_path / "plain.gguf", type="f32", tokenizer=False)
    for path in folder.glob("*.json"):
        path.write_bytes(path.read_text().encode(encoding))
    t5g.convert(folder, tmp_path / "marked.gguf", type="f32", tokenizer=False)
    assert (tmp_path / "marked.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()


def test_a_byte_of_config_json_that_is_no_text_is_named(tmp_path: Path) -> None:
    folder = Folder.of(folders.t5gemma2_config()).write(tmp_path / "hf")
    (folder / "config.json").write_bytes(b'{"_name_or_path": "caf\xe9"}')
    with pytest.raises(t5g.ModelFormatError, match=r"config\.json: byte 22 \(0xe9\) is not UTF-8"):
        t5g.convert(folder, tmp_path / "m.gguf")
