"""Finds pointers and references of GPU kernels that do not name their memory, and words that Metal does not have.

python tools/gpu/address_spaces.py [FOLDER]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[2] / "csrc" / "kernels" / "gpu"
# Files of other targets, and of the host.
OTHERS = {"types.h", "prelude.h", "prelude_cuda.h", "prelude_metal.h", "prelude_host.h", "kernels.h", "pack.h"}
SPACES = re.compile(r"\b(GLOBAL|SHARED|CONSTANT|PRIVATE)\b")
FORBIDDEN = re.compile(
    r"\b(double|virtual|throw|try|new|delete|goto|dynamic_cast|typeid|thread_local|half|device|kernel|thread|fragment|"
    r"vertex|threadgroup|constant|sampler|texture|bfloat)\b|std::|\[[&=]?\]\s*\(|^struct \w+ : "
)


def type_before(code: str, at: int) -> str:
    """The text from the start of a declaration or cast up to its sign."""
    depth = 0
    for i in range(at - 1, -1, -1):
        c = code[i]
        depth += (c == ">") - (c == "<")
        if depth < 0 or (depth == 0 and c in "(,;{="):
            return code[i + 1 : at]
    return code[:at]


def complaints(line: str) -> list[str]:
    """What is wrong with one line of formatted code."""
    code = re.sub(r"//.*|\"[^\"]*\"", "", line)
    if code.startswith("#"):
        return []
    found = [f"not in Metal's language: {match[0].strip()}" for match in FORBIDDEN.finditer(code)]
    # Formatted code has "T* name" and "T& name", but "a * b" and "a & b".
    signs = list(re.finditer(r"(?<=[\w>])[*&](?![&\w])|(?<=\w) (?=\(&\w)", code))
    found += [
        f"names no memory: {type_before(code, match.start()).strip()}{match[0]}"
        for match in signs
        if not SPACES.search(type_before(code, match.start()))
    ]
    return found


def main(folder: Path) -> int:
    """Prints what is wrong -> exit status."""
    found = [
        f"{path}:{number}: {text}"
        for path in sorted(folder.glob("*.h"))
        if path.name not in OTHERS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for text in complaints(line)
    ]
    print("\n".join(found) if found else "address spaces: no complaint")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else KERNELS))
