"""Pairs what a model needs with the tensors that a checkpoint has, and says what is left out or taken otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from t5g.errors import ModelFormatError

from t5g_convert.adapter import Adapter
from t5g_convert.config import T5GEMMA, ModelConfig
from t5g_convert.folders import check_names
from t5g_convert.safetensors import Checkpoint, SourceTensor
from t5g_convert.tensors import (
    EOI,
    HEAD,
    TABLE,
    TensorSpec,
    by_canonical_name,
    canonical_name,
    embedding_tensors,
    text_tensors,
    vision_tensors,
    without_wrappers,
)

_COMPARE_VALUES = 4 << 20
_CLASSIFIER = "score."  # how names of T5GemmaForSequenceClassification's head, and of its like, begin
_VISION = ("encoder.vision_tower.", "encoder.multi_modal_projector.")


@dataclasses.dataclass(frozen=True)
class Match:
    """The tensors to write, where each comes from by canonical name, and the config as the tensors bear it out."""

    config: ModelConfig
    specs: Sequence[TensorSpec]
    sources: Mapping[str, SourceTensor]
    notes: Sequence[str]
    encoder_apart: bool
    has_head: bool


def match(
    folder: Path, config: ModelConfig, checkpoint: Checkpoint, *, use_vision: bool, adapter: Adapter | None = None
) -> Match:
    """Find every tensor of the model. Anything missing, extra or misshapen is a ModelFormatError.

    adapter: one that is to be merged, whose whole tensors take the place of the checkpoint's.
    """
    check_names(folder, list(checkpoint))
    sources = by_canonical_name(checkpoint.values())
    if adapter is not None:
        sources = _replaced(config, sources, adapter)
    notes = _notes_on_names(checkpoint)
    if config.decoder is not None and not any(name.startswith("decoder.") for name in sources):
        raise ModelFormatError(
            f"{folder}: no decoder tensors. If this is an encoder alone, convert it with --encoder-only."
        )
    config = _take_rows(folder, config, sources, notes)
    encoder_apart = has_head = False
    if config.decoder is not None:
        encoder_apart = config.architecture == T5GEMMA or _has_two_tables(sources)
        has_head = _has_own_head(folder, config, sources, notes, "decoder" if encoder_apart else "encoder")
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
    _check(folder, specs, sources, checkpoint)
    unlisted = {canonical_name(name) for name in checkpoint.unlisted}
    dropped = [*_VISION] if not use_vision else []
    is_classifier = any(name.startswith(_CLASSIFIER) for name in sources)
    if config.decoder is None:
        dropped += ["decoder.", _CLASSIFIER]
        if is_classifier:
            notes.append("The classifier's head is left out: the file encodes and embeds.")
    unexpected = _unexpected(sources, {spec.source for spec in specs}, unlisted, notes, dropped)
    if unexpected:
        advice = " Of a classifier, convert the encoder alone: --encoder-only." if is_classifier else ""
        raise ModelFormatError(f"{folder}: not expected in a {config.architecture}: {listing(unexpected)}.{advice}")
    return Match(config, specs, sources, notes, encoder_apart, has_head)


def _replaced(config: ModelConfig, sources: Mapping[str, SourceTensor], adapter: Adapter) -> dict[str, SourceTensor]:
    """Put an adapter's whole tensors into their places.

    Where one of several modules that share the embedding gets its own, the others keep the old one: peft trains a copy.
    What shares the encoder's goes on sharing it where that was asked for. peft looks at no other sharing: the decoder's
    table and the head of a T5Gemma come apart all the same.
    """
    resized = {n: t for n, t in adapter.copies.items() if n in sources and sources[n].shape != t.shape}
    found = {**sources, **resized, **adapter.replaced}
    shared = [HEAD, f"decoder.{TABLE}"] + ([f"encoder.{TABLE}"] if config.architecture != T5GEMMA else [])
    stays_shared = adapter.keeps_tied and config.architecture != T5GEMMA
    old = next((sources[name] for name in reversed(shared) if name in sources), None)
    if old is not None and any(name in adapter.replaced for name in shared) and not stays_shared:
        for name in shared:
            found.setdefault(name, old)
        if config.architecture != T5GEMMA:
            eoi = sources.get(f"encoder.{EOI}") or sources.get(f"decoder.{EOI}")
            for side in ("encoder", "decoder"):
                if eoi is not None:
                    found.setdefault(f"{side}.{EOI}", eoi)
    return found


def listing(names: Sequence[str]) -> str:
    """Name up to three tensors, and say how many more there are."""
    shown = ", ".join(f"'{name}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{'tensor' if len(names) == 1 else 'tensors'} {shown}{more}"


def _notes_on_names(checkpoint: Checkpoint) -> list[str]:
    notes = []
    wrapped = [name for name in checkpoint if without_wrappers(name) != name]
    if wrapped:
        prefix = wrapped[0][: len(wrapped[0]) - len(without_wrappers(wrapped[0]))]
        notes.append(f"Names of tensors begin with '{prefix}', which a training wrapper put there: it is left out.")
    absent = [name for name in checkpoint.absent if name not in checkpoint]
    if absent:
        notes.append(f"The index names what no file has: {listing(absent)}. Nothing needs it.")
    return notes


def _take_rows(folder: Path, config: ModelConfig, sources: Mapping[str, SourceTensor], notes: list[str]) -> ModelConfig:
    """Take the vocabulary's size from the embedding tables, where they were resized and config.json was not."""
    sides = {}
    for side, said in config.sides.items():
        table = sources.get(f"{side}.{TABLE}")
        if table is None and config.architecture != T5GEMMA:  # T5Gemma 2 has one for both
            table = sources.get(f"{'decoder' if side == 'encoder' else 'encoder'}.{TABLE}")
        rows = table.shape[0] if table is not None and len(table.shape) == 2 and table.shape[0] else said.vocab_size
        if rows != said.vocab_size:
            notes.append(
                f"config.json says the {side}'s vocab_size is {said.vocab_size}, its embedding has {rows} rows: "
                "the rows are taken."
            )
        sides[side] = dataclasses.replace(said, vocab_size=rows)
    config = dataclasses.replace(config, encoder=sides["encoder"], decoder=sides.get("decoder"))
    n_encoder, n_decoder = config.encoder.vocab_size, config.vocab_size
    if n_encoder != n_decoder:
        if config.architecture != T5GEMMA:
            raise ModelFormatError(
                f"{folder}: the encoder's embedding has {n_encoder} rows and the decoder's {n_decoder}, expected equal."
            )
        notes.append(
            f"The encoder's embedding has {n_encoder} rows and the decoder's {n_decoder}: one side was resized alone. "
            "Tokens beyond a side's rows are refused there."
        )
    return config


