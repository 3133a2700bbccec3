"""Every tensor of a checkpoint arrives in the file: under its name, in its type, with its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import folders
from support.folders import Folder
from support.safetensors import rounded

gguf = pytest.importorskip("gguf")

from t5g_convert import convert  # noqa: E402
from t5g_convert.presets import TYPES  # noqa: E402

SUFFIXES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_o",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.out_proj": "attn_out",
    "cross_attn.q_proj": "cross_attn_q",
    "cross_attn.k_proj": "cross_attn_k",
    "cross_attn.v_proj": "cross_attn_v",
    "cross_attn.o_proj": "cross_attn_o",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
    "pre_self_attn_layernorm": "attn_norm",
    "post_self_attn_layernorm": "attn_post_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "ffn_post_norm",
    "pre_cross_attn_layernorm": "cross_attn_norm",
    "post_cross_attn_layernorm": "cross_attn_post_norm",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
}
FIXED = {
    "model.encoder.norm.weight": "enc.output_norm.weight",
    "model.decoder.norm.weight": "dec.output_norm.weight",
    "model.encoder.embed_tokens.eoi_embedding": "token_embd_eoi.weight",
    "model.decoder.embed_tokens.weight": "token_embd.weight",
    "model.encoder.multi_modal_projector.mm_soft_emb_norm.weight": "mm.soft_emb_norm.weight",
    "model.encoder.multi_modal_projector.mm_input_projection_weight": "mm.input_projection.weight",
    "lm_head.out_proj.weight": "output.weight",
}
TOWER = "model.encoder.vision_tower.vision_model."


def file_name(name: str, architecture: str) -> str:
    """Say what docs/file-format.md calls a tensor, independently of the converter."""
    if name == "model.encoder.embed_tokens.weight":
        return "token_embd.weight" if architecture == "t5gemma2" else "enc.token_embd.weight"
    if name in FIXED:
        return FIXED[name]
    if name.startswith(TOWER):
        rest = name.removeprefix(TOWER)
        for theirs, ours in (
            ("embeddings.patch_embedding", "v.patch_embd"),
            ("embeddings.position_embedding", "v.position_embd"),
            ("post_layernorm", "v.post_ln"),
        ):
            if rest.startswith(theirs):
                return rest.replace(theirs, ours)
        parts = rest.removeprefix("encoder.layers.").split(".")
        return f"v.blk.{parts[0]}.{SUFFIXES['.'.join(parts[1:-1])]}.{parts[-1]}"
    _, side, _, layer, *middle, last = name.split(".")
    return f"{side[:3]}.blk.{layer}.{SUFFIXES['.'.join(middle)]}.{last}"


def read(path: Path) -> dict[str, Any]:
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def field(path: Path, key: str) -> Any:
    found = gguf.GGUFReader(path).get_field(key)
    return None if found is None else found.contents()


def decoded(tensor: Any) -> np.ndarray:
    values = gguf.quants.dequantize(np.array(tensor.data), tensor.tensor_type)
    return values.reshape(tuple(int(n) for n in tensor.shape[::-1]))


def expected(name: str, values: np.ndarray) -> np.ndarray:
    """Give what the file holds for a checkpoint's tensor, before it is quantised."""
    is_norm = "norm.weight" in name and "vision_tower" not in name
    if is_norm:
        return values + np.float32(1)
    return values.T if "mm_input_projection" in name else values


CONFIGS = {"t5gemma": folders.t5gemma_config(), "t5gemma2": folders.t5gemma2_config()}


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F64"])
def test_f32_file_holds_exactly_what_the_checkpoint_holds(tmp_path: Path, architecture: str, dtype: str) -> None:
    folder = Folder.of(CONFIGS[architecture])
    convert(folder.write(tmp_path / "hf", dtype), tmp_path / "m.gguf", type="f32")
    tensors = read(tmp_path / "m.gguf")
    assert set(tensors) == {file_name(name, architecture) for name in folder.tensors}
    for name, values in folder.tensors.items():
        tensor = tensors[file_name(name, architecture)]
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        np.testing.assert_array_equal(decoded(tensor), expected(name, rounded(values, dtype)), err_msg=name)


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("type_", TYPES)
def test_pure_file_holds_the_bytes_of_ggufs_own_encoders(tmp_path: Path, architecture: str, type_: str) -> None:
    folder = Folder.of(CONFIGS[architecture])
    convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf", type=type_.upper(), pure=True, vision_type=type_)
    tensors = read(tmp_path / "m.gguf")
    for name, values in folder.tensors.items():
        tensor = tensors[file_name(name, architecture)]
        want = expected(name, values)
        kind = gguf.GGMLQuantizationType(TYPES[type_].gguf_id)
        if want.ndim == 1 or "position_embedding" in name:
            kind = gguf.GGMLQuantizationType.F32
        elif want.shape[-1] % TYPES[type_].block_values:
            kind = gguf.GGMLQuantizationType.F16
        assert tensor.tensor_type == kind, name
        stored = gguf.quants.quantize(np.ascontiguousarray(want), kind)
        assert np.array(tensor.data).tobytes() == stored.tobytes(), name


