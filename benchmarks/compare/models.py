"""The files of all peers: random weights of the released shapes, in the form that each peer reads.

Everything is made once and kept in the scratch folder. llama.cpp has no T5Gemma 2; a Gemma 3 of the same shape stands
in for it: the same layers, prefill for the encoder (causal: fewer attention products), decoding for the decoder.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

SHAPES = {  # layers, hidden_size, intermediate_size
    "270m": (18, 640, 2048),
    "1b": (26, 1152, 6912),
}
VOCAB_SIZE, N_HEADS, HEAD_DIM, WINDOW = 262144, 4, 256, 512
MAKE_RANDOM = Path(__file__).parents[1] / "make_random.py"
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 896,
    "patch_size": 14,
    "vision_use_head": False,
}


def checkpoint(folder: Path, shape: str) -> Path:
    """Write a random bfloat16 checkpoint with the image tower, by transformers itself."""
    out = folder / f"hf-{shape}"
    if (out / "config.json").exists():
        return out
    import torch
    import transformers as tf

    layers, hidden, ffn = SHAPES[shape]
    side = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": 1,
        "head_dim": HEAD_DIM,
        "sliding_window": WINDOW,
        "max_position_embeddings": 32768,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    }
    config = tf.T5Gemma2Config(encoder={"text_config": side, "vision_config": SIGLIP}, decoder=dict(side))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = tf.T5Gemma2ForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(out)
    _write_words(out)
    return out


def _write_words(folder: Path) -> None:
    """Write a tokenizer of numbered words: CTranslate2's converter wants one."""
    import tokenizers
    import transformers as tf

    words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3} | {f"t{i}": i for i in range(4, VOCAB_SIZE)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    special = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")}
    tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def t5g_file(folder: Path, shape: str, variant: str, *, vision: bool) -> Path:
    """Write random weights of ``variant``: a type, perhaps with the word "pure"."""
    out = folder / f"t5g-{shape}-{variant.replace(' ', '-')}{'-vision' if vision else ''}.gguf"
    if not out.exists():
        kind, _, pure = variant.partition(" ")
        command = [sys.executable, MAKE_RANDOM, f"t5gemma-2-{shape}-{shape}", out, "--type", kind]
        command += ["--pure"] * bool(pure) + ["--vision"] * vision
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def ctranslate2_folder(folder: Path, shape: str, kind: str) -> Path:
    """Convert the checkpoint with CTranslate2."""
    out = folder / f"ct2-{shape}-{kind}"
    if not (out / "model.bin").exists():
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(checkpoint(folder, shape))).convert(str(out), quantization=kind, force=True)
    return out


def llama_file(folder: Path, shape: str, kind: str, quantize: Path) -> Path:
    """Write a Gemma 3 of the same shape and let llama-quantize make ``kind`` of it."""
    out = folder / f"llama-{shape}-{kind.replace(', ', '-').replace(' ', '-')}.gguf"
    if out.exists():
        return out
    whole = folder / f"llama-{shape}-f16.gguf"
    if not whole.exists():
        _write_gemma3(whole, shape)
    matrices, _, head = kind.partition(", ")
    options = ["--token-embedding-type", head.split()[0]] if head else ["--pure"]
    subprocess.run([quantize, *options, whole, out, matrices], check=True, stdout=subprocess.DEVNULL, stderr=sys.stderr)
    return out


def _write_gemma3(path: Path, shape: str) -> None:
    import gguf

    layers, hidden, ffn = SHAPES[shape]
    q_width, rng = N_HEADS * HEAD_DIM, np.random.default_rng(0)
    pool = (rng.standard_normal(1 << 22, dtype=np.float32) * 0.02).astype(np.float16)
    writer = gguf.GGUFWriter(path, "gemma3")
    for name, value in {
        "block_count": layers,
        "context_length": 32768,
        "embedding_length": hidden,
        "feed_forward_length": ffn,
        "attention.head_count": N_HEADS,
        "attention.head_count_kv": 1,
        "attention.key_length": HEAD_DIM,
        "attention.value_length": HEAD_DIM,
        "attention.sliding_window": WINDOW,
        "vocab_size": VOCAB_SIZE,
    }.items():
        writer.add_uint32(f"gemma3.{name}", value)
    writer.add_float32("gemma3.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_float32("gemma3.rope.freq_base", 1e6)
    writer.add_tokenizer_model("no_vocab")

    def matrix(name: str, rows: int, columns: int) -> None:
        start = int(rng.integers(1 << 20))
        writer.add_tensor(f"{name}.weight", np.resize(pool[start:], rows * columns).reshape(rows, columns))

    def norm(name: str, size: int) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))

    matrix("token_embd", VOCAB_SIZE, hidden)
    norm("output_norm", hidden)
    for i in range(layers):
        at = f"blk.{i}."
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            norm(at + name, hidden)
        norm(at + "attn_q_norm", HEAD_DIM)
        norm(at + "attn_k_norm", HEAD_DIM)
        matrix(at + "attn_q", q_width, hidden)
        matrix(at + "attn_k", HEAD_DIM, hidden)
        matrix(at + "attn_v", HEAD_DIM, hidden)
        matrix(at + "attn_output", hidden, q_width)
        matrix(at + "ffn_gate", ffn, hidden)
        matrix(at + "ffn_up", ffn, hidden)
        matrix(at + "ffn_down", hidden, ffn)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
