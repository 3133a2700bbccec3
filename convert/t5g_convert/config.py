"""Hyper-parameters from config.json and generation_config.json, in any layout that transformers has written.

What transformers would fill in silently is filled in only where the tensors' shapes or every released model confirm it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from t5g.errors import ModelFormatError

from t5g_convert.folders import check_folder, check_quantization
from t5g_convert.safetensors import read_json

T5GEMMA, T5GEMMA2 = "t5gemma", "t5gemma2"
_MAX_COUNT = 1 << 31
# What a config.json describes, by its model_type: the whole model, or how the encoder's part of one is laid out.
_ENCODERS = {"t5_gemma_module": T5GEMMA, "t5gemma2_encoder": T5GEMMA2, "t5gemma2_text": T5GEMMA2}


class Rope(NamedTuple):
    """Rotary embedding of one kind of layer: positions are divided by `factor`."""

    theta: float
    factor: float


@dataclass(frozen=True)
class SideConfig:
    """One side (encoder or decoder), under the Hugging Face names."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    query_pre_attn_scalar: float
    rms_norm_eps: float
    sliding_window: int
    is_sliding: tuple[bool, ...]  # per layer, from layer_types
    full_rope: Rope
    sliding_rope: Rope
    attn_logit_softcapping: float  # 0: none
    final_logit_softcapping: float  # 0: none
    max_position_embeddings: int


@dataclass(frozen=True)
class VisionConfig:
    """The SigLIP tower of T5Gemma 2."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int
    patch_size: int
    layer_norm_eps: float
    mm_tokens_per_image: int
    pool_size: int  # side of the mean-pooling window, in patches


@dataclass(frozen=True)
class ModelConfig:
    """Everything about a checkpoint but its tensors and its tokenizer."""

    architecture: str
    name: str
    encoder: SideConfig
    decoder: SideConfig | None  # None: an encoder alone
    vision: VisionConfig | None
    tie_word_embeddings: bool
    bos_token_id: int
    pad_token_id: int
    eos_token_ids: tuple[int, ...]
    decoder_start_token_id: int
    image_token_ids: Mapping[str, int]  # "image", "boi", "eoi"; T5Gemma 2 only

    @property
    def sides(self) -> dict[str, SideConfig]:
        """The sides that there are, by name."""
        return {"encoder": self.encoder} | ({} if self.decoder is None else {"decoder": self.decoder})

    @property
    def vocab_size(self) -> int:
        """Tokens that the model can write; those that an encoder alone can read."""
        return (self.decoder or self.encoder).vocab_size

    @property
    def hidden_size(self) -> int:
        """The narrower side's."""
        return min(side.hidden_size for side in self.sides.values())

    @property
    def n_tokens(self) -> int:
        """Tokens that either side can read: those of the one tokenizer."""
        return max(side.vocab_size for side in self.sides.values())


class _Fields:
    """Typed look-up in one JSON object, whose errors name file and field."""

    def __init__(self, path: Path, prefix: str, values: Mapping[str, Any]) -> None:
        self.path, self.prefix, self.values = path, prefix, values

    def error(self, key: str, what: str) -> ModelFormatError:
        return ModelFormatError(f"{self.path}: '{self.prefix}{key}' {what}.")

    def section(self, key: str) -> _Fields:
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self.error(key, "is missing" if value is None else "is not an object")
        return _Fields(self.path, f"{self.prefix}{key}.", value)

    def count(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key)
        if value is None:
            value = default
        if value is None:
            raise self.error(key, "is missing")
        if type(value) is not int or not 0 < value < _MAX_COUNT:
            raise self.error(key, f"is {value!r}, expected a positive integer")
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        value = self.values.get(key)
        if value is None:
            value = default
        if value is None:
            raise self.error(key, "is missing")
        if type(value) not in (int, float) or not 0 < value < 1e30:
            raise self.error(key, f"is {value!r}, expected a positive number")
        return float(value)

    def softcap(self, key: str, default: float) -> float:
        """Give the cap, or 0 where the file says null; `default` where it says nothing."""
        if key in self.values and self.values[key] is None:
            return 0.0
        return self.positive(key, default) if self.values.get(key, default) else 0.0

    def token_id(self, key: str) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        if type(value) is not int or not 0 <= value < _MAX_COUNT:
            raise self.error(key, f"is {value!r}, expected a token id")
        return value

    def token_ids(self, key: str) -> tuple[int, ...] | None:
        value = self.values.get(key)
        if value is None:
            return None
        ids = value if isinstance(value, list) else [value]
        if not ids or not all(type(i) is int and 0 <= i < _MAX_COUNT for i in ids):
            raise self.error(key, f"is {value!r}, expected token ids")
        return tuple(dict.fromkeys(ids))

    def require(self, key: str, allowed: tuple[Any, ...], default: Any) -> None:
        value = self.values.get(key, default)
        if value not in allowed:
            raise self.error(
                key, f"is {value!r}, supported is {' or '.join(repr(a) for a in allowed if a is not None)}"
            )


