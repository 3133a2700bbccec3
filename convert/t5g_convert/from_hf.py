"""From a Hugging Face checkpoint folder to one GGUF file, streamed tensor by tensor."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Sequence

import numpy as np
from gguf import GGUFValueType as T
from numpy.typing import NDArray
from t5g._files import check_output
from t5g.errors import ModelFormatError

from t5g_convert.adapter import Changes, Delta, is_adapter, merged, read_adapter
from t5g_convert.config import ModelConfig, read_config
from t5g_convert.encode import encode
from t5g_convert.fingerprint import fingerprints
from t5g_convert.folders import check_folder, local_folder
from t5g_convert.generation import GenerationDefaults, read_generation_defaults
from t5g_convert.matching import Match, match
from t5g_convert.metadata import Value, build_metadata
from t5g_convert.presets import BF16, F16, F32, Preset, TensorType, default_vision_type, parse_type
from t5g_convert.safetensors import SourceTensor, open_checkpoint
from t5g_convert.summary import Summary, TensorPlan, note_of_16_bits
from t5g_convert.tensors import HEAD, NORM, PROJECTION, TABLE, VECTOR, VISION, TensorSpec
from t5g_convert.threads import default_threads
from t5g_convert.tokenizer import read_vocabulary
from t5g_convert.vocabulary import Vocabulary
from t5g_convert.writer import OutputTensor, write_gguf

_CONFIGS = "config.json, generation_config.json"  # either may say what ids there are


def convert(
    hf_dir: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    *,
    type: str,
    pure: bool,
    vision: bool,
    vision_type: str | None,
    tokenizer: bool,
    encoder_only: bool,
    base: str | os.PathLike[str] | None,
    n_threads: int | None,
    progress: bool,
) -> Summary:
    """Do what `t5g_convert.convert` documents."""
    start = time.perf_counter()
    chosen = parse_type(type)
    vision_chosen = parse_type(vision_type) if vision_type is not None else None
    given = folder = local_folder(hf_dir)
    adapter = None
    if base is not None:
        folder = local_folder(base)
        if not is_adapter(given):
            raise ModelFormatError(
                f"{given}: is no PEFT adapter, which a base is for: there is no adapter_config.json."
            )
        adapter = read_adapter(given)
    check_folder(folder)
    config = read_config(folder, encoder_only=encoder_only)
    checkpoint = open_checkpoint(folder)
    inputs = [*{tensor.path for tensor in checkpoint.values()}, *folder.glob("*.json"), *folder.glob("tokenizer.model")]
    if adapter is not None:
        inputs += [*given.glob("*.json"), *given.glob("*.safetensors"), *given.glob("tokenizer.model")]
    out = check_output(out_path, inputs)

    matched = match(folder, config, checkpoint, use_vision=vision, adapter=adapter)
    changes = None if adapter is None else Changes(adapter, tied_names(matched))
    config, specs, sources, notes = matched.config, matched.specs, matched.sources, [*matched.notes]
    if changes is not None:
        ignored: tuple[str, ...] = () if vision else ("encoder.vision_tower.",)
        ignored += () if config.decoder is not None else ("decoder.", HEAD)
        changes.check({spec.source: spec.shape for spec in specs}, ignored)
    has_tokenizer = any((given / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
    vocabulary = read_vocabulary(given if has_tokenizer else folder, config, use_tokenizer=tokenizer)
    generation = GenerationDefaults()
    if config.decoder is not None:
        generation = read_generation_defaults(folder, config.vocab_size)
    if vocabulary.is_placeholder and generation.stop:
        notes.append(
            f"Without a tokenizer no text can be stopped at, so {generation.stop!r} of stop_strings is left out."
        )
        generation.stop = []
    config = _drop_unreachable_ids(config, notes)
    config = _end_at_turns(config, vocabulary, notes)
    preset = Preset(chosen, pure, config.hidden_size)
    if vision_chosen is None:
        vision_chosen = default_vision_type(chosen)
    tensors = [
        _output(spec, sources[spec.source], preset, vision_chosen, changes.of(spec.source) if changes else ())
        for spec in specs
    ]
    notes += _fallback_notes(tensors, specs, preset, vision_chosen)

    n_parameters = sum(math.prod(spec.shape) for spec in specs)
    has_vision = any(spec.role == PROJECTION for spec in specs)
    metadata = build_metadata(config, vocabulary, generation, chosen, n_parameters, has_vision=has_vision)
    metadata |= {key: Value(value, T.STRING) for key, value in fingerprints(matched, adapter).items()}
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


def tied_names(matched: Match) -> dict[str, list[str]]:
    """List the canonical names that share a tensor of the file, by the name of the one that it is made from."""
    if matched.config.decoder is None:
        return {}
    main = "decoder" if matched.encoder_apart else "encoder"
    tied = [] if matched.has_head else [HEAD]
    if not matched.encoder_apart:
        tied.append(f"decoder.{TABLE}")
    return {f"{main}.{TABLE}": tied}


def _output(
    spec: TensorSpec, source: SourceTensor, preset: Preset, vision_type: TensorType, deltas: Sequence[Delta]
) -> OutputTensor:
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
        if deltas:
            values = merged(values, deltas, spec.shape, first, last)
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
    return note_of_16_bits(kept)


def _end_at_turns(config: ModelConfig, vocabulary: Vocabulary, notes: list[str]) -> ModelConfig:
    """Let generation end where the chat template's turns do, whatever the configuration lists."""
    end = vocabulary.find("<end_of_turn>", -1)
    uses = any("<end_of_turn>" in template for template in vocabulary.chat_templates.values())
    if not uses or end < 0 or end in config.eos_token_ids or config.decoder is None:
        return config
    notes.append("The chat template ends turns with <end_of_turn>, which is no end token of the checkpoint: now it is.")
    return dataclasses.replace(config, eos_token_ids=(*config.eos_token_ids, end))


def _drop_unreachable_ids(config: ModelConfig, notes: list[str]) -> ModelConfig:
    """Leave out token ids beyond the vocabulary: no text can contain them, and no model produce them."""
    size = config.vocab_size
    eos = tuple(i for i in config.eos_token_ids if i < size)
    image = {key: i for key, i in config.image_token_ids.items() if i < size}
    dropped = [i for i in (*config.eos_token_ids, *config.image_token_ids.values()) if i >= size]
    if dropped:
        notes.append(
            f"Token ids {', '.join(map(str, dropped))} of the configuration are beyond the vocabulary of {size}."
        )
    for name in ("bos_token_id", "pad_token_id", "decoder_start_token_id"):
        if getattr(config, name) >= size:
            raise ModelFormatError(f"{_CONFIGS}: {name} is {getattr(config, name)}, beyond the vocabulary of {size}.")
    if not eos:
        raise ModelFormatError(f"{_CONFIGS}: no eos_token_id below the vocabulary size {size}.")
    return dataclasses.replace(config, eos_token_ids=eos, image_token_ids=image)
