"""The files of all peers: random weights of the released shapes, in the form that each peer reads.

Everything is made once and kept in the scratch folder. llama.cpp has no T5Gemma 2; a Gemma 3 of the same shape stands
in for it: the same layers, prefill for the encoder (causal: fewer attention products), decoding for the decoder.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from make_random import hf_config

MAKE_RANDOM = Path(__file__).parents[1] / "make_random.py"


def checkpoint(folder: Path, shape: str) -> Path:
    """Write a random bfloat16 checkpoint with the image tower, by transformers itself."""
    out = folder / f"hf-{shape}"
    if (out / "config.json").exists():
        return out
    import torch
    import transformers as tf

    config = tf.T5Gemma2Config.from_dict(hf_config(f"t5gemma-2-{shape}-{shape}"))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = tf.T5Gemma2ForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(out)
    _write_words(out, config.decoder.vocab_size)
    return out


def _write_words(folder: Path, n_words: int) -> None:
    """Write a tokenizer of numbered words: CTranslate2's converter wants one."""
    import tokenizers
    import transformers as tf

    words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3} | {f"t{i}": i for i in range(4, n_words)}
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

    text = hf_config(f"t5gemma-2-{shape}-{shape}")["decoder"]
    layers, hidden, ffn = (text[name] for name in ("num_hidden_layers", "hidden_size", "intermediate_size"))
    n_heads, head_dim, vocab_size = (text[name] for name in ("num_attention_heads", "head_dim", "vocab_size"))
    q_width, rng = n_heads * head_dim, np.random.default_rng(0)
    pool = (rng.standard_normal(1 << 22, dtype=np.float32) * 0.02).astype(np.float16)
    writer = gguf.GGUFWriter(path, "gemma3")
    for name, value in {
        "block_count": layers,
        "context_length": 32768,
        "embedding_length": hidden,
        "feed_forward_length": ffn,
        "attention.head_count": n_heads,
        "attention.head_count_kv": 1,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.sliding_window": text["sliding_window"],
        "vocab_size": vocab_size,
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

    matrix("token_embd", vocab_size, hidden)
    norm("output_norm", hidden)
    for i in range(layers):
        at = f"blk.{i}."
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            norm(at + name, hidden)
        norm(at + "attn_q_norm", head_dim)
        norm(at + "attn_k_norm", head_dim)
        matrix(at + "attn_q", q_width, hidden)
        matrix(at + "attn_k", head_dim, hidden)
        matrix(at + "attn_v", head_dim, hidden)
        matrix(at + "attn_output", hidden, q_width)
        matrix(at + "ffn_gate", ffn, hidden)
        matrix(at + "ffn_up", ffn, hidden)
        matrix(at + "ffn_down", hidden, ffn)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
