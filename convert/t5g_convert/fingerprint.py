"""Fingerprints of a checkpoint's sides: equal however a checkpoint was saved, different for every training."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

from t5g_convert.safetensors import SourceTensor

if TYPE_CHECKING:
    from t5g_convert.adapter import Adapter
    from t5g_convert.matching import Match

_SAMPLE = 1024  # values of each tensor


def fingerprints(matched: Match, adapter: Adapter | None = None) -> dict[str, str]:
    """Give `t5g.fingerprint.SIDE` of the sides that there are; after a merge, others than the base's.

    Values count as bfloat16, so that a checkpoint saved in another type keeps its fingerprints.
    """
    found = {}
    for side in matched.config.sides:
        names = sorted({s.source for s in matched.specs if s.source.startswith((f"{side}.layers.", f"{side}.norm."))})
        digest = hashlib.sha256()
        for name in names:
            _add(digest, name, matched.sources[name])
        if adapter is not None:
            for name in sorted(adapter.deltas):
                if name.startswith(f"{side}."):
                    _add(digest, name, adapter.deltas[name].b)
            for name in sorted(adapter.replaced):
                if name.startswith(f"{side}."):
                    _add(digest, name, adapter.replaced[name])
        found[f"t5g.fingerprint.{side}"] = digest.hexdigest()[:32]
    return found


def _add(digest: hashlib._Hash, name: str, tensor: SourceTensor) -> None:
    values = tensor.read(0, min(_SAMPLE, math.prod(tensor.shape)))
    bits = values.view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2")
    digest.update(f"{name} {tensor.shape}".encode())
    digest.update(rounded.tobytes())
