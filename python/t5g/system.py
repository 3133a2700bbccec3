"""What this build and machine can do."""

from __future__ import annotations

from typing import Any

from t5g import _core


def system_info() -> dict[str, Any]:
    """Describe the kernels, threads and devices that t5g has here.

    Returns
    -------
    dict
        ``kernels``: the CPU level in use (the best proven one, or the environment variable ``T5G_CPU``);
        ``kernels_available``: all that run here; ``cpu_features``; ``default_threads``: of a model that is not told
        another number (``T5G_NUM_THREADS``, ``OMP_NUM_THREADS``, or the physical cores);
        ``devices``: of each, ``"available: "`` with what it is (name, memory), or the reason why it is not there.

    Raises
    ------
    UnsupportedError
        ``T5G_CPU`` names a level that is unknown or that this CPU cannot run.
    InvalidArgumentError
        ``T5G_NUM_THREADS`` is no number of threads.
    """
    info: dict[str, Any] = _core.system_info()
    return info
