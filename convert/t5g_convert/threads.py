"""How many threads encode."""

from __future__ import annotations

import os

from t5g import _core


def default_threads() -> int:
    """Give what the environment asks for, or the number of usable CPUs, at most 8: more would wait for the disk."""
    asked = _core.threads_from_environment()
    if asked is not None:
        return asked
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 8)
