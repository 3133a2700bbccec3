"""From a Hugging Face checkpoint folder to one GGUF file, streamed tensor by tensor."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from t5g._files import check_output
from t5g.converter.config import T5GEMMA, ModelConfig, read_config
from t5g.converter.encode import encode
from t5g.converter.generation import read_generation_defaults
from t5g.converter.metadata import build_metadata
from t5g.converter.presets import BF16, F16, F32, Preset, TensorType, default_vision_type, parse_type
from t5g.converter.safetensors import SourceTensor, open_checkpoint
from t5g.converter.summary import Summary, TensorPlan
from t5g.converter.tensors import (
    EOI,
    HEAD,
    NORM,
    PROJECTION,
    TABLE,
    VECTOR,
    VISION,
    TensorSpec,
    by_canonical_name,
    embedding_tensors,
    text_tensors,
    vision_tensors,
)
from t5g.converter.threads import default_threads
from t5g.converter.tokenizer import read_vocabulary
from t5g.converter.writer import OutputTensor, write_gguf
from t5g.errors import ModelFormatError

_COMPARE_VALUES = 4 << 20


def convert(
    hf_dir: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    *,
    type: str,
    pure: bool,
    vision: bool,
    vision_type: str | None,
    tokenizer: bool,
    n_threads: int | None,
    progress: bool,
) -> Summary:
    """Do what `t5g.converter.convert` documents."""
    start = time.perf_counter()
    chosen = parse_type(type)
    vision_chosen = parse_type(vision_type) if vision_type is not None else None
    folder = Path(hf_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Give the folder of a Hugging Face checkpoint.")
    config = read_config(folder)
    sources = by_canonical_name(open_checkpoint(folder).values())
    inputs = [*{tensor.path for tensor in sources.values()}, *folder.glob("*.json"), *folder.glob("tokenizer.model")]
    out = check_output(out_path, inputs)

    notes: list[str] = []
    specs = _match(folder, config, sources, notes, use_vision=vision)
    vocabulary = read_vocabulary(folder, config, use_tokenizer=tokenizer)
    generation = read_generation_defaults(folder)
    config = _drop_unreachable_ids(config, notes)
    preset = Preset(chosen, pure, min(config.encoder.hidden_size, config.decoder.hidden_size))
    if vision_chosen is None:
        vision_chosen = default_vision_type(chosen)
    tensors = [_output(spec, sources[spec.source], preset, vision_chosen) for spec in specs]
    notes += _fallback_notes(tensors, specs, preset, vision_chosen)

    n_parameters = sum(math.prod(spec.shape) for spec in specs)
    has_vision = any(spec.role == PROJECTION for spec in specs)
    metadata = build_metadata(config, vocabulary, generation, chosen, n_parameters, has_vision=has_vision)
    size = write_gguf(
        out, config.architecture, metadata, tensors, n_threads=n_threads or default_threads(), progress=progress
    )
    return Summary(
        path=out,
        architecture=config.architecture,
        size_bytes=size,
        source_size_bytes=sum(sources[spec.source].size_bytes for spec in specs),
        seconds=time.perf_counter() - start,
        tokenizer=vocabulary.description,
        tensors=tuple(
            TensorPlan(t.name, t.shape, t.type.name, t.size_bytes, sources[s.source].dtype.lower())
            for t, s in zip(tensors, specs, strict=True)
        ),
        notes=(*notes, *vocabulary.notes, *generation.notes),
    )


def _match(
    folder: Path, config: ModelConfig, sources: dict[str, SourceTensor], notes: list[str], *, use_vision: bool
) -> list[TensorSpec]:
    """Pair what the model needs with what the checkpoint has; anything missing, extra or misshapen is an error."""
    if not any(name.startswith("decoder.") for name in sources):
        raise ModelFormatError(f"{folder}: no decoder tensors. This is an encoder alone, or no T5Gemma checkpoint.")
    encoder_apart = config.architecture == T5GEMMA or _has_two_tables(sources)
    has_head = _has_own_head(folder, config, sources, "decoder" if encoder_apart else "encoder")
    specs = embedding_tensors(config, encoder_apart=encoder_apart, has_head=has_head)
    specs += text_tensors(config)
    has_tower = any(name.startswith("encoder.vision_tower.") for name in sources)
    if has_tower and config.vision is None and use_vision:
        raise ModelFormatError(f"{folder}: there is a vision tower, but config.json has no 'vision_config'.")
    if config.vision is not None and use_vision:
        if has_tower:
            specs += vision_tensors(config.vision, config.encoder.hidden_size)
        else:
            notes.append("The checkpoint has no vision tower: the file takes text only.")
    missing = [
        spec.source if spec.source == HEAD else f"model.{spec.source}" for spec in specs if spec.source not in sources
    ]
    if missing:
        raise ModelFormatError(f"{folder}: missing {_listing(missing)}.")
    for spec in specs:
        source = sources[spec.source]
        if source.shape != spec.shape:
            raise ModelFormatError(
                f"{source.path}: tensor '{source.name}' has shape {list(source.shape)}, "
                f"config.json asks for {list(spec.shape)}."
            )
    unexpected = _unexpected(sources, {spec.source for spec in specs}, notes, drop_vision=not use_vision)
    if unexpected:
        raise ModelFormatError(f"{folder}: not expected in a {config.architecture}: {_listing(unexpected)}.")
    return specs


def _unexpected(
    sources: Mapping[str, SourceTensor], used: set[str], notes: list[str], *, drop_vision: bool
) -> list[str]:
    rest = sorted(set(sources) - used)
    if any(name.startswith("encoder.vision_tower.head.") for name in rest):
        notes.append("The vision tower's pooling head is left out: no T5Gemma 2 uses it.")
    ignored = ["encoder.vision_tower.head.", "decoder.embed_tokens.", HEAD]  # tables here are copies of the tied one
    if drop_vision:
        ignored += ["encoder.vision_tower.", "encoder.multi_modal_projector."]
    buffers = (".rotary_emb.inv_freq", ".position_ids", ".embed_scale")  # that old files carry
    return [sources[n].name for n in rest if not n.startswith(tuple(ignored)) and not n.endswith(buffers)]


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{'tensor' if len(names) == 1 else 'tensors'} {shown}{more}"


def _has_own_head(folder: Path, config: ModelConfig, sources: Mapping[str, SourceTensor], tied_to: str) -> bool:
    """Say whether the head is a table of its own; a copy of the embedding of side `tied_to` is dropped."""
    if HEAD not in sources:
        if not config.tie_word_embeddings:
            raise ModelFormatError(f"{folder}: tie_word_embeddings is false in config.json, but '{HEAD}' is missing.")
        return False
    table = sources.get(f"{tied_to}.{TABLE}")
    return table is not None and not _equal(sources[HEAD], table)


def _has_two_tables(sources: Mapping[str, SourceTensor]) -> bool:
    """Say whether a T5Gemma 2's decoder brings embeddings that are not a copy of the encoder's."""
    pairs = [(sources.get(f"encoder.{name}"), sources.get(f"decoder.{name}")) for name in (TABLE, EOI)]
    return any(a is not None and b is not None and not _equal(a, b) for a, b in pairs)


def _equal(a: SourceTensor, b: SourceTensor) -> bool:
    if a.shape != b.shape:
        return False
    n = math.prod(a.shape)
    return all(
        np.array_equal(a.read(i, min(_COMPARE_VALUES, n - i)), b.read(i, min(_COMPARE_VALUES, n - i)))
        for i in range(0, n, _COMPARE_VALUES)
    )


def _output(spec: TensorSpec, source: SourceTensor, preset: Preset, vision_type: TensorType) -> OutputTensor:
    shape = spec.shape[::-1] if spec.role == PROJECTION else spec.shape
    row_length = shape[-1]
    where = f"{source.path}: tensor '{source.name}'"
    if spec.role in (NORM, VECTOR):
        chosen = F32
    elif spec.role in (VISION, PROJECTION):
        chosen = vision_type if row_length % vision_type.block_values == 0 else _sixteen_bits(source)
    else:
        chosen = preset.type_for(spec.role, row_length)

    def rows(first: int, last: int) -> NDArray[np.uint8]:
        if spec.role == PROJECTION:
            whole = source.read(0, math.prod(spec.shape)).reshape(spec.shape)
            return encode(where, whole.T[first:last], chosen)
        values = source.read(first * row_length, (last - first) * row_length).reshape(-1, row_length)
        if spec.role == NORM:
            values = values + np.float32(1)
        return encode(where, values, chosen)

    return OutputTensor(spec.target, shape, chosen, rows)


def _sixteen_bits(source: SourceTensor) -> TensorType:
    return BF16 if source.dtype == "BF16" else F16


def _fallback_notes(
    tensors: Sequence[OutputTensor], specs: Sequence[TensorSpec], preset: Preset, vision_type: TensorType
) -> list[str]:
    """Say which matrices are 16-bit because their rows are no whole number of blocks."""
    kept = [
        t.name
        for t, spec in zip(tensors, specs, strict=True)
        if spec.role not in (NORM, VECTOR)
        and t.row_length % 32
        and (vision_type if spec.role in (VISION, PROJECTION) else preset.type).is_quantised
    ]
    if not kept:
        return []
    return [f"Kept in 16 bits, for rows that are not a multiple of 32 long: {_listing(kept)}."]


def _drop_unreachable_ids(config: ModelConfig, notes: list[str]) -> ModelConfig:
    """Leave out token ids beyond the vocabulary: no text can contain them, and no model produce them."""
    size = config.decoder.vocab_size
    eos = tuple(i for i in config.eos_token_ids if i < size)
    image = {key: i for key, i in config.image_token_ids.items() if i < size}
    dropped = [i for i in (*config.eos_token_ids, *config.image_token_ids.values()) if i >= size]
    if dropped:
        notes.append(
            f"Token ids {', '.join(map(str, dropped))} of the configuration are beyond the vocabulary of {size}."
        )
    for name in ("bos_token_id", "pad_token_id", "decoder_start_token_id"):
        if getattr(config, name) >= size:
            raise ModelFormatError(f"config.json: {name} is {getattr(config, name)}, beyond the vocabulary of {size}.")
    if not eos:
        raise ModelFormatError(f"config.json: no eos_token_id below the vocabulary size {size}.")
    return dataclasses.replace(config, eos_token_ids=eos, image_token_ids=image)