def read_config(folder: Path, *, encoder_only: bool = False) -> ModelConfig:
    """Read and check a checkpoint folder's configuration. Raises FileNotFoundError, ModelFormatError.

    encoder_only: leave the decoder of a whole model out.
    """
    path = folder / "config.json"
    check_folder(folder)
    top = _Fields(path, "", read_json(path))
    found = top.values.get("model_type")
    if found not in (T5GEMMA, T5GEMMA2, *_ENCODERS):
        raise ModelFormatError(
            f"{path}: model_type is {found!r}, expected 't5gemma' or 't5gemma2', or an encoder of these: "
            f"{', '.join(map(repr, _ENCODERS))}."
        )
    model_type = _ENCODERS.get(found, found)
    is_whole = found not in _ENCODERS and top.values.get("is_encoder_decoder", True) is not False
    if top.values.get("is_decoder") is True and not is_whole:
        raise top.error("is_decoder", "is true: it is a decoder without its encoder. Give the whole model")
    check_quantization(path, top.values.get("quantization_config"))
    generation_path = folder / "generation_config.json"
    generation = _Fields(generation_path, "", read_json(generation_path) if generation_path.is_file() else {})

    encoder_fields = top.section("encoder") if found not in _ENCODERS else top
    has_text_config = model_type == T5GEMMA2 and found != "t5gemma2_text"
    text_fields = encoder_fields.section("text_config") if has_text_config else encoder_fields
    encoder, decoder = _read_side(text_fields, model_type), None
    side_fields = text_fields
    if is_whole and not encoder_only:
        side_fields = top.section("decoder")
        decoder = _read_side(side_fields, model_type)
        _check_pair(path, model_type, encoder, decoder)

    places = (generation, top, side_fields)
    bos = _first(places[1:] + places[:1], "bos_token_id", _Fields.token_id, 2)
    return ModelConfig(
        architecture=model_type,
        name=str(top.values.get("_name_or_path") or folder.resolve().name),
        encoder=encoder,
        decoder=decoder,
        vision=_read_vision(encoder_fields) if encoder_fields.values.get("vision_config") else None,
        tie_word_embeddings=top.values.get("tie_word_embeddings", True) is not False,
        bos_token_id=bos,
        pad_token_id=_first(places, "pad_token_id", _Fields.token_id, 0),
        eos_token_ids=_first(places, "eos_token_id", _Fields.token_ids, (1,)),
        decoder_start_token_id=_first(places, "decoder_start_token_id", _Fields.token_id, bos),
        image_token_ids=_read_image_ids(top, encoder_fields) if model_type == T5GEMMA2 else {},
    )


def _first(places: tuple[_Fields, ...], key: str, get: Callable[[_Fields, str], Any], default: Any) -> Any:
    found = (get(place, key) for place in places)
    return next((value for value in found if value is not None), default)


