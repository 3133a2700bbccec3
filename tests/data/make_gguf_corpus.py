"""Writes the seeds of the GGUF reader's fuzz target to gguf_corpus/: small files that reach every part of it."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support.raw_gguf import COMPLETE_DATA_BYTES, F64, I8, STRING, U8, U32, RawGguf, complete_file  # noqa: E402


def seeds() -> dict[str, bytes]:
    """Name -> content."""
    complete = complete_file().data(COMPLETE_DATA_BYTES)
    return {
        "complete": complete,
        "cut_in_metadata": complete[:400],
        "cut_in_data": complete[:-100],
        "header": RawGguf(0, 0).data(0),
        "big_endian": b"GGUF\0\0\0\3" + bytes(16),
        "git_lfs": b"version https://git-lfs.github.com/spec/v1\n",
        "endless_array": RawGguf(0, 1).array("a", U8, [], count=2**63).data(0),
        "numbers": RawGguf(0, 2).array("a", I8, [-1, 2]).array("b", F64, [1e300]).data(0),
        "alignment_8": RawGguf(2, 1)
        .key("general.alignment", U32, 8)
        .tensor("a", [2], 0, 0)
        .tensor("b", [32, 2], 2, 8)
        .data(44, alignment=8),
        "overlap": RawGguf(2, 0).tensor("a", [16], 0, 0).tensor("b", [8], 0, 32).data(64),
        "twice": RawGguf(1, 2).key("a", STRING, "").key("a", STRING, "\n").tensor("a", [1], 30, 0).data(2),
        "product": RawGguf(1, 0).tensor("a", [2**32, 2**31, 2], 8, 0).data(64),
    }


if __name__ == "__main__":
    folder = HERE / "gguf_corpus"
    folder.mkdir(exist_ok=True)
    for name, content in seeds().items():
        (folder / name).write_bytes(content)
