"""PEFT LoRA folders: which matrices of a model they change, and how, exactly as peft's `merge_and_unload` does.

A matrix W becomes W + scale * B A. `Changes` does that to some rows at a time, so that a merge is a stream like any
other conversion; `t5g_convert.adapter_file` writes the factors to a file of their own instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from t5g.errors import ModelFormatError

from t5g_convert.safetensors import SourceTensor, open_file, read_json
from t5g_convert.tensors import canonical_name, without_wrappers

_MERGE_WITH_PEFT = "Merge it with peft (merge_and_unload, then save_pretrained) and convert the result."
# What a configuration may ask for that changes more than W + scale * B A.
_REFUSED = (
    "lora_bias",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "use_qalora",
    "arrow_config",
    "use_bdlora",
    "monteclora_config",
    "kasa_config",
    "layer_replication",
)
# Ways to begin a training that change the base's weights as well.
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
_PART = re.compile(r"(.*)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(\.weight)?")

Matrix = NDArray[np.float32]


def is_adapter(folder: Path) -> bool:
    """Whether this folder has an adapter."""
    return (folder / "adapter_config.json").is_file()


@dataclass(frozen=True)
class Delta:
    """What an adapter does to one matrix.

    Attributes
    ----------
    name
        The module, as the adapter calls it.
    a, b
        The factors [rank, in] and [out, rank]; of an embedding [rank, vocab_size] and [hidden_size, rank].
    scale
        Their product is multiplied with it.
    magnitude
        Of DoRA: the length that every row of the result has.
    """

    name: str
    a: SourceTensor
    b: SourceTensor
    scale: float
    is_embedding: bool
    magnitude: SourceTensor | None = None

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix that it is for, flattened."""
        rows, columns = self.b.shape[0], math.prod(self.a.shape[1:])
        return (columns, rows) if self.is_embedding else (rows, columns)

    @cached_property
    def factors(self) -> tuple[Matrix, Matrix]:
        """`a` [rank, in] and `b` [out, rank], read."""
        return _read(self.a).reshape(self.rank, -1), _read(self.b).reshape(-1, self.rank)

    def add_to(self, values: Matrix, first: int, last: int) -> Matrix:
        """Give rows [first, last) of the merged matrix, of which `values` are the base's."""
        a, b = self.factors
        product = (b @ a[:, first:last]).T if self.is_embedding else b[first:last] @ a
        merged: Matrix = values + product * np.float32(self.scale)
        if self.magnitude is None:
            return merged
        norm = np.linalg.norm(merged, axis=1, keepdims=True).astype(np.float32)
        scaled: Matrix = self.magnitude.read(first, last - first)[:, None] / norm * merged
        return scaled


def _read(tensor: SourceTensor) -> Matrix:
    return tensor.read(0, math.prod(tensor.shape))


@dataclass(frozen=True)
class Adapter:
    """A PEFT LoRA.

    Attributes
    ----------
    folder
        Where it is.
    base_name
        What it calls its base.
    base_class
        The base's class in transformers, where peft has noted it.
    deltas
        By the canonical name of the weight that each changes.
    replaced
        Whole tensors that take a base's place (`modules_to_save`), by canonical name.
    keeps_tied
        Whether tensors that share the base's embedding go on sharing what becomes of it.
    raw_names
        Of all tensors in the folder.
    """

    folder: Path
    base_name: str
    base_class: str
    deltas: Mapping[str, Delta]
    replaced: Mapping[str, SourceTensor]
    copies: Mapping[str, SourceTensor]  # of the base's own embeddings
    keeps_tied: bool
    raw_names: Sequence[str] = field(repr=False)


def read_adapter(folder: Path) -> Adapter:
    """Read a folder that peft has saved. Raises FileNotFoundError, ModelFormatError."""
    path = folder / "adapter_config.json"
    config = read_json(path)
    _check_kind(path, config)
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        has_bin = (folder / "adapter_model.bin").is_file()
        hint = " There is an adapter_model.bin: save it again with safetensors." if has_bin else ""
        raise FileNotFoundError(f"{folder}: no adapter_model.safetensors.{hint}")
    tensors = open_file(weights)
    parts: dict[str, dict[str, SourceTensor]] = {}
    replaced: dict[str, SourceTensor] = {}
    copies: dict[str, SourceTensor] = {}
    for name, tensor in tensors.items():
        found = _PART.fullmatch(name.replace(".default", ""))
        if found is not None:
            parts.setdefault(without_wrappers(found[1]), {})[found[2]] = tensor
        elif ".lora_" in name or ".token_adapter." in name:
            raise ModelFormatError(
                f"{weights}: tensor '{name}' is of a kind that t5g does not merge. {_MERGE_WITH_PEFT}"
            )
        elif ".base_layer." in name and not name.endswith(".bias"):
            copies[canonical_name(name.replace(".base_layer", ""))] = tensor
        else:
            replaced[canonical_name(name.replace(".base_layer", "").replace(".modules_to_save", ""))] = tensor
    deltas = {canonical_name(f"{name}.weight"): _delta(weights, name, part, config) for name, part in parts.items()}
    if not deltas and not replaced:
        raise ModelFormatError(f"{weights}: has no adapter's tensors.")
    noted = config.get("auto_mapping")
    return Adapter(
        folder=folder,
        base_name=str(config.get("base_model_name_or_path") or ""),
        base_class=str(noted.get("base_model_class") or "") if isinstance(noted, dict) else "",
        deltas=deltas,
        replaced=replaced,
        copies=copies,
        keeps_tied=bool(config.get("ensure_weight_tying")),
        raw_names=list(tensors),
    )


