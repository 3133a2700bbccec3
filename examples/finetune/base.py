"""The bundled model as a Hugging Face checkpoint: a base that is small enough to fine-tune on a CPU in a minute.

    python base.py OUT

Your own base is a folder like OUT as you have downloaded it, and needs nothing of this.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import t5g
import torch
from gguf import GGUFReader, quants
from t5g.model_files import BUNDLED
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast, T5Gemma2Config, T5Gemma2ForConditionalGeneration

_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_o": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "pre_self_attn_layernorm",
    "attn_post_norm": "post_self_attn_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}
# The class cannot do without an image tower; the smallest one is made, and nobody sees it.
_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": 16,
    "patch_size": 8,
    "vision_use_head": False,
}


def side(config: t5g.TextConfig) -> dict[str, object]:
    rope = {
        name: {"rope_type": "linear" if p.factor != 1 else "default", "rope_theta": p.rope_theta, "factor": p.factor}
        for name, p in (
            ("full_attention", config.rope_full_attention),
            ("sliding_attention", config.rope_sliding_attention),
        )
    }
    names = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim "
        "rms_norm_eps sliding_window max_position_embeddings"
    )
    fields = {name: getattr(config, name) for name in names.split()}
    scalar = int(config.query_pre_attn_scalar)
    return fields | {
        "query_pre_attn_scalar": scalar,
        "layer_types": list(config.layer_types),
        "rope_parameters": rope,
        "final_logit_softcapping": config.final_logit_softcapping,
    }


def module(name: str) -> str:
    """Turn a tensor's name in the file into that of the checkpoint."""
    if name in ("token_embd.weight", "token_embd_eoi.weight"):
        return "encoder.embed_tokens." + ("weight" if name == "token_embd.weight" else "eoi_embedding")
    prefix = {"enc": "encoder", "dec": "decoder"}[name[:3]]
    if name[3:] == ".output_norm.weight":
        return f"{prefix}.norm.weight"
    _, _, layer, rest = name.split(".", 3)
    return f"{prefix}.layers.{layer}.{_NAMES[rest.removesuffix('.weight')]}.weight"


def weights(path: Path) -> dict[str, torch.Tensor]:
    found = {}
    for tensor in GGUFReader(path).tensors:
        values = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name.endswith("norm.weight"):
            values = values - 1  # the file has the reference's +1 in it
        found[f"model.{module(tensor.name)}"] = torch.from_numpy(values.reshape(tensor.shape[::-1].tolist()).copy())
    return found


def tokenizer(path: Path, bos: int) -> PreTrainedTokenizerFast:
    """Make the tokenizer again: of every piece, the merges that make it, in the order of the scores."""
    reader = GGUFReader(path)
    pieces, scores, types = (
        reader.get_field(f"tokenizer.ggml.{name}").contents() for name in ("tokens", "scores", "token_type")
    )
    vocab = {piece: i for i, piece in enumerate(pieces)}
    normal = [i for i, kind in enumerate(types) if kind == 1 and len(pieces[i]) > 1]
    merges = [
        (pieces[i][:k], pieces[i][k:])
        for i in sorted(normal, key=lambda i: -scores[i])
        for k in range(1, len(pieces[i]))
        if pieces[i][:k] in vocab and pieces[i][k:] in vocab
    ]
    fast = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    fast.normalizer = normalizers.Replace(" ", "\u2581")
    fast.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    fast.add_special_tokens([AddedToken(pieces[i], special=True) for i, kind in enumerate(types) if kind == 3])
    fast.post_processor = processors.TemplateProcessing(single=f"{pieces[bos]} $A", special_tokens=[(pieces[bos], bos)])
    names = {"bos_token": pieces[bos], "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=fast, **names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    with t5g.Model() as model:
        config, bos = model.config, model.tokenizer.bos_id
    assert config.decoder is not None
    ids = {"bos_token_id": bos, "eos_token_id": config.eos_token_id[0], "pad_token_id": 0}
    encoder = {
        "text_config": side(config.encoder) | ids,
        "vision_config": _VISION,
        "mm_tokens_per_image": 4,
        "boi_token_index": config.boi_token_index or 0,
        "eoi_token_index": config.eoi_token_index or config.vocab_size,
    }
    image = config.image_token_index or config.vocab_size
    whole = T5Gemma2Config(encoder=encoder, decoder=side(config.decoder) | ids, image_token_index=image)
    reference = T5Gemma2ForConditionalGeneration(whole)
    reference.save_pretrained(out, state_dict=weights(BUNDLED))
    tokenizer(BUNDLED, bos).save_pretrained(out)


if __name__ == "__main__":
    main()
