"""How much memory a model needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes that a model takes, beside the program itself.

    Attributes
    ----------
    weights_bytes
        All matrices, in memory once they have been used.
    decode_weights_bytes
        The part of them that every decode step reads: decoder layers and output head.
    workspace_bytes
        Activations of a pass, whatever the lengths.
    bytes_per_source_token
        The source's keys and values for all decoder layers, and its hidden states.
    bytes_per_target_token
        Keys and values of the sequence's own tokens, per sequence or beam.
    """

    weights_bytes: int
    decode_weights_bytes: int
    workspace_bytes: int
    bytes_per_source_token: int
    bytes_per_target_token: int
