"""The model inside the package: there without a path, and saying what transformers says with the same weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import t5g

SOURCE = (
    "This package contains a small command line tool that renames many files at once. It supports regular expressions, "
    "counters and dates, and shows what it would do before doing it."
)
GOLDENS = json.loads((Path(__file__).parent / "bundled_goldens.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bundled() -> t5g.Model:
    return t5g.Model()


def test_a_model_without_a_path_is_the_bundled_one(bundled: t5g.Model) -> None:
    assert bundled.config.architecture == "t5gemma2"
    assert bundled.config.vision is None
    assert bundled.path.stat().st_size < 5_000_000
    assert bundled.path.parent.parent == Path(t5g.__file__).parent


def test_the_command_without_a_model_writes_a_line_about_its_source(bundled: t5g.Model) -> None:
    line = [sys.executable, "-m", "t5g.cli.run", "-p", SOURCE]
    out = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout
    assert out == bundled.generate(SOURCE).text + "\n"
    assert "many files at once" in out


def test_most_first_tokens_are_those_of_transformers_in_f32(bundled: t5g.Model) -> None:
    """The file is in 8 bits, so a token may differ where two are nearly equally likely."""
    outs = bundled.generate_batch([row["source"] for row in GOLDENS], max_new_tokens=10)
    same = [out.token_ids == row["token_ids"][:10] for out, row in zip(outs, GOLDENS, strict=True)]
    assert sum(same) >= 0.9 * len(same)


def test_a_long_text_is_refused_with_its_length(bundled: t5g.Model) -> None:
    with pytest.raises(t5g.InputTooLongError, match="4096"):
        bundled.generate(SOURCE * 200)


def test_odd_sources(bundled: t5g.Model) -> None:
    for source in ("", "\n", "?", "日本語のテキスト", "🙂" * 20):
        assert bundled.generate(source, max_new_tokens=30).finish_reason in ("stop", "length")
