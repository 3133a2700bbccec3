"""Checkpoint folders written by hand, without torch: any spelling of names, any layout of config.json, any damage.

Everything is plain data that a test changes before it is written: `Folder.config`, `Folder.tensors`.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from support.safetensors import write_safetensors

VOCAB = 300


def _side(hidden: int, layers: int, heads: int, kv_heads: int, head_dim: int, ffn: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "query_pre_attn_scalar": 10,
        "sliding_window": 5,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
    }


def t5gemma_config() -> dict[str, Any]:
    """Config of a T5Gemma whose sides differ in every size."""
    extra = {
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    return {
        "model_type": "t5gemma",
        "is_encoder_decoder": True,
        "encoder": _side(64, 3, 4, 2, 16, 96) | extra,
        "decoder": _side(32, 2, 2, 1, 32, 64) | extra,
        "eos_token_id": [1, 107],
        "bos_token_id": 2,
        "pad_token_id": 0,
    }


def t5gemma2_config() -> dict[str, Any]:
    """Config of a T5Gemma 2 with a vision tower of 4 x 4 patches pooled to 4 tokens."""
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    extra = {"rope_parameters": rope}
    return {
        "model_type": "t5gemma2",
        "encoder": {
            "text_config": _side(64, 2, 4, 2, 16, 96) | extra,
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 56,
                "patch_size": 14,
                "layer_norm_eps": 1e-6,
                "vision_use_head": False,
            },
            "mm_tokens_per_image": 4,
            "boi_token_index": 290,
            "eoi_token_index": 291,
        },
        "decoder": _side(64, 3, 4, 2, 16, 96) | extra,
        "image_token_index": 292,
        "eos_token_id": 1,
    }


def _layer(side: dict[str, Any], *, qk_norm: bool) -> dict[str, tuple[int, ...]]:
    d, f, q = side["hidden_size"], side["intermediate_size"], side["num_attention_heads"] * side["head_dim"]
    kv = side["num_key_value_heads"] * side["head_dim"]
    norms = ("pre_self_attn", "post_self_attn", "pre_feedforward", "post_feedforward")
    return {
        "self_attn.q_proj.weight": (q, d),
        "self_attn.k_proj.weight": (kv, d),
        "self_attn.v_proj.weight": (kv, d),
        "self_attn.o_proj.weight": (d, q),
        "mlp.gate_proj.weight": (f, d),
        "mlp.up_proj.weight": (f, d),
        "mlp.down_proj.weight": (d, f),
        **{f"{name}_layernorm.weight": (d,) for name in norms},
        **({f"self_attn.{x}_norm.weight": (side["head_dim"],) for x in "qk"} if qk_norm else {}),
    }


def _tower(config: dict[str, Any], d: int) -> dict[str, tuple[int, ...]]:
    e, f, p = config["hidden_size"], config["intermediate_size"], config["patch_size"]
    tower = "model.encoder.vision_tower.vision_model."
    shapes: dict[str, tuple[int, ...]] = {
        f"{tower}embeddings.patch_embedding.weight": (e, 3, p, p),
        f"{tower}embeddings.patch_embedding.bias": (e,),
        f"{tower}embeddings.position_embedding.weight": ((config["image_size"] // p) ** 2, e),
    }
    for i in range(config["num_hidden_layers"]):
        layer = f"{tower}encoder.layers.{i}."
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}{name}.{x}": (e,) for x in ("weight", "bias")}
        linears = {f"self_attn.{x}_proj": (e, e) for x in ("q", "k", "v", "out")}
        for name, shape in {**linears, "mlp.fc1": (f, e), "mlp.fc2": (e, f)}.items():
            shapes |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
    shapes |= {f"{tower}post_layernorm.{x}": (e,) for x in ("weight", "bias")}
    projector = "model.encoder.multi_modal_projector."
    return shapes | {f"{projector}mm_soft_emb_norm.weight": (e,), f"{projector}mm_input_projection_weight": (e, d)}


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names, as released files spell them, and shapes of a checkpoint's tensors."""
    second = config["model_type"] == "t5gemma2"
    sides = {"encoder": config["encoder"]["text_config"] if second else config["encoder"], "decoder": config["decoder"]}
    found: dict[str, tuple[int, ...]] = {}
    for name, side in sides.items():
        d = side["hidden_size"]
        found[f"model.{name}.norm.weight"] = (d,)
        if not second or name == "encoder":
            found[f"model.{name}.embed_tokens.weight"] = (side["vocab_size"], d)
        for i in range(side["num_hidden_layers"]):
            found |= {f"model.{name}.layers.{i}.{k}": v for k, v in _layer(side, qk_norm=second).items()}
    if second:
        d = sides["encoder"]["hidden_size"]
        found["model.encoder.embed_tokens.eoi_embedding"] = (d,)
        return found | _tower(config["encoder"]["vision_config"], d)
    d, e, side = sides["decoder"]["hidden_size"], sides["encoder"]["hidden_size"], sides["decoder"]
    q, kv = side["num_attention_heads"] * side["head_dim"], side["num_key_value_heads"] * side["head_dim"]
    for i in range(side["num_hidden_layers"]):
        layer = f"model.decoder.layers.{i}."
        for x, shape in {"q": (q, d), "k": (kv, e), "v": (kv, e), "o": (d, q)}.items():
            found[f"{layer}cross_attn.{x}_proj.weight"] = shape
        found |= {f"{layer}{x}_cross_attn_layernorm.weight": (d,) for x in ("pre", "post")}
    return found


@dataclass
class Folder:
    """A checkpoint in memory, to be changed and then written."""

    config: dict[str, Any]
    tensors: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, config: dict[str, Any], seed: int = 0) -> Folder:
        """Make one with random tensors of the shapes that `config` asks for."""
        rng = np.random.default_rng(seed)
        config = copy.deepcopy(config)
        found = shapes(config).items()
        return cls(config, {name: rng.standard_normal(shape).astype(np.float32) * 0.2 for name, shape in found})

    def write(self, path: Path, dtype: str = "F32", *, shards: int = 1) -> Path:
        """Write config.json and the safetensors files, and return the folder."""
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(self.config))
        if shards == 1:
            write_safetensors(path / "model.safetensors", self.tensors, dtype)
            return path
        names = sorted(self.tensors)
        weight_map = {}
        for i in range(shards):
            file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
            part = names[i::shards]
            write_safetensors(path / file, {name: self.tensors[name] for name in part}, dtype)
            weight_map |= dict.fromkeys(part, file)
        (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        return path
