"""The committed vocabulary of 2000 pieces that text/make_small_vocabulary.py learnt, and sentencepiece's ids for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.toy_vocabulary import Arrays

DATA = Path(__file__).parents[1] / "data"


def vocabulary() -> Arrays:
    """Read the arrays."""
    return Arrays(**json.loads((DATA / "small_vocabulary.json").read_text(encoding="utf-8")))


def goldens() -> list[dict[str, Any]]:
    """Read the texts and ids: `text`, `ids`, and `ids_with_special` where matching special pieces changes them."""
    found: list[dict[str, Any]] = json.loads((DATA / "small_vocabulary_goldens.json").read_text(encoding="utf-8"))
    return found
