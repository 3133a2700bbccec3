"""Writes tests/goldens as texts, which tests/native/golden_models.cc can read without Python.

python tools/checks/golden_arrays.py FOLDER    and prints the arguments of golden_models, one a line
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).resolve().parents[2] / "tests" / "goldens"
MODELS = sorted(path.stem for path in GOLDENS.glob("*.gguf"))


def write_arrays(folder: Path) -> None:
    """Write a text of each golden's arrays but images, with lines "NAME COUNT VALUE ..."."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        with np.load(GOLDENS / f"{name}.npz") as arrays, (folder / f"{name}.txt").open("w") as file:
            for key, values in arrays.items():
                if not key.startswith("image"):
                    words = [f"{value:.9g}" if values.dtype.kind == "f" else str(value) for value in values.ravel()]
                    file.write(f"{key} {len(words)} {' '.join(words)}\n")


if __name__ == "__main__":
    write_arrays(Path(sys.argv[1]))
    for model in MODELS:
        print(GOLDENS / f"{model}.gguf", Path(sys.argv[1]) / f"{model}.txt", sep="\n")
