"""Writes a model file of a released size with random weights: for measuring speed and memory without the real ones.

    python benchmarks/make_random.py t5gemma-2-270m-270m model.gguf --type q8_0

Weights are small random numbers: nothing sensible comes out,
but every byte is read and every operation done as with real ones.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from t5g_convert.config import T5GEMMA, ModelConfig, read_config
from t5g_convert.generation import GenerationDefaults
from t5g_convert.metadata import build_metadata
from t5g_convert.presets import F16, F32, Preset, TensorType, default_vision_type, parse_type
from t5g_convert.tensors import (
    NORM,
    PROJECTION,
    VECTOR,
    VISION,
    TensorSpec,
    embedding_tensors,
    text_tensors,
    vision_tensors,
)
from t5g_convert.tokenizer import read_vocabulary
from t5g_convert.writer import OutputTensor, write_gguf

# layers, hidden_size, intermediate_size, query heads, key/value heads, head_dim
T5GEMMA_SIDES = {
    "s": (8, 512, 1024, 8, 8, 64),
    "b": (12, 768, 2048, 12, 12, 64),
    "l": (24, 1024, 2816, 16, 16, 64),
    "ml": (26, 1152, 6912, 4, 4, 256),
    "xl": (24, 2048, 5120, 32, 32, 64),
    "2b": (26, 2304, 9216, 8, 4, 256),
    "9b": (42, 3584, 14336, 16, 8, 256),
}
T5GEMMA2_SIDES = {
    "270m": (18, 640, 2048, 4, 1, 256),
    "1b": (26, 1152, 6912, 4, 1, 256),
    "4b": (34, 2560, 10240, 8, 4, 256),
}
# The same tower in all sizes of T5Gemma 2.
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
_POOL_BYTES = 8 << 20


def side(sizes: tuple[int, ...], **more: Any) -> dict[str, Any]:
    names = ("num_hidden_layers", "hidden_size", "intermediate_size")
    heads = ("num_attention_heads", "num_key_value_heads", "head_dim")
    return {**dict(zip(names + heads, sizes, strict=True)), "query_pre_attn_scalar": sizes[-1], **more}


def hf_config(name: str) -> dict[str, Any]:
    """Return the config.json of a released size."""
    if name.startswith("t5gemma-2-"):
        size = T5GEMMA2_SIDES[name.removeprefix("t5gemma-2-").split("-")[0]]
        linear = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
        rope = {"full_attention": linear, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
        window, limit = (1024, 131072) if size[1] == 2560 else (512, 32768)
        text = side(size, vocab_size=262144, sliding_window=window, max_position_embeddings=limit, rope_parameters=rope)
        text["layer_types"] = ["sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(size[0])]
        encoder = {"text_config": text, "vision_config": SIGLIP, "mm_tokens_per_image": 256}
        encoder |= {"boi_token_index": 255999, "eoi_token_index": 256000}
        return {
            "model_type": "t5gemma2",
            "encoder": encoder,
            "decoder": text,
            "eos_token_id": 1,
            "image_token_index": 256001,
        }
    common = {"vocab_size": 256000, "sliding_window": 4096, "max_position_embeddings": 8192, "rope_theta": 1e4}
    common |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    encoder, decoder = (
        side(
            T5GEMMA_SIDES[part],
            **common,
            layer_types=[("sliding_attention", "full_attention")[i % 2] for i in range(T5GEMMA_SIDES[part][0])],
        )
        for part in name.removeprefix("t5gemma-").split("-")
    )
    return {"model_type": "t5gemma", "encoder": encoder, "decoder": decoder, "eos_token_id": [1, 107]}


class RandomBlocks:
    """Endless encoded weights of one type: a pool of random blocks, read from a different place each time."""

    def __init__(self, tensor_type: TensorType, rng: np.random.Generator) -> None:
        from gguf import GGMLQuantizationType, quants

        values = rng.standard_normal(_POOL_BYTES // 4, dtype=np.float32) * np.float32(0.02)
        encoded = quants.quantize(values, GGMLQuantizationType(tensor_type.gguf_id))
        self._pool = np.ascontiguousarray(encoded).view(np.uint8).reshape(-1)
        self._block = tensor_type.block_bytes
        self._rng = rng

    def take(self, n_bytes: int) -> np.ndarray:
        start = int(self._rng.integers(len(self._pool) // self._block)) * self._block
        return np.resize(
            np.roll(self._pool, -start) if n_bytes > len(self._pool) - start else self._pool[start:], n_bytes
        )


def type_of(spec: TensorSpec, preset: Preset) -> TensorType:
    """Choose a tensor's type as the converter does."""
    if spec.role in (NORM, VECTOR):
        return F32
    if spec.role in (VISION, PROJECTION):
        chosen = default_vision_type(preset.type)
        return chosen if spec.shape[-1] % chosen.block_values == 0 else F16
    return preset.type_for(spec.role, spec.shape[-1])


def output(spec: TensorSpec, preset: Preset, pools: dict[TensorType, RandomBlocks]) -> OutputTensor:
    if spec.role == PROJECTION:
        spec = spec._replace(shape=spec.shape[::-1])
    chosen = type_of(spec, preset)
    row_bytes = chosen.size_bytes(spec.shape[-1])

    def rows(first: int, last: int) -> np.ndarray:
        if spec.role == NORM:
            return np.ones((last - first) * spec.shape[-1], np.float32).view(np.uint8)
        return pools[chosen].take((last - first) * row_bytes)

    return OutputTensor(spec.target, spec.shape, chosen, rows)


def make_random(name: str, out_path: Path, type_name: str, *, pure: bool, vision: bool) -> None:
    chosen = parse_type(type_name)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(hf_config(name)))
        config: ModelConfig = read_config(Path(folder))
        vocabulary = read_vocabulary(Path(folder), config, use_tokenizer=False)
    specs = embedding_tensors(config, encoder_apart=config.architecture == T5GEMMA, has_head=False)
    specs += text_tensors(config)
    if vision and config.vision is not None:
        specs += vision_tensors(config.vision, config.encoder.hidden_size)
    widths = [side.hidden_size for side in (config.encoder, config.decoder) if side is not None]
    preset = Preset(chosen, pure, min(widths))
    rng = np.random.default_rng(0)
    types = {F32} | {type_of(spec, preset) for spec in specs}
    pools = {tensor_type: RandomBlocks(tensor_type, rng) for tensor_type in types}
    tensors = [output(spec, preset, pools) for spec in specs]
    n_parameters = sum(math.prod(spec.shape) for spec in specs)
    has_vision = vision and config.vision is not None
    metadata = build_metadata(config, vocabulary, GenerationDefaults(), chosen, n_parameters, has_vision=has_vision)
    size = write_gguf(out_path, config.architecture, metadata, tensors, n_threads=1, progress=sys.stderr.isatty())
    print(f"{out_path}: {n_parameters:,} parameters, {size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="t5gemma-{s,b,l,ml,xl,2b,9b}-{...} or t5gemma-2-{270m,1b,4b}-{...}")
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", default="q8_0")
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("--vision", action="store_true", help="with the image tower (T5Gemma 2)")
    arguments = parser.parse_args()
    make_random(arguments.name, arguments.out, arguments.type, pure=arguments.pure, vision=arguments.vision)


if __name__ == "__main__":
    main()
