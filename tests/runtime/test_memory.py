"""Memory: what has been packed is not held a second time as pages of the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import t5g

MAPS = Path("/proc/self/smaps")

pytestmark = pytest.mark.skipif(not MAPS.exists(), reason="the system does not say what is resident")


def resident_bytes(path: Path) -> int:
    """Return how much of the mappings of this file is in this process's memory."""
    total, of_file = 0, False
    for line in MAPS.read_text().splitlines():
        if re.match("[0-9a-f]+-", line):
            of_file = line.endswith(str(path.resolve()))
        elif of_file and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def test_pages_of_the_file_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"  # mapped by nobody else
    with t5g.Model() as bundled:
        path.write_bytes(bundled.path.read_bytes())
    size = path.stat().st_size
    with t5g.Model(path) as model:
        assert resident_bytes(path) < size / 20
        ids = [id * 7919 % model.tokenizer.vocab_size for id in range(500)]  # from all over the embedding table
        model.encode(ids)
        model.generate(ids, max_new_tokens=10, draft="off")
        assert resident_bytes(path) < size / 10
