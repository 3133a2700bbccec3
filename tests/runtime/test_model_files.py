"""What people give as a model's path, and what they are told to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import t5g


def test_a_folder_is_answered_with_what_to_do(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(
        IsADirectoryError, match=r"is a folder, expected a \.gguf file\. Convert .* t5g-convert FOLDER -o"
    ):
        t5g.Model(tmp_path)
    shutil.copy(tiny_path, tmp_path / "a.gguf")
    with pytest.raises(IsADirectoryError, match=r"It has a\.gguf: give that\.$"):
        t5g.Model(tmp_path)
    shutil.copy(tiny_path, tmp_path / "b.gguf")
    with pytest.raises(IsADirectoryError, match=r"It has a\.gguf: give that or another one\.$"):
        t5g.Model(str(tmp_path))


def test_the_name_of_a_model_on_a_hub_is_no_file() -> None:
    name = "google/t5gemma-2-270m-270m"
    with pytest.raises(FileNotFoundError, match=rf"^{name}: no such file\. A model of a hub is hf:{name}\.$"):
        t5g.Model(name)


def test_other_names_are_just_not_there(tmp_path: Path) -> None:
    for name in ("model.gguf", str(tmp_path / "model.gguf"), f"{tmp_path.name}/x.gguf"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            t5g.Model(name)


def test_the_bundled_model_may_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("t5g.model_files.BUNDLED", tmp_path / "none.gguf")
    with pytest.raises(FileNotFoundError, match="no bundled model"):
        t5g.Model()
