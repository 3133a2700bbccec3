"""The documentation's code: it runs, its commands have the options that it shows, and it prints what it says."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import t5g
from support.adapters import factors, write_adapter

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODEL = ROOT / "tests" / "goldens" / "v2-images.gguf"  # the smallest that does all that the pages show


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def adapter(path: Path) -> None:
    """Make an adapter of the model that all examples use."""
    with t5g.Model(MODEL) as model:
        side = model.config.encoder
    shape = (side.num_attention_heads * side.head_dim, side.hidden_size)
    tensors = factors({"model.encoder.text_model.layers.0.self_attn.q_proj": shape})
    t5g.convert(write_adapter(path.with_suffix(""), tensors), path, adapter=True)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    code = "\n".join(blocks(page, "python"))
    for file in re.findall(r'"(\S+\.gguf)"', code):
        shutil.copyfile(MODEL, tmp_path / file)
    for file in re.findall(r'load_adapter\("(\S+\.gguf)"', code):
        adapter(tmp_path / file)
    for file in re.findall(r'"(\S+\.(?:jpg|png))"', code):
        image.fromarray(np.full((30, 40, 3), 200, np.uint8)).save(tmp_path / file)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, name(page), "exec"), {})


def commands(page: Path) -> list[list[str]]:
    """The arguments of every t5g-... on a page, the command's name first."""
    lines = [line for block in blocks(page, "console") for line in block.replace("\\\n", " ").splitlines()]
    found = []
    for line in lines:
        if line.startswith("$ "):
            words = shlex.split(line[2:], comments=True)
            begin = next((i for i, word in enumerate(words) if word.startswith("t5g-")), None)
            found += [words[begin:]] if begin is not None else []
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_commands_are_spelt_right(page: Path) -> None:
    for command, *arguments in commands(page):
        parser = importlib.import_module(f"t5g.cli.{command.removeprefix('t5g-')}")._parser()
        parser.parse_args(arguments)  # exits with a message where it does not know one


def test_the_first_command_prints_what_the_readme_says() -> None:
    (command,) = [block for block in blocks(ROOT / "README.md", "sh") if "t5g-run" in block]
    words = shlex.split(command)
    source = words[words.index("-p") + 1]
    said = re.search(r'It prints "(.*?)"', (ROOT / "README.md").read_text(encoding="utf-8"))
    assert said is not None
    with t5g.Model() as model:
        assert model.generate(source).text == said[1]


def test_the_example_prints_what_the_page_of_images_shows() -> None:
    pytest.importorskip("PIL.Image")
    (shown,) = [block for block in blocks(ROOT / "docs" / "images.md", "console") if "examples/shape.jpg:" in block]
    command, expected = shown.removeprefix("$ ").split("\n", 1)
    line = [sys.executable, *shlex.split(command)[1:]]
    environment = os.environ | {"PYTHONPATH": str(Path(t5g.__file__).parents[1])}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True)
    numbers, said = ([float(x) for x in re.findall(r"-\d+\.\d+", text)] for text in (done.stdout, expected))
    assert re.sub(r"-\d+\.\d+", "", done.stdout) == re.sub(r"-\d+\.\d+", "", expected)
    assert numbers == pytest.approx(said, abs=0.02)  # JPEG decoders may differ in the last bit of a pixel