def _check(
    folder: Path, specs: Sequence[TensorSpec], sources: Mapping[str, SourceTensor], checkpoint: Checkpoint
) -> None:
    missing = [
        spec.source if spec.source == HEAD else f"model.{spec.source}" for spec in specs if spec.source not in sources
    ]
    if missing:
        absent = {canonical_name(name): shard for name, shard in checkpoint.absent.items()}
        shard = absent.get(canonical_name(missing[0]))
        where = f", which the index puts into {shard}. Download that again" if shard is not None else ""
        raise ModelFormatError(f"{folder}: missing {listing(missing)}{where}.")
    for spec in specs:
        source = sources[spec.source]
        if source.shape != spec.shape:
            raise ModelFormatError(
                f"{source.path}: tensor '{source.name}' has shape {list(source.shape)}, "
                f"config.json asks for {list(spec.shape)}."
            )


def _unexpected(
    sources: Mapping[str, SourceTensor],
    used: set[str],
    unlisted: set[str],
    notes: list[str],
    dropped: Sequence[str],
) -> list[str]:
    """Name what there is and nobody asks for. dropped: how names begin that are left out on purpose."""
    rest = sorted(set(sources) - used)
    if any(name.startswith("encoder.vision_tower.head.") for name in rest):
        notes.append("The vision tower's pooling head is left out: no T5Gemma 2 uses it.")
    # Tables here are copies of the tied one.
    ignored = ["encoder.vision_tower.head.", "decoder.embed_tokens.", HEAD, *dropped]
    buffers = (".rotary_emb.inv_freq", ".position_ids", ".embed_scale")  # that old files carry
    unknown = [n for n in rest if not n.startswith(tuple(ignored)) and not n.endswith(buffers)]
    stray = [sources[name].name for name in unknown if name in unlisted]
    if stray:
        notes.append(f"Left out, as the index does not list it and no T5Gemma has it: {listing(stray)}.")
    return [sources[name].name for name in unknown if name not in unlisted]


def _has_own_head(
    folder: Path, config: ModelConfig, sources: Mapping[str, SourceTensor], notes: list[str], tied_to: str
) -> bool:
    """Say whether the head is a table of its own; a copy of the embedding of side `tied_to` is dropped."""
    if HEAD not in sources:
        if not config.tie_word_embeddings:
            if config.architecture != T5GEMMA:
                raise ModelFormatError(
                    f"{folder}: tie_word_embeddings is false in config.json, but '{HEAD}' is missing."
                )
            # What merging a LoRA with PEFT leaves behind.
            notes.append(
                f"config.json says tie_word_embeddings is false, but there is no '{HEAD}': the decoder's embedding is "
                "taken for it, as in the model before it was saved. transformers makes up a random one."
            )
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