def _check_kind(path: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelFormatError(f"{path}: 'peft_type' is {kind!r}, expected 'LORA'. {_MERGE_WITH_PEFT}")
    for key in _REFUSED:
        if config.get(key):
            raise ModelFormatError(f"{path}: '{key}' is {config[key]!r}, which t5g does not merge. {_MERGE_WITH_PEFT}")
    begin = str(config.get("init_lora_weights", True)).lower()
    if begin.startswith(_CHANGE_THE_BASE):
        raise ModelFormatError(
            f"{path}: 'init_lora_weights' is {begin!r}, which changes the base's weights too. {_MERGE_WITH_PEFT}"
        )


def _delta(path: Path, name: str, part: Mapping[str, SourceTensor], config: Mapping[str, Any]) -> Delta:
    is_embedding = "lora_embedding_A" in part or "lora_embedding_B" in part
    kind = "lora_embedding" if is_embedding else "lora"
    a, b = part.get(f"{kind}_A"), part.get(f"{kind}_B")
    if a is None or b is None:
        raise ModelFormatError(f"{path}: '{name}' has only one of {kind}_A and {kind}_B.")
    magnitude = part.get("lora_magnitude_vector")
    if len(a.shape) < 2 or len(b.shape) < 2 or math.prod(b.shape) != b.shape[0] * a.shape[0]:
        raise ModelFormatError(
            f"{path}: '{name}' has factors of the shapes {list(a.shape)} and {list(b.shape)}, which do not fit."
        )
    if magnitude is not None and (is_embedding or len(a.shape) != 2):
        raise ModelFormatError(f"{path}: '{name}' is adapted by DoRA, and no linear layer. {_MERGE_WITH_PEFT}")
    rank = _of_pattern(config.get("rank_pattern"), name, config.get("r"))
    alpha = _of_pattern(config.get("alpha_pattern"), name, config.get("lora_alpha", 8))
    if rank != a.shape[0] or not isinstance(alpha, int | float):
        raise ModelFormatError(
            f"{path}: '{name}' has rank {a.shape[0]}, but adapter_config.json says {rank!r} with alpha {alpha!r}."
        )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Delta(name, a, b, scale, is_embedding, magnitude)


def _of_pattern(pattern: Any, name: str, default: Any) -> Any:
    """Give a module's own rank or alpha, as peft finds it: the first key that its name ends with, or matches."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            return value
    return default


class Changes:
    """What merging an adapter does to each tensor of a model.

    Parameters
    ----------
    adapter
        The adapter.
    tied
        Canonical names that share a tensor, by the one that the file has: their changes add up, as they do where
        modules share a weight in memory.
    """

    def __init__(self, adapter: Adapter, tied: Mapping[str, Sequence[str]]) -> None:
        self._adapter, self._tied = adapter, tied

    def of(self, source: str) -> list[Delta]:
        """List the changes of one tensor of the file."""
        names = [source, *self._tied.get(source, ())]
        return [self._adapter.deltas[name] for name in names if name in self._adapter.deltas]

    def check(self, sources: Mapping[str, tuple[int, ...]], ignored: tuple[str, ...]) -> None:
        """Raise ModelFormatError for a change that fits no tensor of the model.

        sources: shapes of the model's tensors by canonical name. ignored: how names begin that are left out.
        """
        known = dict(sources)
        for source, others in self._tied.items():
            known |= {other: sources[source] for other in others if source in sources}
        for name, delta in self._adapter.deltas.items():
            if name.startswith(ignored):
                continue
            if name not in known:
                raise ModelFormatError(
                    f"{self._adapter.folder}: adapts '{delta.name}', which the base has not. Give its own base."
                )
            shape = known[name]
            flat = (shape[0], math.prod(shape[1:]))
            if delta.shape != flat:
                raise ModelFormatError(
                    f"{self._adapter.folder}: adapts '{delta.name}' as a matrix {list(delta.shape)}, but the base's is "
                    f"{list(flat)}. Give its own base."
                )


def merged(values: Matrix, deltas: Sequence[Delta], shape: tuple[int, ...], first: int, last: int) -> Matrix:
    """Merge rows [first, last) of a tensor that is written in rows of shape[-1] values."""
    if len(shape) == 2:
        for delta in deltas:
            values = delta.add_to(values, first, last)
        return values
    for delta in deltas:  # a convolution: its matrix is small, and its rows are parts of the matrix's
        whole = delta.add_to(np.zeros(delta.shape, np.float32), 0, delta.shape[0])
        values = values + whole.reshape(-1, shape[-1])[first:last]
    return values
