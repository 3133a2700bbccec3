"""A model whose file changes: never a dead process, never silent garbage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import t5g
from support import changing_file
from support.changing_file import CHANGES, IDS, tokens

HARMLESS = ("replace", "remove")  # the file that was opened is still there


def use(folder: Path, model: Path, *arguments: str) -> dict[str, list[str]]:
    """What changing_file prints: change -> lines."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, changing_file.__file__, folder, model, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert process.returncode == 0, f"ended by {process.returncode}: {process.stderr}"
    seen: dict[str, list[str]] = json.loads(process.stdout)
    assert list(seen) == list(CHANGES)
    return seen


@pytest.mark.parametrize("moment", ["before use", "in use", "after use"])
def test_a_change_of_the_file_is_an_error(tmp_path: Path, tiny_path: Path, moment: str) -> None:
    for change, lines in use(tmp_path, tiny_path, "map", moment).items():
        if change in HARMLESS:
            assert lines == ["same tokens"], change
        else:
            assert lines[0].startswith(f"ModelFormatError: {tmp_path / 'model.gguf'}: "), change
            assert "it was opened" in lines[0]
            assert 'load="copy"' in lines[0]
            assert lines[1:] == ["and again"], change


@pytest.mark.parametrize("moment", ["before use", "in use", "after use"])
def test_a_copy_does_not_care(tmp_path: Path, tiny_path: Path, moment: str) -> None:
    assert use(tmp_path, tiny_path, "copy", moment) == {change: ["same tokens"] for change in CHANGES}


@pytest.mark.parametrize("load", ["map", "copy"])
def test_opening_a_file_that_is_being_written(tmp_path: Path, tiny_path: Path, load: str) -> None:
    """Whatever is found, it is the whole model or an error."""
    content = tiny_path.read_bytes()
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with t5g.Model(tiny_path, n_threads=1) as model:
        expected = tokens(model)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            path.write_bytes(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        errors, until = 0, time.monotonic() + 2
        while time.monotonic() < until:
            try:
                with t5g.Model(path, n_threads=1, load=load) as model:
                    assert tokens(model) == expected
            except t5g.ModelFormatError as error:
                assert "model.gguf" in str(error)  # noqa: PT017  an error is one of two right ends
                errors += 1
    finally:
        done.set()
        writer.join()
    assert errors > 0


@pytest.mark.parametrize("load", ["map", "copy"])
def test_both_ways_to_load_give_the_same_bits(tiny_path: Path, tiny_model: t5g.Model, load: str) -> None:
    with t5g.Model(tiny_path, load=load) as model:
        target = [2, *IDS]
        np.testing.assert_array_equal(model.logits(IDS, target), tiny_model.logits(IDS, target))
        np.testing.assert_array_equal(model.logits(IDS, target), tiny_model.logits(IDS, target))
        assert model.memory() == tiny_model.memory()
        assert tokens(model) == tokens(tiny_model)


def test_a_copy_keeps_no_file_open(tmp_path: Path, tiny_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_path.read_bytes())

    def is_open() -> bool:
        # The list has its own descriptor, gone by the time it is looked at.
        links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
        return any(link.is_symlink() and os.readlink(link) == str(path.resolve()) for link in links)  # noqa: PTH115

    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not say what is open")
    with t5g.Model(path, load="copy"):
        assert not is_open()
    with t5g.Model(path):
        assert is_open()
    assert not is_open()


def test_other_ways_to_load_are_refused(tiny_path: Path) -> None:
    with pytest.raises(ValueError, match="load is 'mmap', expected 'map' or 'copy'"):
        t5g.Model(tiny_path, load="mmap")  # type: ignore[arg-type]


def test_images_with_both_ways(tmp_path: Path) -> None:
    """The tower's position embeddings are read for each image."""
    path = tmp_path / "model.gguf"
    golden = Path(__file__).parents[1] / "goldens" / "v2-images.gguf"
    path.write_bytes(golden.read_bytes())
    pixels = np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3)
    with t5g.Model(golden) as model, t5g.Model(path) as changed, t5g.Model(path, load="copy") as copied:
        states = model.encode("", images=pixels).hidden_states
        path.write_bytes(bytes(1000))
        np.testing.assert_array_equal(copied.encode("", images=pixels).hidden_states, states)
        with pytest.raises(t5g.ModelFormatError, match=r"model\.gguf"):
            changed.encode("", images=pixels)


def test_a_saved_source_that_is_being_written(tiny_model: t5g.Model, tmp_path: Path) -> None:
    path = tmp_path / "source"
    source = tiny_model.encode(IDS * 100)
    source.save(path)
    content = path.read_bytes()
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            path.write_bytes(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            try:
                loaded = t5g.EncodedSource.load(tiny_model, path)
            except t5g.ModelFormatError:
                continue
            np.testing.assert_array_equal(loaded.hidden_states, source.hidden_states)
    finally:
        done.set()
        writer.join()
