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

from t5g.converter import convert  # noqa: E402
from t5g.converter.presets import TYPES  # noqa: E402

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
