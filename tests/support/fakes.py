"""Programs that run on fake devices: other libraries in the place of those that t5g opens for CUDA and Metal."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import t5g

FOLDER = Path(t5g.__file__).resolve().parent / "_fakes"
GOLDENS = Path(__file__).parents[1] / "goldens"
SMALL = GOLDENS / "v2-gqa-w5.gguf"

if not FOLDER.is_dir():
    pytest.skip(
        "there are no fake devices: build with T5G_EMULATED_GPU=ON, as the preset dev does", allow_module_level=True
    )


@dataclass
class Fake:
    """A device of which tests say what there is and what goes wrong.

    Attributes
    ----------
    device
        "cuda" or "metal".
    log
        Where the fake says what a real device would have suffered in silence.
    """

    device: str
    log: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, code: str, **faults: int) -> str:
        """Return what a program printed that ran on the device; it must end well, and the fake have no complaint."""
        done = self.start(code, **faults)
        assert done.returncode == 0, done.stderr
        assert not self.complaints(), self.complaints()
        return done.stdout

    def start(self, code: str, **faults: int) -> subprocess.CompletedProcess[str]:
        """Run a program in which `t5g`, `np` and the path `SMALL` are there."""
        plan = ",".join(f"{name}={value}" for name, value in faults.items())
        environment = {key: value for key, value in os.environ.items() if key not in {"T5G_DEVICE", "LD_LIBRARY_PATH"}}
        environment |= {
            "LD_LIBRARY_PATH": str(FOLDER),
            "T5G_FAKE_CUDA": "devices=0",
            "T5G_FAKE_METAL": "devices=0",
            f"T5G_FAKE_{self.device.upper()}": plan,
            "T5G_FAKE_LOG": str(self.log),
            "T5G_NUM_THREADS": "2",
        }
        start = f"import numpy as np\nimport t5g\nSMALL = {str(SMALL)!r}\n"
        return subprocess.run(
            [sys.executable, "-c", start + textwrap.dedent(code)],
            env=environment | self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def error(self, **faults: int) -> str:
        """Return the type and message of what opening and using a model raises."""
        return self.run(
            f"""
            try:
                with t5g.Model(SMALL, device={self.device!r}) as model:
                    model.generate([5, 6, 7, 8], max_new_tokens=4)
            except t5g.T5gError as error:
                print(type(error).__name__, error)
            """,
            **faults,
        )

    def complaints(self) -> str:
        """What the fake wrote down."""
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def cuda(tmp_path: Path) -> Fake:
    return Fake("cuda", tmp_path / "complaints")


@pytest.fixture
def metal(tmp_path: Path) -> Fake:
    return Fake("metal", tmp_path / "complaints")
