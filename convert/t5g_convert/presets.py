"""The tensor types, and the one table that says which tensors a preset keeps wider than its name promises."""

from __future__ import annotations

from typing import NamedTuple

from t5g.errors import InvalidArgumentError


class TensorType(NamedTuple):
    """A storage type of tensors: its name here, its ids in GGUF, and its block of `block_values` in `block_bytes`."""

    name: str
    gguf_id: int
    file_type: int
    block_values: int
    block_bytes: int

    def size_bytes(self, n_values: int) -> int:
        """Bytes of `n_values` values, a whole number of blocks."""
        return n_values // self.block_values * self.block_bytes

    @property
    def is_quantised(self) -> bool:
        return self.block_values > 1


F32 = TensorType("f32", 0, 0, 1, 4)
F16 = TensorType("f16", 1, 1, 1, 2)
BF16 = TensorType("bf16", 30, 32, 1, 2)
Q8_0 = TensorType("q8_0", 8, 7, 32, 34)
Q5_1 = TensorType("q5_1", 7, 9, 32, 24)
Q5_0 = TensorType("q5_0", 6, 8, 32, 22)
Q4_1 = TensorType("q4_1", 3, 3, 32, 20)
Q4_0 = TensorType("q4_0", 2, 2, 32, 18)

TYPES = {t.name: t for t in (F32, F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0)}

# Roles whose error reaches the logits most directly. The embedding is read again as the output head; the values, the
# attention output and the FFN output are written into the residual stream without a softmax or a gate in between.
EMBEDDING = "embedding"
_RESIDUAL = ("attn_v", "attn_o", "ffn_down")

# preset -> role -> (type in narrow models, type in wide models). Roles that are not listed get the preset's own type.
# Narrow is a hidden_size of at most 1024: there a 4-bit block's error averages over few products, and these tensors
# are small beside the embedding, so that 8 bits cost little.
NARROW_HIDDEN_SIZE = 1024
_PRESETS: dict[str, dict[str, tuple[TensorType, TensorType]]] = {
    "q5_1": {EMBEDDING: (Q8_0, Q8_0)},
    "q5_0": {EMBEDDING: (Q8_0, Q8_0)},
    "q4_1": {EMBEDDING: (Q8_0, Q8_0)} | dict.fromkeys(_RESIDUAL, (Q8_0, Q5_1)),
    "q4_0": {EMBEDDING: (Q8_0, Q8_0)} | dict.fromkeys(_RESIDUAL, (Q8_0, Q5_0)),
}


def parse_type(name: str) -> TensorType:
    """Give the type called `name`, in any case. Raises InvalidArgumentError (a ValueError) listing all types."""
    found = TYPES.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise InvalidArgumentError(f"unknown type {name!r}. The types are {' '.join(TYPES)}.")
    return found


def default_vision_type(preset_type: TensorType) -> TensorType:
    """Choose the image tower's type: 8 bits where the stacks are quantised: it is all arithmetic."""
    return Q8_0 if preset_type.is_quantised else preset_type


class Preset(NamedTuple):
    """What a requested type means for one model."""

    type: TensorType
    pure: bool
    hidden_size: int  # of the narrower side

    def type_for(self, role: str, row_length: int) -> TensorType:
        """Choose the type of a matrix. Rows that are no whole number of blocks are kept in f16."""
        chosen = self.type
        if not self.pure and role in _PRESETS.get(self.type.name, {}):
            narrow, wide = _PRESETS[self.type.name][role]
            chosen = narrow if self.hidden_size <= NARROW_HIDDEN_SIZE else wide
        return chosen if row_length % chosen.block_values == 0 else F16
