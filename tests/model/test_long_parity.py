"""t5g equals transformers in f32 at 8K and 16K tokens of source, kept either way, and at 4K of target."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.cases import LONG_CASES
from support.oracle import ask, draw_ids, draw_target, relative_error, tolerance

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", minversion="5.4")
pytest.importorskip("sentencepiece")
pytest.importorskip("gguf")
pytestmark = [pytest.mark.oracle, pytest.mark.slow]

BETWEEN_CACHES = 1e-5


@pytest.mark.parametrize(("name", "n_source", "n_target"), [
    ("v1-long", 8192, 64),
    ("v2-long", 8192, 4096),
    ("v2-long", 16384, 64),
])  # fmt: skip
def test_long_sources_and_targets(tmp_path: Path, name: str, n_source: int, n_target: int) -> None:
    from support.checkpoints import save_checkpoint

    torch.set_num_threads(2)
    (case,) = [case for case in LONG_CASES if case.name == name]
    limits = {"max_position_embeddings": 16384, "sliding_window": 64}
    case = dataclasses.replace(case, encoder={**case.encoder, **limits}, decoder={**case.decoder, **limits})
    theirs = save_checkpoint(case, tmp_path)
    t5g.convert(tmp_path, tmp_path / "model.gguf", type="f32")
    if case.architecture == "t5gemma2":
        theirs.set_attn_implementation("sdpa")  # without all scores in memory; T5Gemma's soft cap has no other way
    source, target = draw_ids(case, n_source, 1), draw_target(case, n_target, 2)
    expected = ask(theirs, source, target)
    found = {}
    window: Any = "inclusive" if case.architecture == "t5gemma" else "exclusive"
    for kept in ("keys", "latent"):
        with t5g.Model(tmp_path / "model.gguf", encoder_window=window, source_cache=kept) as model:
            encoded = model.encode(source)
            assert relative_error(encoded.hidden_states, expected.hidden_states) < tolerance(model)
            found[kept] = model.logits(encoded, target)
            assert relative_error(found[kept], expected.logits) < tolerance(model)
            between = tolerance(model, BETWEEN_CACHES)
    assert np.abs(found["latent"] - found["keys"]).max() <= between * np.abs(found["keys"]).max()