def _read_side(fields: _Fields, model_type: str) -> SideConfig:
    """Sizes that are missing get transformers' class defaults: a wrong one cannot pass the tensors' shapes."""
    fields.require("hidden_activation", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
    fields.require("attention_bias", (False, None), False)
    hidden_size, heads = fields.count("hidden_size", 2304), fields.count("num_attention_heads", 8)
    layers = fields.count("num_hidden_layers", 26)
    head_dim = fields.count("head_dim", 256)
    kv_heads = fields.count("num_key_value_heads", 4)
    if heads % kv_heads:
        raise fields.error("num_key_value_heads", f"is {kv_heads}, which does not divide num_attention_heads {heads}")
    if head_dim % 2:
        raise fields.error("head_dim", f"is {head_dim}, expected an even number")
    is_t5gemma = model_type == T5GEMMA
    full_rope, sliding_rope = _read_rope(fields, is_t5gemma)
    return SideConfig(
        vocab_size=fields.count("vocab_size", 256000 if is_t5gemma else None),
        hidden_size=hidden_size,
        intermediate_size=fields.count("intermediate_size", 9216),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        # No tensor tells this one: the class default 256 is right only for the models whose head_dim it is.
        query_pre_attn_scalar=fields.positive("query_pre_attn_scalar", 256 if head_dim == 256 else None),
        rms_norm_eps=fields.positive("rms_norm_eps", 1e-6),
        sliding_window=fields.count("sliding_window", 4096 if is_t5gemma else None),
        is_sliding=_read_layer_types(fields, layers, default_pattern=2 if is_t5gemma else 6),
        full_rope=full_rope,
        sliding_rope=sliding_rope,
        # transformers ignores this field in T5Gemma 2, so whatever a file says, there is no cap.
        attn_logit_softcapping=fields.softcap("attn_logit_softcapping", 50.0) if is_t5gemma else 0.0,
        final_logit_softcapping=fields.softcap("final_logit_softcapping", 30.0 if is_t5gemma else 0.0),
        max_position_embeddings=fields.count("max_position_embeddings", 8192 if is_t5gemma else 131072),
    )


def _read_layer_types(fields: _Fields, layers: int, default_pattern: int) -> tuple[bool, ...]:
    types = fields.values.get("layer_types")
    if types is None:
        key = "sliding_window_pattern" if "sliding_window_pattern" in fields.values else "_sliding_window_pattern"
        pattern = fields.count(key, default_pattern)
        return tuple((i + 1) % pattern != 0 for i in range(layers))
    known = {"sliding_attention": True, "full_attention": False}
    if not isinstance(types, list) or len(types) != layers or not all(isinstance(t, str) and t in known for t in types):
        raise fields.error("layer_types", f"is not {layers} times 'sliding_attention' or 'full_attention'")
    return tuple(known[t] for t in types)


def _read_rope(fields: _Fields, is_t5gemma: bool) -> tuple[Rope, Rope]:
    """Give the rotary embeddings of full and of sliding layers."""
    if fields.values.get("rope_parameters") is not None:
        parameters = fields.section("rope_parameters")
        if "full_attention" in parameters.values and "sliding_attention" in parameters.values:
            full, sliding = parameters.section("full_attention"), parameters.section("sliding_attention")
        elif is_t5gemma:
            full = sliding = parameters
        else:
            raise parameters.error("full_attention", "or 'sliding_attention' is missing")
        return _read_rope_entry(full, full.positive("rope_theta")), _read_rope_entry(
            sliding, sliding.positive("rope_theta")
        )
    scaling = fields.section("rope_scaling") if fields.values.get("rope_scaling") else _Fields(fields.path, "", {})
    if is_t5gemma:
        rope = _read_rope_entry(scaling, fields.positive("rope_theta", 10000.0))
        return rope, rope
    # The older T5Gemma 2 layout scales full-attention layers only.
    return (
        _read_rope_entry(scaling, fields.positive("rope_theta")),
        Rope(fields.positive("rope_local_base_freq", 10000.0), 1.0),
    )


def _read_rope_entry(fields: _Fields, theta: float) -> Rope:
    kind = fields.values.get("rope_type", fields.values.get("type", "default"))
    if kind not in ("default", "linear"):
        raise fields.error("rope_type", f"is {kind!r}, supported is 'default' or 'linear'")
    fields.require("partial_rotary_factor", (1, None), 1)
    return Rope(theta, fields.positive("factor") if kind == "linear" else 1.0)


def _check_pair(path: Path, model_type: str, encoder: SideConfig, decoder: SideConfig) -> None:
    e, d = encoder.hidden_size, decoder.hidden_size
    if model_type == T5GEMMA2 and e != d:
        raise ModelFormatError(f"{path}: hidden_size is {e} in the encoder and {d} in the decoder, expected equal.")


def _read_vision(encoder: _Fields) -> VisionConfig:
    fields = encoder.section("vision_config")
    fields.require("model_type", ("siglip_vision_model",), "siglip_vision_model")
    fields.require("hidden_act", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
    fields.require("num_channels", (3,), 3)
    hidden_size, heads = fields.count("hidden_size", 768), fields.count("num_attention_heads", 12)
    image_size, patch_size = fields.count("image_size", 224), fields.count("patch_size", 16)
    if hidden_size % heads:
        raise fields.error("num_attention_heads", f"is {heads}, which does not divide hidden_size {hidden_size}")
    tokens = encoder.count("mm_tokens_per_image", 256)
    patches, side = image_size // patch_size, int(tokens**0.5)
    if side * side != tokens or patches % side:
        raise encoder.error(
            "mm_tokens_per_image", f"is {tokens}, which {patches} x {patches} patches cannot be pooled to"
        )
    return VisionConfig(
        hidden_size=hidden_size,
        intermediate_size=fields.count("intermediate_size", 3072),
        num_hidden_layers=fields.count("num_hidden_layers", 12),
        num_attention_heads=heads,
        image_size=image_size,
        patch_size=patch_size,
        layer_norm_eps=fields.positive("layer_norm_eps", 1e-6),
        mm_tokens_per_image=tokens,
        pool_size=patches // side,
    )


def _read_image_ids(top: _Fields, encoder: _Fields) -> dict[str, int]:
    """Take the image token from the top level and the two markers from the encoder, as transformers does."""
    image = _first((top,), "image_token_index", _Fields.token_id, 256001)
    boi = _first((encoder,), "boi_token_index", _Fields.token_id, 255999)
    eoi = _first((encoder,), "eoi_token_index", _Fields.token_id, 256000)
    return {"image": image, "boi": boi, "eoi": eoi}
