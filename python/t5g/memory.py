"""How much memory a model needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes that a model takes, beside the program itself.

    Attributes
    ----------
    weights_bytes
        All matrices of encoder and decoder, in memory once they have been used.
    vision_weights_bytes
        All matrices of the image tower, in memory once an image has been read; 0 without a tower.
    decode_weights_bytes
        The part of them that every decode step reads: decoder layers and output head.
    workspace_bytes
        Activations of a pass, whatever the lengths.
    image_workspace_bytes
        What reading an image takes besides, until it has been read; 0 without a tower.
    bytes_per_source_token
        The source's keys and values for all decoder layers, and its hidden states.
    bytes_per_target_token
        Keys and values of the sequence's own tokens, per sequence or beam.
    """

    weights_bytes: int
    vision_weights_bytes: int
    image_workspace_bytes: int
    decode_weights_bytes: int
    workspace_bytes: int
    bytes_per_source_token: int
    bytes_per_target_token: int
