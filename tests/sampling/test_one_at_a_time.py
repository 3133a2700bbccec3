"""A sampler or search that is in use refuses a second user, who would have to wait for a callback of the first."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import t5g
from support.testing_module import sampling

LOGITS = np.linspace(0, 1, 6, dtype=np.float32)


def errors_of(call: Callable[[], object]) -> list[str]:
    """Call it in another thread, then in this one; the errors."""
    errors: list[str] = []

    def attempt() -> None:
        try:
            call()
        except t5g.InvalidArgumentError as error:
            errors.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    attempt()
    return errors


def test_a_sampler() -> None:
    errors: list[str] = []

    def allowed(ids: list[int]) -> list[int]:
        errors.extend(errors_of(lambda: sampler.next(LOGITS, [1])))
        return [2, 3]

    sampler = sampling.Sampler(sampling.GenerationConfig(), 1, allowed=allowed)
    assert sampler.next(LOGITS, [1])[0] == 3
    assert [error.split(":")[0] for error in errors] == ["the sampler is in use"] * 2
    assert sampler.next(LOGITS, [1, 3])[0] == 3  # and goes on afterwards


@pytest.mark.parametrize("call", ["advance", "beams", "finalize"])
def test_a_beam_search(call: str) -> None:
    errors: list[str] = []

    def use() -> object:
        member = getattr(search, call)  # which is an error of its own for a property
        return member(LOGITS[None]) if call == "advance" else member()

    def allowed(ids: list[int]) -> None:
        errors.extend(errors_of(use))

    config = sampling.GenerationConfig(num_beams=2, max_new_tokens=3)
    search = sampling.BeamSearch(config, [1], allowed=allowed)
    search.advance(np.tile(LOGITS, (len(search.beams), 1)))
    assert [error.split(":")[0] for error in errors[:2]] == ["the search is in use"] * 2
    assert len(search.beams) == 2
