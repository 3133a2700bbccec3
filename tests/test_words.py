"""One word for each thing (docs/notation.md): the words that were given up for others do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("benchmarks", "convert", "csrc", "docs", "examples", "python", "tests", "tools")
SUFFIXES = {".cc", ".h", ".inc", ".cu", ".metal", ".md", ".py", ".pyi", ".sh", ".txt", ".cmake", ".toml"}
# What was given up, and the word that the field has for it.
INSTEAD = {
    r"pictur": "image",
    r"guess": "draft, or prompt-lookup speculative decoding",
    r"turnstile": "ticket lock",
    r"(?<![a-z])(?:bend|bends|bending|bent)(?![a-z])": "activation (function)",
}
# Where such a word means something else: file, and what is found there.
ALLOWED = {
    ("tests/convert/test_config.py", "guess"),  # of a hyper-parameter that config.json does not say
    ("tests/gguf/test_gguf_reader.py", "guess"),  # gguf-py guesses the type of an array
}


def files() -> list[Path]:
    """Everything that people read: code, stubs, pages, build files; not data."""
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted([*inside, *ROOT.glob("*.md"), *ROOT.glob("*.txt"), *ROOT.glob("*.toml")])


def complaints(name: str, text: str) -> list[str]:
    """Each given-up word in a file's name or text, with its line."""
    found = []
    for number, line in enumerate([name, *text.splitlines()]):
        for old, new in INSTEAD.items():
            for match in re.finditer(old, line, re.IGNORECASE):
                if (name, match.group().lower()) not in ALLOWED:
                    found.append(f"{name}:{number}: {match.group()!r}: say {new}")
    return found


def test_words_that_were_given_up_stay_away() -> None:
    looked_at = [path for path in files() if path != Path(__file__).resolve()]
    assert len(looked_at) > 400
    found = []
    for path in looked_at:
        found += complaints(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "n"),
    [
        ("a Picture, two pictures", 2),
        ("N_PICTURES = 2", 1),
        ("class Turnstile {", 1),
        ("tokens are guessed", 1),
        ("float bent[16];", 1),
        ("gelu_bend(x)", 1),
        ("recent, blend, Absent", 0),
        ("an image, its draft, a ticket lock, an activation", 0),
    ],
)
def test_the_rule_itself(line: str, n: int) -> None:
    assert len(complaints("a.cc", line)) == n


def test_every_exception_is_still_needed() -> None:
    for name, word in ALLOWED:
        assert word in (ROOT / name).read_text(encoding="utf-8").lower(), (name, word)
