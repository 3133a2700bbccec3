"""Where and when something was measured: what every file of results begins with."""

from __future__ import annotations

import datetime
import platform
import subprocess
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Return date, commit, CPU and the level of t5g's kernels."""
    import t5g

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit.strip(),
        "cpu": names[0] if names else platform.processor(),
        "kernels": t5g.system_info()["kernels"],
    }
