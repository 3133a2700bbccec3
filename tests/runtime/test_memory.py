"""Memory: what has been packed is not held a second time, neither as a copy nor as pages of the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import t5g
from support import folders
from support.folders import Folder

STATUS, MAPS = Path("/proc/self/status"), Path("/proc/self/maps")

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="the system does not say what is resident")

# Prints how much resident memory a model adds once all of its weights have been used.
USE = """
import sys
from pathlib import Path
import numpy, t5g
def resident():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line)
def use(path, **options):
    model = t5g.Model(path, n_threads=1, **options)
    ids = [i * 7919 % model.config.vocab_size for i in range(500)]  # from all over the embedding table
    model.encode(ids)
    model.generate(ids, max_new_tokens=10, draft="off")
    return model
use(sys.argv[1]).close()  # what is needed once
before = resident()
model = use(sys.argv[2], load=sys.argv[3])
print((resident() - before) * 1024)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 67 MB, nearly all of it a table that is embedding and head."""
    pytest.importorskip("gguf")
    folder = tmp_path_factory.mktemp("large")
    config = folders.t5gemma2_config()
    for side in (config["encoder"]["text_config"], config["decoder"]):
        side |= {"vocab_size": 1 << 16, "hidden_size": 256}
    checkpoint = Folder.of(config)
    t5g.convert(checkpoint.write(folder / "hf"), folder / "large.gguf", type="f32")
    return folder / "large.gguf"


def added_by(path: Path, load: str) -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    golden = Path(__file__).parents[1] / "goldens" / "v2-gqa-w5.gguf"
    command = [sys.executable, "-c", USE, golden, path, load]
    return int(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)


def test_weights_are_held_once(large: Path) -> None:
    size = large.stat().st_size
    assert 0.9 * size < added_by(large, "map") < 1.3 * size


def test_of_a_copy_only_tables_are_held_twice(large: Path) -> None:
    size = large.stat().st_size
    assert 1.9 * size < added_by(large, "copy") < 2.3 * size


def test_no_file_is_mapped(tmp_path: Path) -> None:
    """A page of a mapping that is gone when it is touched ends the process."""
    with t5g.Model() as bundled:
        path = tmp_path / "model.gguf"
        path.write_bytes(bundled.path.read_bytes())
    with t5g.Model(path) as model:
        source = model.encode("some text")
        source.save(tmp_path / "source")
        t5g.EncodedSource.load(model, tmp_path / "source")
        np.testing.assert_array_equal(model.logits(source, [2]).shape, (1, model.config.vocab_size))
        assert str(tmp_path) not in MAPS.read_text()
