"""Memory: what has been packed is not held a second time as pages of the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import t5g
from t5g import _core

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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model that is mapped by nobody else."""
    with t5g.Model() as bundled:
        (tmp_path / "model.gguf").write_bytes(bundled.path.read_bytes())
    return tmp_path / "model.gguf"


def test_pages_that_are_read_are_counted(path: Path) -> None:
    """Otherwise the other tests here would be about nothing."""
    file = _core.GgufFile(path)
    largest = max(file.tensors, key=lambda tensor: tensor.n_bytes)
    assert file.tensor_data(largest.name).any()
    assert resident_bytes(path) >= largest.n_bytes


def test_pages_of_the_file_are_given_back(path: Path) -> None:
    size = path.stat().st_size
    with t5g.Model(path) as model:
        assert resident_bytes(path) < size / 20
        ids = [id * 7919 % model.tokenizer.vocab_size for id in range(500)]  # from all over the embedding table
        model.encode(ids)
        model.generate(ids, max_new_tokens=10, draft="off")
        assert resident_bytes(path) < size / 10
