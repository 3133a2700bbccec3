"""How many threads encode."""

from __future__ import annotations

import os


def default_threads() -> int:
    """Give the number of CPUs this process may use, at most 8: beyond that the disk is the limit."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 8)
