"""Whether a device computes what the CPU does: what ``t5g-bench --check`` asks, of any model file.

The CPU's own results are held against transformers by t5g's tests, so agreeing with it is being right.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from t5g.options import plain

if TYPE_CHECKING:
    from t5g.model import Model

# Largest difference, as a share of the largest value. Float weights leave room for another order of summation;
# quantised ones are multiplied with activations of 8 bits on the CPU, and with wider ones elsewhere.
_LIMIT, _LIMIT_QUANTISED = 1e-3, 5e-2
_LENGTHS = (3, 130, 600)
_NEW_TOKENS = 24


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes
    ----------
    name
        What was compared.
    passed
        Whether it holds.
    detail
        In numbers.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Speed:
    """Tokens per second of one kind of work."""

    name: str
    device: float
    cpu: float


class DeviceCheck:
    """Compares two open models of one file.

    Parameters
    ----------
    device, cpu
        The model on the device in question, and on the CPU.
    """

    def __init__(self, device: Model, cpu: Model) -> None:
        self._device, self._cpu = device, cpu
        self._limit = _LIMIT if cpu.kv_type == "f32" else _LIMIT_QUANTISED
        random = np.random.default_rng(0)
        vocabulary = cpu.config.vocab_size
        self._sources = [random.integers(1, vocabulary, n).tolist() for n in _LENGTHS]
        self._target = [cpu.tokenizer.bos_id or 0, *random.integers(1, vocabulary, 19).tolist()]

    def findings(self) -> Iterator[Finding]:
        """Run the checks, and tell of each when it is done."""
        yield self._compare("hidden states", lambda model, ids: model.encode(ids).hidden_states)
        yield self._compare("logits", lambda model, ids: model.logits(ids, self._target))
        yield self._compare("a source of the CPU", self._logits_of_moved_source)
        if self._cpu.config.vision is not None:
            yield self._image()
        yield self._greedy()
        yield self._same_bits()

    def _compare(self, name: str, compute: Callable[[Model, list[int]], Any]) -> Finding:
        worst = max(self._error(compute(self._device, ids), compute(self._cpu, ids)) for ids in self._sources)
        return self._judge(name, worst)

    def _judge(self, name: str, error: float) -> Finding:
        detail = f"largest difference {error:.1e} of the largest value (limit {self._limit:.0e})"
        return Finding(name, error <= self._limit, detail)

    @staticmethod
    def _error(found: np.ndarray, expected: np.ndarray) -> float:
        if not np.isfinite(found).all():
            return float("inf")
        return float(np.abs(found - expected).max() / np.abs(expected).max())

    def _logits_of_moved_source(self, model: Model, ids: list[int]) -> np.ndarray:
        return model.logits(self._cpu.encode(ids), self._target)

    def _image(self) -> Finding:
        vision = self._cpu.config.vision
        assert vision is not None
        shape = (vision.image_size, vision.image_size, 3)
        pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        found, expected = (m.encode("", images=pixels).hidden_states for m in (self._device, self._cpu))
        return self._judge("an image", self._error(found, expected))

    def _greedy(self) -> Finding:
        """Tokens are equal, or part where the CPU's two best are nearer to each other than the limit."""
        options = plain(max_new_tokens=_NEW_TOKENS, min_new_tokens=_NEW_TOKENS)
        same, ties = 0, 0
        for ids in self._sources:
            found, expected = (m.generate(ids, **options).token_ids for m in (self._device, self._cpu))
            at = next((i for i, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]), None)
            if at is None:
                same += 1
                continue
            row = self._cpu.logits(ids, [self._target[0], *expected[:at]])[-1]
            ties += bool(abs(row[found[at]] - row[expected[at]]) <= 2 * self._limit * np.abs(row).max())
        n = len(self._sources)
        detail = f"{same} of {n} texts of {_NEW_TOKENS} tokens are the same" + (
            f", {ties} part at a tie" if ties else ""
        )
        return Finding("greedy tokens", same + ties == n, detail)

    def _same_bits(self) -> Finding:
        """Alone, in a batch, once more and in pieces: on the device itself."""
        model, options = self._device, plain(max_new_tokens=_NEW_TOKENS, draft="off")
        alone = [model.generate(ids, **options) for ids in self._sources]
        batch = model.generate_batch(self._sources, **options)
        whole = model.logits(self._sources[1], self._target)
        faults = []
        if [(o.token_ids, o.logprob) for o in alone] != [(o.token_ids, o.logprob) for o in batch]:
            faults.append("in a batch")
        if not np.array_equal(whole, model.logits(self._sources[1], self._target)):
            faults.append("once more")
        if not np.array_equal(whole[:7], model.logits(self._sources[1], self._target[:7])):
            faults.append("in pieces")
        detail = "other bits " + ", ".join(faults) if faults else "alone, in a batch, once more and in pieces"
        return Finding("same bits", not faults, detail)

    def speeds(self) -> Iterator[Speed]:
        """Time a source of 512 tokens, and 64 tokens written after it."""
        ids = [1 + i % (self._cpu.config.vocab_size - 1) for i in range(512)]
        models = self._device, self._cpu
        yield Speed("encode 512", *(512 / _seconds(functools.partial(model.encode, ids)) for model in models))
        options = plain(max_new_tokens=64, min_new_tokens=64, draft="off")
        rates = []
        for model in models:
            source = model.encode(ids)
            model.generate(source, **options)
            rates.append(
                statistics.median(model.generate(source, **options).timings.decode_tokens_per_second for _ in range(3))
            )
        yield Speed("decode @ 512", *rates)


def _seconds(run: Callable[[], object]) -> float:
    run()  # packs weights, fills caches
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
