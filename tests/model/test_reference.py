"""The NumPy reference equals transformers, so that it may judge and explain where transformers is not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.cases import CASES, Case
from support.oracle import ask, ask_without_source, draw_ids, draw_target, relative_error
from support.reference import Reference

pytest.importorskip("torch")
pytest.importorskip("transformers", minversion="5.4")
pytest.importorskip("sentencepiece")
pytest.importorskip("tokenizers")
pytestmark = pytest.mark.oracle

# float32 in transformers against float64 here; the worst case, a hard final softcap, reaches 4e-5.
TOLERANCE = 1e-4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reference_equals_transformers(case: Case, tmp_path: Path) -> None:
    from support.checkpoints import save_checkpoint

    model = save_checkpoint(case, tmp_path)
    reference = Reference(tmp_path, encoder_window="inclusive")
    target = draw_target(case, case.target_length, 2)
    for length in (1, 2, case.source_length):
        source = draw_ids(case, length, length)
        expected = ask(model, source, target)
        assert relative_error(reference.encode(source), expected.hidden_states) < TOLERANCE
        assert relative_error(reference.logits(source, target), expected.logits) < TOLERANCE
    if case.architecture == "t5gemma2":
        nothing = np.zeros((0, case.encoder["hidden_size"]))
        assert relative_error(reference.logits(nothing, target), ask_without_source(model, target)) < TOLERANCE


def test_window_reading_matters(tmp_path: Path) -> None:
    from support.cases import BY_NAME
    from support.checkpoints import save_checkpoint

    save_checkpoint(BY_NAME["v1-mha-w4"], tmp_path)
    source = draw_ids(BY_NAME["v1-mha-w4"], 20, 1)
    exclusive, inclusive = (Reference(tmp_path, encoder_window=reading) for reading in ("exclusive", "inclusive"))
    assert relative_error(exclusive.encode(source), inclusive.encode(source)) > 0.01
    assert relative_error(exclusive.encode(source[:4]), inclusive.encode(source[:4])) < 1e-12
