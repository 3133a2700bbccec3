"""Random calls of generate() on the toy model: every option, alone and together, as a function of one seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from support.testing_module import sampling
from support.toy_model import ToyModel


@dataclass(frozen=True)
class ToyCase:
    model: ToyModel
    prompt: list[int]
    eos: list[int]
    suppress: list[int]
    options: dict[str, Any]

    @property
    def config(self) -> sampling.GenerationConfig:
        return sampling.GenerationConfig(
            eos_token_ids=self.eos, suppress_tokens=self.suppress, **self.options
        )  # fmt: skip


def draw_case(seed: int, *, beams: bool) -> ToyCase:
    """Draw a greedy call, or one with 2 to 6 beams."""
    r = random.Random(seed)
    vocab_size = r.choice([32, 40, 200])
    eos = r.sample(range(1, vocab_size), r.choice([0, 1, 1, 2, 3]))
    model = ToyModel(
        seed, vocab_size, scale=r.choice([1, 3, 8]), context=r.choice([1, 2, 5]), eos=eos,
        eos_bonus=r.choice([-1, 0, 1, 3]),
    )  # fmt: skip
    options: dict[str, Any] = {
        "max_new_tokens": r.choice([1, 2, 5, 12, 20]),
        "min_new_tokens": r.choice([0, 0, 3, 8]),
        "repetition_penalty": r.choice([1.0, 1.3, 0.8]),
        "no_repeat_ngram_size": r.choice([0, 0, 1, 2, 3]),
    }
    options["min_new_tokens"] = min(options["min_new_tokens"], options["max_new_tokens"])
    if options["no_repeat_ngram_size"] == 1:
        options["max_new_tokens"] = min(options["max_new_tokens"], 12)  # or it would run out of tokens
        options["min_new_tokens"] = min(options["min_new_tokens"], 12)
    if beams:
        num_beams = r.randint(2, 6)
        options |= {
            "num_beams": num_beams,
            "length_penalty": r.choice([0.0, 0.5, 1.0, 2.0, -1.0]),
            "early_stopping": r.choice([True, False, "never"]),
            "num_return_sequences": r.randint(1, num_beams),
        }
    prompt = [2] + [r.randrange(vocab_size) for _ in range(r.choice([0, 0, 1, 5]))]
    return ToyCase(model, prompt, eos, r.sample(range(vocab_size), r.choice([0, 2])), options)
