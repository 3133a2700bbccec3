"""A PEFT LoRA to a file of its own, with the keys and names of llama.cpp's adapters where they fit."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import numpy as np
from gguf import GGUFValueType as T
from numpy.typing import NDArray
from t5g._files import check_output
from t5g.errors import InvalidArgumentError, ModelFormatError
from t5g.messages import Argument, told

from t5g_convert.adapter import Adapter, Delta, read_adapter
from t5g_convert.config import T5GEMMA, T5GEMMA2, read_config
from t5g_convert.encode import encode
from t5g_convert.fingerprint import fingerprints
from t5g_convert.matching import listing, match
from t5g_convert.metadata import Metadata, Value
from t5g_convert.presets import BF16, F16, F32, TensorType, parse_type
from t5g_convert.safetensors import SourceTensor, open_checkpoint
from t5g_convert.summary import Summary, TensorPlan
from t5g_convert.tensors import HEAD, MATRICES, TABLE
from t5g_convert.writer import OutputTensor, write_gguf

_STORED = {"BF16": BF16, "F16": F16}
_TABLES = {f"encoder.{TABLE}": "enc.token_embd", f"decoder.{TABLE}": "token_embd", HEAD: "output"}
_VISION = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
# The 2 is of the family, and not of a size: google/t5gemma-2-270m-270m, google/t5gemma-2b-2b-ul2-it.
_CLASS = re.compile(r"T5Gemma(2)?(?=[A-Z])")
_RELEASE = re.compile(r"google/t5gemma-(?:(2)-)?[a-z0-9]+-[a-z0-9]+")
_CROSS = {f"cross_attn.{x}_proj": f"cross_attn_{x}" for x in "qkvo"}


def convert_adapter(
    folder: Path, out_path: str, *, type: str | None, base: Path | None, n_threads: int, progress: bool
) -> Summary:
    """Write the adapter of a folder to one GGUF file.

    type: None keeps what the folder has. base: the checkpoint that it was trained on, so that other models refuse it.
    """
    start = time.perf_counter()
    chosen = None if type is None else parse_type(type)
    if chosen is not None and chosen.is_quantised:
        what = f" is {chosen.name!r}, expected f32, f16 or bf16: adapters are not quantised."
        raise told(InvalidArgumentError, Argument("type"), what)
    adapter = read_adapter(folder)
    _check(adapter)
    out = check_output(out_path, [*folder.glob("*.json"), *folder.glob("*.safetensors")])
    architecture, prints = _base(adapter, base)
    alpha, tensors = _tensors(adapter, architecture, chosen)
    metadata: Metadata = {
        "general.type": Value("adapter", T.STRING),
        "general.name": Value(folder.resolve().name, T.STRING),
        "adapter.type": Value("lora", T.STRING),
        "adapter.lora.alpha": Value(alpha, T.FLOAT32),
    }
    if adapter.base_name:
        metadata["general.base_model.count"] = Value(1, T.UINT32)
        metadata["general.base_model.0.name"] = Value(adapter.base_name, T.STRING)
    metadata |= {key: Value(value, T.STRING) for key, value in prints.items()}
    outputs = [output for output, _ in tensors]
    size = write_gguf(out, architecture, metadata, outputs, n_threads=n_threads, progress=progress)
    return Summary(
        path=out,
        architecture=architecture,
        size_bytes=size,
        source_size_bytes=sum(source.size_bytes for _, source in tensors),
        seconds=time.perf_counter() - start,
        tokenizer="none",
        tensors=tuple(
            TensorPlan(t.name, t.shape, t.type.name, t.size_bytes, source.dtype.lower()) for t, source in tensors
        ),
        notes=()
        if base is not None
        else ("Without --base, a model of the same shapes but another origin takes this adapter too.",),
    )


def _check(adapter: Adapter) -> None:
    """Raise ModelFormatError for what only a merge can do."""
    why = "Merge it into its base instead: t5g-convert ADAPTER_DIR --base BASE_DIR."
    if adapter.replaced:
        raise ModelFormatError(f"{adapter.folder}: replaces whole modules ({listing(list(adapter.replaced))}). {why}")
    if any(delta.magnitude is not None for delta in adapter.deltas.values()):
        raise ModelFormatError(f"{adapter.folder}: is a DoRA, whose factors depend on the base's weights. {why}")


def _base(adapter: Adapter, base: Path | None) -> tuple[str, dict[str, str]]:
    """Give the architecture, and the fingerprints of the base's sides where it is at hand."""
    if base is None:
        return _architecture(adapter), {}
    from t5g_convert.adapter import Changes
    from t5g_convert.from_hf import tied_names

    config = read_config(base)
    matched = match(base, config, open_checkpoint(base), use_vision=True)
    names = {spec.source: spec.shape for spec in matched.specs}
    Changes(adapter, tied_names(matched)).check(names, ())
    return config.architecture, fingerprints(matched)


