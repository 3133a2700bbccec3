"""Compares Gemma 3 (transformers) with T5Gemma 2 without a source (transformers and t5g) on the same trained weights.

    python tools/real_weights/check_real.py FOLDER [--model real-f32.gguf]

FOLDER is what make_real.py wrote. The decoder's weights are loaded into Gemma3ForCausalLM and into T5Gemma 2 with its
source masked; both run in float32. With --model, t5g runs the converted file with an empty source. Printed per prompt:
the largest difference of the logits as a share of the largest logit, and every side's greedy continuation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS = (
    "The capital of France is",
    "Water boils at 100 degrees Celsius, and it freezes at",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Die Katze sitzt auf dem",
)
N_NEW_TOKENS = 24


def load_state(folder: Path) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    return {name: value.to(torch.float32) for name, value in load_file(folder / "model.safetensors").items()}


def gemma3(config: dict, state: dict[str, Any]) -> Any:
    """Return Gemma 3 with the decoder's weights, whose names differ for two norms."""
    import transformers as tf

    text = {key: value for key, value in config["decoder"].items() if key != "model_type"}
    model = tf.Gemma3ForCausalLM._from_config(tf.Gemma3TextConfig(**text), attn_implementation="eager")
    names = {"pre_self_attn_layernorm": "input_layernorm", "post_self_attn_layernorm": "post_attention_layernorm"}
    own = {"model.embed_tokens.weight": state["model.encoder.embed_tokens.weight"]}
    for name, value in state.items():
        if name.startswith("model.decoder."):
            name = name.replace("model.decoder.", "model.")
            for theirs, ours in names.items():
                name = name.replace(theirs, ours)
            own[name] = value
    left = model.load_state_dict(own, strict=False)
    assert left.missing_keys in ([], ["lm_head.weight"]), left
    assert not left.unexpected_keys, left
    model.tie_weights()
    return model.eval()


def t5gemma2(config: dict, folder: Path) -> Any:
    """Return T5Gemma 2; its vision tower is shrunk to nothing, for the folder has none."""
    import torch
    import transformers as tf

    tf.logging.set_verbosity_error()
    tf.utils.logging.disable_progress_bar()
    config["encoder"]["vision_config"] = {
        "model_type": "siglip_vision_model",
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 64,
        "patch_size": 4,
        "vision_use_head": False,
    }
    return tf.T5Gemma2ForConditionalGeneration.from_pretrained(
        folder, config=tf.T5Gemma2Config(**config), dtype=torch.float32, attn_implementation="eager"
    ).eval()


def transformers_side(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return ids, logits and greedy continuation of Gemma 3 for every prompt, having compared T5Gemma 2's logits."""
    import sentencepiece
    import torch

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    found = {}
    gemma, merged = gemma3(config, load_state(folder)), t5gemma2(config, folder)
    for prompt in PROMPTS:
        ids = torch.tensor([[2, *tokenizer.encode(prompt)]])
        with torch.no_grad():
            logits = gemma(ids).logits[0].numpy()
            nothing = torch.tensor([[2]])
            other = merged(input_ids=nothing, attention_mask=nothing * 0, decoder_input_ids=ids).logits[0].numpy()
            text = gemma.generate(ids, max_new_tokens=N_NEW_TOKENS, do_sample=False)[0, ids.shape[1] :]
        print(f"{prompt!r}\n  Gemma 3: {tokenizer.decode(text.tolist())!r}")
        print(f"  T5Gemma 2, masked source (transformers): logits differ by {relative(other, logits):.1e}")
        found[prompt] = {"ids": ids[0].numpy(), "logits": logits, "continuation": text.numpy()}
    return found


def check_t5g(path: Path, expected: dict[str, dict[str, np.ndarray]]) -> None:
    import t5g

    with t5g.Model(path) as model:
        for prompt, theirs in expected.items():
            ids = theirs["ids"].tolist()
            out = model.generate([], decoder_prefix=ids, max_new_tokens=N_NEW_TOKENS)
            difference = relative(model.logits([], ids), theirs["logits"])
            same = out.token_ids == theirs["continuation"].tolist()
            print(f"{prompt!r}\n  t5g: {out.text!r}\n  logits differ by {difference:.1e}, same greedy ids: {same}")


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="a GGUF file made from the folder, to be run by t5g")
    options = parser.parse_args()
    expected = transformers_side(options.folder)
    if options.model:
        check_t5g(options.model, expected)


if __name__ == "__main__":
    main()
