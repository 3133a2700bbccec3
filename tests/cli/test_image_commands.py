"""Images on the command line: --image of t5g-run and t5g-bench, and what t5g-info says of a tower."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import t5g

GOLDENS = Path(__file__).parents[1] / "goldens"
MODEL = GOLDENS / "v2-images.gguf"
TEXT_ONLY = GOLDENS / "v2-gqa-w5.gguf"


def run(command: str, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", f"t5g.cli.{command}", *map(str, arguments)]
    return subprocess.run(line, input=stdin, capture_output=True, timeout=120, check=False, encoding="utf-8")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pil = pytest.importorskip("PIL.Image", reason="no Pillow")
    path: Path = tmp_path_factory.mktemp("images") / "noise.png"
    pil.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)).save(path)
    return path


def test_images_go_in_front_of_a_text_without_places(image: Path) -> None:
    marker = "<start_of_image>"
    with t5g.Model(MODEL) as model:
        for text, n, whole in (
            ("the dog", 1, f"{marker}the dog"),
            ("the dog", 2, f"{marker} {marker}the dog"),
            (f"the {marker} dog", 1, f"the {marker} dog"),
            ("", 1, marker),
        ):
            expected = model.generate(whole, images=[image] * n, max_new_tokens=6)
            result = run("run", MODEL, *["--image", image] * n, "-p", text, "-n", 6, "--json")
            assert result.stderr == ""
            assert json.loads(result.stdout)["token_ids"] == expected.token_ids
    piped = run("run", MODEL, "--image", image, "-n", 6, stdin="the dog\n")
    assert piped.stdout == run("run", MODEL, "--image", image, "-n", 6, "-p", "the dog").stdout


def test_the_time_of_images_is_told(image: Path) -> None:
    result = run("run", MODEL, "--image", image, "-p", "", "-n", 1, "-v", "--json")
    assert json.loads(result.stdout)["timings"]["image_seconds"] > 0
    assert "; images " in result.stderr
    assert "; images " not in run("run", MODEL, "-p", "dog", "-n", 1, "-v").stderr


def test_failures_are_one_line(image: Path, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("no image")
    marker = "<start_of_image>"
    for arguments, status, message in (
        ([MODEL, "--image", tmp_path / "none.png", "-p", "x"], 1, "No such file"),
        ([MODEL, "--image", tmp_path / "no.png", "-p", "x"], 1, "not an image"),
        ([MODEL, "--image", image, "-p", marker * 2], 1, "2 <start_of_image>, but there is 1 image"),
        ([TEXT_ONLY, "--image", image, "-p", "x"], 1, "no vision tower"),
        ([MODEL, "--image", image, "--no-source"], 2, "--image"),
    ):
        result = run("run", *arguments)
        assert (result.returncode, result.stdout) == (status, "")
        assert result.stderr.startswith("t5g-run: error: ")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert run("bench", TEXT_ONLY, "--image", image).returncode == 1


def test_bench_has_a_row_for_an_image(image: Path) -> None:
    options = ["--source-tokens", 8, "--new-tokens", 2, "--repeat", 1]
    for arguments in ([MODEL], [MODEL, "--image", image]):
        rows = json.loads(run("bench", *arguments, *options, "--json").stdout)["results"]
        assert [row["test"] for row in rows] == ["image", "encode", "decode"]
        assert rows[0]["image_tokens"] == 4
        assert rows[0]["seconds"] > 0
    assert "s an image" in run("bench", MODEL, *options).stdout
    rows = json.loads(run("bench", TEXT_ONLY, *options, "--json").stdout)["results"]
    assert [row["test"] for row in rows] == ["encode", "decode"]


def test_info_shows_the_tower() -> None:
    facts = json.loads(run("info", MODEL, "--json").stdout)
    assert facts["config"]["vision"]["image_size"] == 24
    assert facts["vision_types"]["F32"]["size_bytes"] > 0
    assert facts["memory"]["vision_weights_bytes"] > 0
    text = run("info", MODEL).stdout
    assert "images: 24 x 24 pixels in patches of 4" in text
    assert "4 tokens each" in text
    assert "memory for images" in text
    assert "images: none, text only" in run("info", TEXT_ONLY).stdout
