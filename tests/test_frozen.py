"""Programs that PyInstaller has frozen: they have the native module, the bundled model and what is imported by name."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import t5g
from support.frozen import need_pyinstaller
from t5g._pyinstaller import get_hook_dirs

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = Path(t5g.__file__).resolve().parents[1]

PROGRAM = """
import sys
import t5g

with t5g.Model() as model:
    print(model.generate(sys.argv[1], max_new_tokens=20).text)
    print(model.embed([sys.argv[1]]).shape[0], t5g.system_info()["default_threads"] > 0)
    try:
        model.generate(sys.argv[1], do_sample=True)
    except t5g.T5gError as error:
        print(type(error).__name__)
"""


def is_registered() -> bool:
    """Whether the package is installed, so that PyInstaller finds the hook by itself."""
    points = importlib.metadata.entry_points(group="pyinstaller40")
    return any(point.value == "t5g._pyinstaller:get_hook_dirs" for point in points)


def test_the_hook_is_where_pyinstaller_looks() -> None:
    assert 'hook-dirs = "t5g._pyinstaller:get_hook_dirs"' in (ROOT / "pyproject.toml").read_text()
    (folder,) = get_hook_dirs()
    assert (Path(folder) / "hook-t5g.py").is_file()


@pytest.mark.slow
def test_a_frozen_program_runs_the_bundled_model(tmp_path: Path) -> None:
    need_pyinstaller()
    (tmp_path / "program.py").write_text(PROGRAM)
    hooks = [] if is_registered() else ["--additional-hooks-dir", *get_hook_dirs()]
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR", *hooks, "program.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGES), "PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")},
        check=True,
        timeout=600,
    )
    # Elsewhere, and without Python's own variables: nothing of this machine's installation may be needed.
    shutil.move(tmp_path / "dist" / "program", tmp_path / "moved")
    source = "This package contains a small tool that renames many files at once."
    result = subprocess.run(
        [tmp_path / "moved" / "program", source], cwd="/", env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True
    )
    with t5g.Model() as model:
        text = model.generate(source, max_new_tokens=20).text
    assert result.stdout.decode().splitlines() == [text, "1 True", "ArgumentTypeError"]
    folders = {path.name for path in (tmp_path / "moved" / "_internal").iterdir()}
    assert not folders & {"torch", "transformers", "gguf", "sentencepiece"}
