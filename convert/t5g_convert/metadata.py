"""The key-value section of the file, as docs/file-format.md lists it."""

from __future__ import annotations

from typing import Any, NamedTuple

from gguf import GGUFValueType as T

from t5g_convert.config import ModelConfig, SideConfig, VisionConfig
from t5g_convert.generation import GenerationDefaults
from t5g_convert.presets import TensorType
from t5g_convert.vocabulary import Vocabulary

_FLAT_KEYS = (
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.type",
    "rope.scaling.factor",
    "attn_logit_softcapping",
    "context_length",
)


class Value(NamedTuple):
    """A metadata value with its GGUF type, and the type of its elements where it is an array."""

    value: Any
    type: T
    element_type: T | None = None


Metadata = dict[str, Value]


_REAL = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "repetition_penalty",
    "encoder_repetition_penalty",
    "length_penalty",
)
# Of options that other tools look for, under the keys that GGUF has for them.
_COMMON_SAMPLING = {"temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}


def build_metadata(
    config: ModelConfig,
    vocabulary: Vocabulary,
    generation: GenerationDefaults,
    file_type: TensorType,
    n_parameters: int,
    *,
    has_vision: bool,
) -> Metadata:
    """Build all key-value pairs but `general.architecture`, which the writer puts first."""
    arch = config.architecture
    encoder = _side(config.encoder)
    pairs: Metadata = {
        "general.type": Value("model", T.STRING),
        "general.name": Value(config.name, T.STRING),
        "general.size_label": Value(_size_label(n_parameters), T.STRING),
        "general.file_type": Value(file_type.file_type, T.UINT32),
        "general.quantization_version": Value(2, T.UINT32),
    }
    if config.encoder.vocab_size != config.vocab_size:
        encoder["vocab_size"] = Value(config.encoder.vocab_size, T.UINT32)
    pairs |= {f"{arch}.encoder.{key}": value for key, value in encoder.items()}
    pairs |= _decoder(config)
    pairs |= {f"{arch}.{key}": encoder[key] for key in _FLAT_KEYS if key in encoder}
    pairs |= {
        f"{arch}.vocab_size": Value(config.vocab_size, T.UINT32),
        f"{arch}.eos_token_ids": Value(list(config.eos_token_ids), T.ARRAY, T.UINT32),
    }
    pairs |= {f"{arch}.{key}_token_id": Value(i, T.UINT32) for key, i in config.image_token_ids.items()}
    if has_vision and config.vision is not None:
        pairs[f"{arch}.mm_tokens_per_image"] = Value(config.vision.mm_tokens_per_image, T.UINT32)
        pairs |= _vision(config.vision)
    return pairs | _generation(arch, generation) | _tokenizer(config, vocabulary)


def _decoder(config: ModelConfig) -> Metadata:
    arch, side = config.architecture, config.decoder
    if side is None:
        return {f"{arch}.encoder_only": Value(True, T.BOOL)}
    decoder = _side(side)
    pairs: Metadata = {}
    if side.final_logit_softcapping:
        decoder["final_logit_softcapping"] = Value(side.final_logit_softcapping, T.FLOAT32)
        pairs[f"{arch}.final_logit_softcapping"] = decoder["final_logit_softcapping"]
    pairs |= {f"{arch}.decoder.{key}": value for key, value in decoder.items()}
    return pairs | {
        f"{arch}.decoder_block_count": decoder["block_count"],
        f"{arch}.decoder_start_token_id": Value(config.decoder_start_token_id, T.UINT32),
    }


def _side(side: SideConfig) -> Metadata:
    pairs = {
        "block_count": Value(side.num_hidden_layers, T.UINT32),
        "context_length": Value(side.max_position_embeddings, T.UINT32),
        "embedding_length": Value(side.hidden_size, T.UINT32),
        "feed_forward_length": Value(side.intermediate_size, T.UINT32),
        "attention.head_count": Value(side.num_attention_heads, T.UINT32),
        "attention.head_count_kv": Value(side.num_key_value_heads, T.UINT32),
        "attention.key_length": Value(side.head_dim, T.UINT32),
        "attention.value_length": Value(side.head_dim, T.UINT32),
        "attention.query_pre_attn_scalar": Value(side.query_pre_attn_scalar, T.FLOAT32),
        "attention.layer_norm_rms_epsilon": Value(side.rms_norm_eps, T.FLOAT32),
        "attention.sliding_window": Value(side.sliding_window, T.UINT32),
        "attention.sliding_window_pattern": Value(list(side.is_sliding), T.ARRAY, T.BOOL),
        "rope.freq_base": Value(side.full_rope.theta, T.FLOAT32),
        "rope.freq_base_swa": Value(side.sliding_rope.theta, T.FLOAT32),
    }
    if side.full_rope.factor != 1 or side.sliding_rope.factor != 1:
        pairs["rope.scaling.type"] = Value("linear", T.STRING)
        pairs["rope.scaling.factor"] = Value(side.full_rope.factor, T.FLOAT32)
        pairs["rope.scaling.factor_swa"] = Value(side.sliding_rope.factor, T.FLOAT32)
    if side.attn_logit_softcapping:
        pairs["attn_logit_softcapping"] = Value(side.attn_logit_softcapping, T.FLOAT32)
    return pairs


def _vision(vision: VisionConfig) -> Metadata:
    return {
        "clip.has_vision_encoder": Value(True, T.BOOL),
        "clip.vision.image_size": Value(vision.image_size, T.UINT32),
        "clip.vision.patch_size": Value(vision.patch_size, T.UINT32),
        "clip.vision.embedding_length": Value(vision.hidden_size, T.UINT32),
        "clip.vision.feed_forward_length": Value(vision.intermediate_size, T.UINT32),
        "clip.vision.block_count": Value(vision.num_hidden_layers, T.UINT32),
        "clip.vision.attention.head_count": Value(vision.num_attention_heads, T.UINT32),
        "clip.vision.attention.layer_norm_epsilon": Value(vision.layer_norm_eps, T.FLOAT32),
        "clip.vision.image_mean": Value([0.5] * 3, T.ARRAY, T.FLOAT32),
        "clip.vision.image_std": Value([0.5] * 3, T.ARRAY, T.FLOAT32),
        "clip.vision.projector.scale_factor": Value(vision.pool_size, T.UINT32),
    }


def _flat(ids: list[Any]) -> list[int]:
    """Ids as they are; of lists of them, each is ended by -1."""
    return [token for item in ids for token in ([*item, -1] if isinstance(item, list) else [item])]


def _generation(arch: str, generation: GenerationDefaults) -> Metadata:
    pairs: Metadata = {}
    for name, value in generation.options.items():
        key = f"{arch}.generation.{name}"
        if name == "early_stopping":
            pairs[key] = Value(str(value).lower(), T.STRING)
        elif isinstance(value, list):
            pairs[key] = Value(_flat(value), T.ARRAY, T.INT32)
        elif name in _REAL:
            pairs[key] = Value(float(value), T.FLOAT64)
        else:
            pairs[key] = Value(value, T.UINT32)
        if name in _COMMON_SAMPLING:
            kind = T.FLOAT32 if name in _REAL else T.INT32
            pairs[f"general.sampling.{_COMMON_SAMPLING[name]}"] = Value(value, kind)
    if generation.stop:
        pairs[f"{arch}.generation.stop"] = Value(generation.stop, T.ARRAY, T.STRING)
    return pairs


def _tokenizer(config: ModelConfig, vocabulary: Vocabulary) -> Metadata:
    key = "tokenizer.ggml."
    named = vocabulary.named_ids
    bos, eos = named.get("bos_token", config.bos_token_id), named.get("eos_token", config.eos_token_ids[0])
    end_of_turn = vocabulary.find("<end_of_turn>", -1)
    prefix, suffix = vocabulary.around
    pairs = {
        f"{key}model": Value("llama", T.STRING),
        f"{key}pre": Value("default", T.STRING),
        f"{key}tokens": Value(vocabulary.pieces, T.ARRAY, T.STRING),
        f"{key}scores": Value(vocabulary.scores, T.ARRAY, T.FLOAT32),
        f"{key}token_type": Value(vocabulary.types, T.ARRAY, T.INT32),
        f"{key}bos_token_id": Value(bos, T.UINT32),
        f"{key}eos_token_id": Value(eos, T.UINT32),
        f"{key}unknown_token_id": Value(named.get("unk_token", vocabulary.find("<unk>", 3)), T.UINT32),
        f"{key}padding_token_id": Value(named.get("pad_token", config.pad_token_id), T.UINT32),
        f"{key}add_bos_token": Value(prefix[:1] == (bos,), T.BOOL),
        f"{key}add_eos_token": Value(suffix[-1:] == (eos,), T.BOOL),
        f"{key}add_space_prefix": Value(False, T.BOOL),
    }
    if end_of_turn in config.eos_token_ids:
        pairs[f"{key}eot_token_id"] = Value(end_of_turn, T.UINT32)
    if vocabulary.merges:
        pairs[f"{key}merges"] = Value(vocabulary.merges, T.ARRAY, T.STRING)
    templates = vocabulary.chat_templates
    for template, text in templates.items():
        end = "" if template == "default" else f".{template}"
        pairs[f"tokenizer.chat_template{end}"] = Value(text, T.STRING)
    if others := [template for template in templates if template != "default"]:
        pairs["tokenizer.chat_templates"] = Value(others, T.ARRAY, T.STRING)
    if vocabulary.is_placeholder:
        pairs["tokenizer.t5g.placeholder"] = Value(True, T.BOOL)
    # What the two flags cannot say.
    for name, ids, usual in (("prefix", prefix, (bos,)), ("suffix", suffix, (eos,))):
        if ids not in ((), usual):
            pairs[f"tokenizer.t5g.{name}_token_ids"] = Value(list(ids), T.ARRAY, T.UINT32)
    if vocabulary.added_flags:
        flags = dict(sorted(vocabulary.added_flags.items()))
        pairs["tokenizer.t5g.added_token_ids"] = Value(list(flags), T.ARRAY, T.UINT32)
        pairs["tokenizer.t5g.added_token_flags"] = Value(list(flags.values()), T.ARRAY, T.UINT32)
    return pairs


def _size_label(n_parameters: int) -> str:
    """Write 786029296 as 786M and 7508928880 as 7.5B, as Hugging Face's model cards do."""
    for unit, scale in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if n_parameters >= scale:
            return f"{n_parameters / scale:.{1 if scale == 10**9 else 0}f}{unit}"
    return str(n_parameters)