def _architecture(adapter: Adapter) -> str:
    names = adapter.raw_names
    if any(".text_model." in name or "vision_tower." in name for name in names):
        return T5GEMMA2
    if any(".encoder.layers." in name or ".cross_attn." in name for name in names):
        return T5GEMMA
    # Of a decoder alone, whose modules are called alike. A mistake does no harm: a model takes only its own kind.
    if found := _CLASS.match(adapter.base_class) or _RELEASE.match(adapter.base_name):
        return T5GEMMA2 if found[1] else T5GEMMA
    raise ModelFormatError(
        f"{adapter.folder}: its names do not tell whether it is of a T5Gemma or a T5Gemma 2. Say which is its base: "
        "--base BASE_DIR."
    )


def _tensors(
    adapter: Adapter, architecture: str, chosen: TensorType | None
) -> tuple[float, list[tuple[OutputTensor, SourceTensor]]]:
    """Plan both factors of every change. There is one alpha for all, so that what others need more goes into B."""
    first = next(iter(adapter.deltas.values()))
    alpha = first.scale * first.rank
    tensors = []
    for name, delta in adapter.deltas.items():
        target = _target(adapter, name)
        factor = delta.scale * delta.rank / alpha
        is_exact = factor == 1
        for source, suffix in ((delta.a, "lora_a"), (delta.b, "lora_b")):
            stored = _STORED.get(source.dtype, F32) if is_exact or suffix == "lora_a" else F32
            scale = 1.0 if suffix == "lora_a" else factor
            output = _output(f"{target}.weight.{suffix}", delta, suffix, chosen or stored, scale)
            tensors.append((output, source))
    return alpha, tensors


def _output(name: str, delta: Delta, suffix: str, type_: TensorType, factor: float) -> OutputTensor:
    source = delta.a if suffix == "lora_a" else delta.b
    transposed = delta.is_embedding and suffix == "lora_a"  # [V, rank]: tokens are looked up
    shape = (source.shape[0], math.prod(source.shape[1:]))

    def rows(first: int, last: int) -> NDArray[np.uint8]:
        values = source.read(0, math.prod(source.shape)).reshape(shape)
        values = (values.T if transposed else values)[first:last] * np.float32(factor)
        return encode(f"{source.path}: tensor '{source.name}'", values, type_)

    return OutputTensor(name, shape[::-1] if transposed else shape, type_, rows)


def _target(adapter: Adapter, name: str) -> str:
    """Give the name that the changed matrix has in a model's file."""
    module = name.removesuffix(".weight")
    if name in _TABLES:
        return _TABLES[name]
    if module == "encoder.vision_tower.embeddings.patch_embedding":
        return "v.patch_embd"
    for pattern, prefix, matrices in (
        (r"encoder\.layers\.(\d+)\.(.+)", "enc", MATRICES),
        (r"decoder\.layers\.(\d+)\.(.+)", "dec", MATRICES | _CROSS),
        (r"encoder\.vision_tower\.encoder\.layers\.(\d+)\.(.+)", "v", _VISION),
    ):
        found = re.fullmatch(pattern, module)
        if found is not None and found[2] in matrices:
            return f"{prefix}.blk.{found[1]}.{matrices[found[2]]}"
    raise ModelFormatError(f"{adapter.folder}: adapts '{module}', which no T5Gemma has.")
