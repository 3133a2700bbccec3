"""A language model without weights: its logits are a hash of the ids so far, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from support.testing_module import sampling

_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * _M1
    z = (z ^ (z >> np.uint64(27))) * _M2
    return z ^ (z >> np.uint64(31))


def _uniform(seed: int, ids: Sequence[int], n: int) -> np.ndarray:
    """Floats in [-1, 1), a function of seed and ids."""
    state = seed + 1
    for token in ids:
        state = (state * 6364136223846793005 + int(token) + 1442695040888963407) & _MASK
    counters = np.uint64(state) + np.uint64(_GOLDEN) * np.arange(1, n + 1, dtype=np.uint64)
    bits = _mix(counters) >> np.uint64(40)
    return bits.astype(np.float32) / np.float32(1 << 23) - np.float32(1)


class ToyModel:
    """Logits within `scale` of 0, with `eos_bonus` added to the end tokens.

    Most of a logit depends on the last `context` ids only, so that texts run into loops, which penalties then break. A
    small part depends on all of them: otherwise two texts made of the same steps in another order would tie.
    """

    def __init__(
        self, seed: int, vocab_size: int = 40, *, scale: float = 3.0, context: int = 2,
        eos: Sequence[int] = (), eos_bonus: float = 0.0,
    ) -> None:  # fmt: skip
        self.seed, self.vocab_size, self.scale, self.context = seed, vocab_size, scale, context
        self.eos, self.eos_bonus = list(eos), eos_bonus

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        near = _uniform(self.seed, list(ids)[-self.context :], self.vocab_size)
        far = _uniform(self.seed + 1, ids, self.vocab_size)
        logits = (near + far * np.float32(0.1)) * np.float32(self.scale)
        logits[self.eos] += np.float32(self.eos_bonus)
        return logits


Logits = Callable[[Sequence[int]], np.ndarray]


def generate(model: Logits, prompt: Sequence[int], config: sampling.GenerationConfig, **kwargs: Any) -> list[list[int]]:
    """All sequences, without the prompt: the loop that a runtime writes around Sampler and BeamSearch."""
    if config.num_beams > 1:
        return [h.generated_ids for h in beam_search(model, prompt, config, **kwargs)]
    return [sample(model, prompt, config, i, **kwargs)[0] for i in range(config.num_return_sequences)]


def equals_up_to_rounding(
    expected: list[list[int]], model: Logits, prompt: Sequence[int], config: sampling.GenerationConfig, **kwargs: Any
) -> bool:
    """Whether `expected` is generated, if need be after the logits have moved by what float arithmetic cannot tell.

    Two texts can be so close that the last bit of a sum decides, and sums differ between CPUs and libraries: about one
    random beam search in a thousand has such a tie.
    """
    models = [model, *(_nudged(model, seed) for seed in range(16))]
    return any(generate(nudged, prompt, config, **kwargs) == expected for nudged in models)


def _nudged(model: Logits, seed: int) -> Logits:
    def nudged(ids: Sequence[int]) -> np.ndarray:
        logits = model(ids)
        return logits + _uniform(seed, ids, len(logits)) * np.float32(2e-6)

    return nudged


def sample(
    model: Logits, prompt: Sequence[int], config: sampling.GenerationConfig, sequence: int = 0, **kwargs: Any
) -> tuple[list[int], float]:
    sampler = sampling.Sampler(config, len(prompt), sequence, **kwargs)
    ids, logprob = list(prompt), 0.0
    for _ in range(config.max_new_tokens):
        token, token_logprob = sampler.next(model(ids), ids)
        ids.append(token)
        logprob += token_logprob
        if token in config.eos_token_ids:
            break
    return ids[len(prompt) :], logprob


def beam_search(
    model: Logits, prompt: Sequence[int], config: sampling.GenerationConfig, **kwargs: Any
) -> list[sampling.Hypothesis]:
    search = sampling.BeamSearch(config, list(prompt), **kwargs)
    while not search.done:
        search.advance(np.stack([model(beam.ids) for beam in search.beams]))
    return search.finalize()
