"""Prints all GPU kernels as one text, as Metal's compiler is given them: includes put in, comments taken out.

python one_text.py CSRC > kernels.metal

Needs nothing but Python's own library: builds run it.
"""

import re
import sys
from pathlib import Path

# What other targets need.
OTHERS = {"kernels/gpu/prelude_cuda.h", "kernels/gpu/prelude_host.h"}


def expand(csrc: Path, name: str, seen: set[str]) -> list[str]:
    """The lines of a file of csrc/ and of those that it includes, headers once each."""
    lines = []
    for line in (csrc / name).read_text(encoding="utf-8").splitlines():
        include = re.match(r'\s*#include "(.+)"', line)
        if include is None:
            lines.append(re.sub(r"\s*// .*$", "", line))
        elif include[1] not in seen and include[1] not in OTHERS:
            if not include[1].endswith(".inc"):
                seen.add(include[1])
            lines += expand(csrc, include[1], seen)
    return [line for line in lines if line.strip() not in {"", "//", "#pragma once"}]


if __name__ == "__main__":
    print("\n".join(expand(Path(sys.argv[1]), "kernels/gpu/all.cu", set())))
