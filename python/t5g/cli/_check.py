"""`t5g-bench --check`: what a device finds, as a text to paste into a report."""

from __future__ import annotations

import argparse
from typing import Any

from t5g.cli import _common, _model


def check(arguments: argparse.Namespace) -> int:
    """Compare a device with the CPU, and print what was found.

    Returns
    -------
    int
        The exit status: 1 when something differs.
    """
    from t5g import Model, UnsupportedError, system_info
    from t5g.device_check import DeviceCheck

    options: dict[str, Any] = _model.options(arguments)
    with Model(arguments.model, **options) as device:
        if device.device == "cpu":
            reasons = [f"{name}: {state}" for name, state in system_info()["devices"].items() if name != "cpu"]
            raise UnsupportedError("--check compares a device with the CPU, and none works here. " + " ".join(reasons))
        with Model(arguments.model, **(options | {"device": "cpu"})) as cpu:
            _print_head(device, cpu)
            comparison, passed = DeviceCheck(device, cpu), []
            for finding in comparison.findings():
                print(f"{'ok' if finding.passed else 'FAILED':<8}{finding.name:<22}{finding.detail}", flush=True)
                passed.append(finding.passed)
            print(f"\n{'tokens/s':<14}{device.device:>12}{'cpu':>12}")
            for speed in comparison.speeds():
                print(f"{speed.name:<14}{speed.device:>12,.0f}{speed.cpu:>12,.0f}", flush=True)
    n_failed = passed.count(False)
    print(f"\n{n_failed} of {len(passed)} checks FAILED" if n_failed else f"\nall {len(passed)} checks passed")
    return _common.FAILED if n_failed else _common.DONE


def _print_head(device: Any, cpu: Any) -> None:
    import datetime
    import platform

    from t5g import __version__, system_info

    devices = system_info()["devices"]
    known = devices.get(device.device) or devices.get(device.device.partition(":")[0], "")
    print(f"t5g {__version__}, {datetime.date.today()}, {platform.platform()}, Python {platform.python_version()}")
    print(f"device: {device.device} ({known.removeprefix('available: ')})")
    print(f"beside: cpu ({devices['cpu'].removeprefix('available: ')}, {cpu.n_threads} threads)")
    size = device.path.stat().st_size
    print(
        f"model:  {device.path.name} ({device.config.architecture}, {size:,} bytes, keys and values {device.kv_type})\n"
    )
