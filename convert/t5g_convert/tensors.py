"""Which tensors a model has, what a checkpoint calls them, and what the file calls them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from t5g.errors import ModelFormatError

from t5g_convert.config import T5GEMMA, ModelConfig, SideConfig, VisionConfig
from t5g_convert.presets import EMBEDDING
from t5g_convert.safetensors import SourceTensor

# Roles beside the names of the matrices ("attn_q", "ffn_down" ...), which are roles themselves.
NORM = "norm"  # stored with the +1 added
VECTOR = "vector"
VISION = "vision"
PROJECTION = "projection"  # stored transposed

HEAD = "lm_head.out_proj.weight"
TABLE = "embed_tokens.weight"
EOI = "embed_tokens.eoi_embedding"


class TensorSpec(NamedTuple):
    """One tensor: its canonical name in a checkpoint, its shape there, its name in the file, and how it is stored."""

    source: str
    shape: tuple[int, ...]
    target: str
    role: str


MATRICES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_o",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NORMS = {
    "pre_self_attn_layernorm": "attn_norm",
    "post_self_attn_layernorm": "attn_post_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "ffn_post_norm",
}


def text_tensors(config: ModelConfig) -> list[TensorSpec]:
    """List the tensors of both stacks. Embedding tables and the head are left to `embedding_tensors`."""
    specs = [
        TensorSpec(f"{name}.norm.weight", (side.hidden_size,), f"{name[:3]}.output_norm.weight", NORM)
        for name, side in config.sides.items()
    ]
    for name, side in config.sides.items():
        for i in range(side.num_hidden_layers):
            source, target = f"{name}.layers.{i}.", f"{name[:3]}.blk.{i}."
            specs += _layer(source, target, side, has_qk_norm=config.architecture != T5GEMMA)
            if name == "decoder" and config.architecture == T5GEMMA:
                specs += _cross_attention(source, target, side, config.encoder.hidden_size)
    return specs


def _layer(source: str, target: str, side: SideConfig, *, has_qk_norm: bool) -> Iterator[TensorSpec]:
    d, f = side.hidden_size, side.intermediate_size
    q, kv = side.num_attention_heads * side.head_dim, side.num_key_value_heads * side.head_dim
    shapes = {
        "attn_q": (q, d),
        "attn_k": (kv, d),
        "attn_v": (kv, d),
        "attn_o": (d, q),
        "ffn_gate": (f, d),
        "ffn_up": (f, d),
        "ffn_down": (d, f),
    }
    for theirs, ours in MATRICES.items():
        yield TensorSpec(f"{source}{theirs}.weight", shapes[ours], f"{target}{ours}.weight", ours)
    for theirs, ours in _NORMS.items():
        yield TensorSpec(f"{source}{theirs}.weight", (d,), f"{target}{ours}.weight", NORM)
    if has_qk_norm:
        for x in "qk":
            yield TensorSpec(
                f"{source}self_attn.{x}_norm.weight", (side.head_dim,), f"{target}attn_{x}_norm.weight", NORM
            )


def _cross_attention(source: str, target: str, side: SideConfig, d_encoder: int) -> Iterator[TensorSpec]:
    d, q, kv = side.hidden_size, side.num_attention_heads * side.head_dim, side.num_key_value_heads * side.head_dim
    for x, shape in (("q", (q, d)), ("k", (kv, d_encoder)), ("v", (kv, d_encoder)), ("o", (d, q))):
        yield TensorSpec(f"{source}cross_attn.{x}_proj.weight", shape, f"{target}cross_attn_{x}.weight", f"attn_{x}")
    yield TensorSpec(f"{source}pre_cross_attn_layernorm.weight", (d,), f"{target}cross_attn_norm.weight", NORM)
    yield TensorSpec(f"{source}post_cross_attn_layernorm.weight", (d,), f"{target}cross_attn_post_norm.weight", NORM)


def embedding_tensors(config: ModelConfig, *, encoder_apart: bool, has_head: bool) -> list[TensorSpec]:
    """List the tables. `encoder_apart`: the encoder has its own; `has_head`: the output head is untied."""
    side = config.decoder or config.encoder
    v, e, d = side.vocab_size, config.encoder.hidden_size, side.hidden_size
    v_encoder = config.encoder.vocab_size
    has_eoi = config.architecture != T5GEMMA
    main = "decoder" if encoder_apart else "encoder"
    specs = [TensorSpec(f"{main}.{TABLE}", (v, d), "token_embd.weight", EMBEDDING)]
    if has_eoi:
        specs.append(TensorSpec(f"{main}.{EOI}", (d,), "token_embd_eoi.weight", VECTOR))
    if encoder_apart:
        specs.append(TensorSpec(f"encoder.{TABLE}", (v_encoder, e), "enc.token_embd.weight", EMBEDDING))
        if has_eoi:
            specs.append(TensorSpec(f"encoder.{EOI}", (e,), "enc.token_embd_eoi.weight", VECTOR))
    if has_head:
        specs.append(TensorSpec(HEAD, (v, d), "output.weight", EMBEDDING))
    return specs


def vision_tensors(vision: VisionConfig, hidden_size: int) -> list[TensorSpec]:
    """List the tensors of the vision tower and the projector."""
    e, f, p = vision.hidden_size, vision.intermediate_size, vision.patch_size
    patches = (vision.image_size // p) ** 2
    tower, projector = "encoder.vision_tower.", "encoder.multi_modal_projector."
    specs = [
        TensorSpec(f"{tower}embeddings.patch_embedding.weight", (e, 3, p, p), "v.patch_embd.weight", VISION),
        TensorSpec(f"{tower}embeddings.patch_embedding.bias", (e,), "v.patch_embd.bias", VECTOR),
        # Added once to activations: F32 like a bias.
        TensorSpec(f"{tower}embeddings.position_embedding.weight", (patches, e), "v.position_embd.weight", VECTOR),
    ]
    for i in range(vision.num_hidden_layers):
        source, target = f"{tower}encoder.layers.{i}.", f"v.blk.{i}."
        specs += _vectors(f"{source}layer_norm1", f"{target}ln1", e) + _vectors(
            f"{source}layer_norm2", f"{target}ln2", e
        )
        for x in ("q", "k", "v", "out"):
            specs += _linear(f"{source}self_attn.{x}_proj", f"{target}attn_{x}", e, e)
        specs += _linear(f"{source}mlp.fc1", f"{target}ffn_up", f, e) + _linear(
            f"{source}mlp.fc2", f"{target}ffn_down", e, f
        )
    specs += _vectors(f"{tower}post_layernorm", "v.post_ln", e)
    specs.append(TensorSpec(f"{projector}mm_soft_emb_norm.weight", (e,), "mm.soft_emb_norm.weight", NORM))
    specs.append(
        TensorSpec(f"{projector}mm_input_projection_weight", (e, hidden_size), "mm.input_projection.weight", PROJECTION)
    )
    return specs


def _linear(source: str, target: str, rows: int, columns: int) -> list[TensorSpec]:
    return [
        TensorSpec(f"{source}.weight", (rows, columns), f"{target}.weight", VISION),
        TensorSpec(f"{source}.bias", (rows,), f"{target}.bias", VECTOR),
    ]


def _vectors(source: str, target: str, n: int) -> list[TensorSpec]:
    return [TensorSpec(f"{source}.{x}", (n,), f"{target}.{x}", VECTOR) for x in ("weight", "bias")]


# What DistributedDataParallel, torch.compile and PEFT put before the names of what they wrap.
_WRAPPERS = ("module.", "_orig_mod.", "base_model.model.")


def without_wrappers(name: str) -> str:
    """Take what training wrappers put before a tensor's name away."""
    while wrapper := next((w for w in _WRAPPERS if name.startswith(w)), None):
        name = name.removeprefix(wrapper)
    return name.replace("._orig_mod.", ".")


# How names begin in the folder of an encoder alone, where nothing else stands beside it.
_OF_AN_ENCODER = ("embed_tokens.", "layers.", "norm.", "text_model.", "vision_tower.", "multi_modal_projector.")


def canonical_name(name: str) -> str:
    """Reduce the spellings in use (released files, saved by newer transformers, module names) to one."""
    name = without_wrappers(name).removeprefix("model.")
    if name.startswith(_OF_AN_ENCODER):
        name = f"encoder.{name}"
    if name.startswith("encoder.text_model."):
        name = "encoder." + name.removeprefix("encoder.text_model.")
    return name.replace("vision_tower.vision_model.", "vision_tower.", 1)


def by_canonical_name(tensors: Iterable[SourceTensor]) -> dict[str, SourceTensor]:
    """Index a checkpoint by canonical names. Raises ModelFormatError where two tensors mean the same."""
    found: dict[str, SourceTensor] = {}
    for tensor in tensors:
        name = canonical_name(tensor.name)
        if name in found:
            raise ModelFormatError(
                f"{tensor.path}: '{tensor.name}' and '{found[name].name}' are the same tensor, twice."
            )
        found[name] = tensor
    return found