def rename_to_saved_by_transformers(name: str) -> str:
    return name.replace("vision_tower.vision_model.", "vision_tower.")


def rename_to_module_names(name: str) -> str:
    for part in ("embed_tokens", "layers", "norm"):
        if name.startswith(f"model.encoder.{part}"):
            return name.replace("model.encoder.", "model.encoder.text_model.", 1)
    return name


def rename_to_base_model(name: str) -> str:
    return name.removeprefix("model.")


@pytest.mark.parametrize(
    "rename", [rename_to_saved_by_transformers, rename_to_module_names, rename_to_base_model], ids=lambda f: f.__name__
)
def test_all_spellings_of_names_give_the_same_file(tmp_path: Path, rename: Any) -> None:
    folder = Folder.of(CONFIGS["t5gemma2"])
    folder.config["_name_or_path"] = "same"
    convert(folder.write(tmp_path / "a"), tmp_path / "a.gguf")
    folder.tensors = {rename(name): values for name, values in folder.tensors.items()}
    convert(folder.write(tmp_path / "b"), tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_shards_and_threads_change_nothing(tmp_path: Path) -> None:
    folder = Folder.of(CONFIGS["t5gemma"])
    folder.config["_name_or_path"] = "same"
    convert(folder.write(tmp_path / "a", "BF16"), tmp_path / "a.gguf", type="q5_1", n_threads=1)
    convert(folder.write(tmp_path / "b", "BF16", shards=3), tmp_path / "b.gguf", type="q5_1", n_threads=5)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_copy_of_the_embedding_as_head_is_dropped(tmp_path: Path, architecture: str) -> None:
    folder = Folder.of(CONFIGS[architecture])
    side = "decoder" if architecture == "t5gemma" else "encoder"
    table = folder.tensors[f"model.{side}.embed_tokens.weight"]
    folder.tensors["lm_head.out_proj.weight"] = table
    if architecture == "t5gemma2":
        folder.tensors["model.decoder.embed_tokens.weight"] = table
        folder.tensors["model.decoder.embed_tokens.eoi_embedding"] = folder.tensors[
            "model.encoder.embed_tokens.eoi_embedding"
        ]
    convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf", type="f32")
    tensors = read(tmp_path / "m.gguf")
    assert "output.weight" not in tensors
    np.testing.assert_array_equal(decoded(tensors["token_embd.weight"]), table)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_an_untied_head_is_kept(tmp_path: Path, architecture: str) -> None:
    folder = Folder.of(CONFIGS[architecture])
    folder.config["tie_word_embeddings"] = False
    hidden = folder.config["decoder"]["hidden_size"]
    head = np.random.default_rng(5).standard_normal((folders.VOCAB, hidden)).astype(np.float32)
    folder.tensors["lm_head.out_proj.weight"] = head
    convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf", type="f32")
    np.testing.assert_array_equal(decoded(read(tmp_path / "m.gguf")["output.weight"]), head)


@pytest.mark.parametrize("same_table", [False, True])
def test_untied_sides_of_a_t5gemma2_keep_both_tables(tmp_path: Path, same_table: bool) -> None:
    folder = Folder.of(CONFIGS["t5gemma2"])
    rng = np.random.default_rng(6)
    table = folder.tensors["model.encoder.embed_tokens.weight"]
    other = {
        "model.decoder.embed_tokens.weight": table if same_table else rng.permutation(table),
        "model.decoder.embed_tokens.eoi_embedding": rng.standard_normal(64).astype(np.float32),
    }
    folder.tensors |= other
    convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf", type="f32")
    tensors = read(tmp_path / "m.gguf")
    names = {
        "token_embd.weight": "model.decoder.embed_tokens.weight",
        "token_embd_eoi.weight": "model.decoder.embed_tokens.eoi_embedding",
        "enc.token_embd.weight": "model.encoder.embed_tokens.weight",
        "enc.token_embd_eoi.weight": "model.encoder.embed_tokens.eoi_embedding",
    }
    for ours, theirs in names.items():
        np.testing.assert_array_equal(decoded(tensors[ours]), folder.tensors[theirs])


def types_of(path: Path) -> dict[str, str]:
    return {name: tensor.tensor_type.name for name, tensor in read(path).items()}


@pytest.mark.parametrize(("hidden", "wide"), [(1024, False), (1056, True)])
@pytest.mark.parametrize(("type_", "wider"), [("q4_0", "Q5_0"), ("q4_1", "Q5_1"), ("q5_0", None), ("q5_1", None)])
def test_presets_keep_sensitive_tensors_wider(
    tmp_path: Path, hidden: int, wide: bool, type_: str, wider: str | None
) -> None:
    config = folders.t5gemma_config()
    for side in ("encoder", "decoder"):
        config[side] |= {"hidden_size": hidden, "num_hidden_layers": 1, "vocab_size": 8, "intermediate_size": 32}
    config["eos_token_id"] = 1
    convert(Folder.of(config).write(tmp_path / "hf", "BF16"), tmp_path / "m.gguf", type=type_)
    types = types_of(tmp_path / "m.gguf")
    sensitive = type_.upper() if wider is None else wider if wide else "Q8_0"
    assert types["token_embd.weight"] == types["enc.token_embd.weight"] == "Q8_0"
    for name in ("enc.blk.0.attn_v", "enc.blk.0.attn_o", "enc.blk.0.ffn_down", "dec.blk.0.cross_attn_v"):
        assert types[f"{name}.weight"] == sensitive, name
    for name in ("enc.blk.0.attn_q", "enc.blk.0.attn_k", "enc.blk.0.ffn_up", "dec.blk.0.cross_attn_q"):
        assert types[f"{name}.weight"] == type_.upper(), name
    assert field(tmp_path / "m.gguf", "general.file_type") == TYPES[type_].file_type


@pytest.mark.parametrize(
    ("type_", "dtype", "vision_type", "expected_type"),
    [
        ("q8_0", "BF16", None, "Q8_0"),
        ("q4_0", "BF16", None, "Q8_0"),
        ("f32", "BF16", None, "F32"),
        ("bf16", "F32", None, "BF16"),
        ("q8_0", "BF16", "f16", "F16"),
        ("q4_0", "BF16", "q8_0", "Q8_0"),
    ],
)
def test_vision_tower_has_its_own_type(
    tmp_path: Path, type_: str, dtype: str, vision_type: str | None, expected_type: str
) -> None:
    folder = Folder.of(CONFIGS["t5gemma2"]).write(tmp_path / "hf", dtype)
    summary = convert(folder, tmp_path / "m.gguf", type=type_, vision_type=vision_type)
    types = types_of(tmp_path / "m.gguf")
    assert types["v.blk.0.ffn_up.weight"] == types["mm.input_projection.weight"] == expected_type
    # 48 columns are one block and a half.
    assert types["v.blk.0.ffn_down.weight"] == ("BF16" if expected_type == "Q8_0" else expected_type)
    assert any("v.blk.0.ffn_down.weight" in note for note in summary.notes) == (expected_type == "Q8_0")
    assert types["v.position_embd.weight"] == types["v.blk.1.ffn_up.bias"] == "F32"


@pytest.mark.parametrize("strip", [False, True])
def test_without_vision(tmp_path: Path, strip: bool) -> None:
    folder = Folder.of(CONFIGS["t5gemma2"])
    if strip:
        parts = ("vision_tower", "multi_modal")
        folder.tensors = {k: v for k, v in folder.tensors.items() if not any(part in k for part in parts)}
    summary = convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf", vision=strip)
    assert not [name for name in read(tmp_path / "m.gguf") if name.startswith(("v.", "mm."))]
    assert field(tmp_path / "m.gguf", "clip.has_vision_encoder") is None
    assert field(tmp_path / "m.gguf", "t5gemma2.eoi_token_id") == 291
    assert any("no vision tower" in note for note in summary.notes) == strip


def test_pooling_head_is_left_out_with_a_note(tmp_path: Path) -> None:
    folder = Folder.of(CONFIGS["t5gemma2"])
    folder.tensors["model.encoder.vision_tower.vision_model.head.probe"] = np.zeros((1, 1, 32), np.float32)
    summary = convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")
    assert any("pooling head" in note for note in summary.notes)


def test_ids_beyond_the_vocabulary_are_left_out_with_a_note(tmp_path: Path) -> None:
    folder = Folder.of(CONFIGS["t5gemma2"])
    folder.config["encoder"] |= {"boi_token_index": 255999, "eoi_token_index": 256000}
    folder.config["eos_token_id"] = [1, 300]
    summary = convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")
    assert any("300, 255999, 256000" in note for note in summary.notes)
    assert field(tmp_path / "m.gguf", "t5gemma2.eos_token_ids") == [1]
    assert field(tmp_path / "m.gguf", "t5gemma2.eoi_token_id") is None
    assert field(tmp_path / "m.gguf", "t5gemma2.image_token_id") == 292


def test_summary_adds_up(tmp_path: Path) -> None:
    summary = convert(Folder.of(CONFIGS["t5gemma"]).write(tmp_path / "hf"), tmp_path / "m.gguf", type="q4_0")
    assert summary.path == tmp_path / "m.gguf"
    assert summary.size_bytes == summary.path.stat().st_size
    tensors = read(summary.path)
    assert {t.name: t.size_bytes for t in summary.tensors} == {n: t.n_bytes for n, t in tensors.items()}
    assert sum(total.n_tensors for total in summary.types.values()) == len(tensors)
    assert sum(total.size_bytes for total in summary.types.values()) < summary.size_bytes
