"""Random checkpoints of both families, made and saved by transformers, with no tensor left at its initial zero.

transformers initialises every norm, the end-of-image vector and the image projection with zeros: a runtime that ignored
them would pass. Here every tensor is drawn, and drawn so that greedy text varies and sometimes ends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.cases import BOI, BOS, END_IDS, EOI, EOS, IMAGE, IMAGE_TOKENS, PAD, Case
from support.tokenizers import write_tokenizer

VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_channels": 3,
    "image_size": 16,
    "patch_size": 4,
    "vision_use_head": False,
}


def build_model(case: Case) -> Any:
    """Return the transformers model of `case` in float32, in evaluation mode, with every tensor drawn from its seed."""
    import torch
    import transformers as tf

    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS}
    encoder = {**case.encoder, "vocab_size": case.vocab_size, **ids}
    decoder = {**case.decoder, "vocab_size": case.vocab_size, **ids}
    if case.architecture == "t5gemma":
        config = tf.T5GemmaConfig(encoder=encoder, decoder=decoder, vocab_size=case.vocab_size, **ids)
        config.tie_word_embeddings = case.tied
        model = tf.T5GemmaForConditionalGeneration._from_config(config, attn_implementation="eager")
    else:
        side = {
            "text_config": encoder,
            "vision_config": VISION | dict(case.image),
            "mm_tokens_per_image": IMAGE_TOKENS,
            "boi_token_index": BOI,
            "eoi_token_index": EOI,
        }
        config = tf.T5Gemma2Config(encoder=side, decoder=decoder, image_token_index=IMAGE)
        config.tie_word_embeddings = case.tied
        model = tf.T5Gemma2ForConditionalGeneration._from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            _draw(name, parameter, generator)
        model.tie_weights()
    model.generation_config.update(max_length=None, cache_implementation=None, **ids | {"eos_token_id": list(END_IDS)})
    return model.float().eval()


def _draw(name: str, parameter: Any, generator: Any) -> None:
    """Overwrite one parameter.

    Small embeddings and large post-norms keep the residual stream from being dominated by the token just read (a tied
    head would repeat it for ever); the final norm then brings logits to a spread of about four.
    """
    if parameter.dim() == 1:
        mean = {"post_": 1.0, "q_norm": 0.5, "k_norm": 0.5, "decoder.norm": 9.0}
        shift = 0.0 if "vision" in name else next((value for key, value in mean.items() if key in name), 0.0)
        parameter.normal_(shift, 0.3 if "norm" in name else 0.5, generator=generator)
        return
    gain = 0.5 if "embed" in name else 1.2
    if "vision" not in name and name.split(".")[-2] in ("q_proj", "k_proj"):
        gain *= 1.4
    parameter.normal_(0.0, gain * parameter[0].numel() ** -0.5, generator=generator)


def save_checkpoint(case: Case, folder: Path, *, model: Any = None) -> Any:
    """Write the checkpoint of `case` to `folder` as a release has it, and return the transformers model."""
    model = model or build_model(case)
    model.save_pretrained(folder)
    write_tokenizer(Path(folder), tuple(case.tokenizer_files), add_bos=case.architecture == "t5gemma2")
    return model
