"""Hyper-parameters of a loaded model, under their Hugging Face names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RopeParameters:
    """Rotary position embedding of one layer type.

    Attributes
    ----------
    rope_theta
        Base of the frequencies.
    factor
        Positions are divided by it (1.0: no scaling).
    """

    rope_theta: float
    factor: float


@dataclass(frozen=True)
class TextConfig:
    """One side's text stack. Names and meanings are those of the ``text_config`` of Hugging Face checkpoints.

    ``vocab_size`` is the rows of the side's embedding table, which differ where a fine-tune resized one side alone.
    Soft caps are ``None`` where the architecture has none; ``layer_types`` holds ``"sliding_attention"`` or
    ``"full_attention"`` for each layer; ``max_position_embeddings`` is the longest sequence accepted, in tokens.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    query_pre_attn_scalar: float
    rms_norm_eps: float
    attn_logit_softcapping: float | None
    final_logit_softcapping: float | None
    sliding_window: int
    max_position_embeddings: int
    layer_types: tuple[str, ...]
    rope_full_attention: RopeParameters
    rope_sliding_attention: RopeParameters


@dataclass(frozen=True)
class VisionConfig:
    """The SigLIP image encoder and its projector; sizes in pixels where they are of images."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int
    patch_size: int
    layer_norm_eps: float
    mm_tokens_per_image: int


@dataclass(frozen=True)
class Config:
    """What a model is.

    Attributes
    ----------
    architecture
        ``"t5gemma"`` or ``"t5gemma2"``.
    name
        The file's ``general.name``; may be empty.
    vocab_size
        Tokens that the model can write: rows of the decoder's embedding table. Of an encoder alone, those it can read.
    encoder, decoder
        The two sides; they may differ in size. ``decoder`` is ``None`` where the file is an encoder alone.
    vision
        ``None`` where the file has no image encoder.
    decoder_start_token_id
        First token of every target; ``None`` without a decoder.
    eos_token_id
        Every token that ends generation.
    image_token_index, boi_token_index, eoi_token_index
        The image soft token, begin and end of an image; ``None`` where the model has none.
    """

    architecture: str
    name: str
    vocab_size: int
    encoder: TextConfig
    decoder: TextConfig | None
    vision: VisionConfig | None
    decoder_start_token_id: int | None
    eos_token_id: tuple[int, ...]
    image_token_index: int | None
    boi_token_index: int | None
    eoi_token_index: int | None

    @classmethod
    def _from_core(cls, values: dict[str, object]) -> Config:
        """Build from the nested dict that the native module makes, with the same names."""

        def side(raw: object) -> TextConfig:
            fields = dict(raw)  # type: ignore[call-overload]
            for key in ("rope_full_attention", "rope_sliding_attention"):
                fields[key] = RopeParameters(**fields[key])
            return TextConfig(**fields)

        fields = dict(values)
        fields["encoder"] = side(fields["encoder"])
        if fields["decoder"] is not None:
            fields["decoder"] = side(fields["decoder"])
        if fields["vision"] is not None:
            fields["vision"] = VisionConfig(**fields["vision"])  # type: ignore[arg-type]
        return cls(**fields)  # type: ignore[arg-type]
