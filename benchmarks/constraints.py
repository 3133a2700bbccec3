"""What constraints cost: seconds of a decode step under each, beside the plain greedy step, in turns.

    python benchmarks/constraints.py MODEL.gguf [--tokens 48] [--rounds 7] [--threads N] [--json OUT]

Needs t5g[grammar]. The plain step and all others read the same source of 512 tokens, without drafts. A step of a
grammar writes one token here: nothing is forced. That of choices writes a token of one of a thousand texts.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from typing import Any

import t5g

# Most tokens may follow in the first and the second, few in the third.
GRAMMARS: dict[str, dict[str, Any]] = {
    "regex, any text": {"regex": r"(?s:.)*"},
    "JSON strings": {"json_schema": {"type": "array", "items": {"type": "string", "minLength": 200}, "minItems": 9}},
    "regex, letters": {"regex": r"[a-z ]{2000}"},
    "regex, digits": {"regex": r"[0-9]{2000}"},
}


def choices(n: int) -> list[str]:
    r = random.Random(0)
    words = ["".join(r.choice("abcdefghijklmnop") for _ in range(r.randint(2, 9))) for _ in range(400)]
    return [" ".join(r.choices(words, k=6)) for _ in range(n)]


def seconds_per_token(model: t5g.Model, source: t5g.EncodedSource, options: dict[str, Any]) -> float:
    out = model.generate(source, draft="off", **options)
    return out.timings.decode_seconds / out.timings.n_new_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", metavar="OUT")
    arguments = parser.parse_args()
    with t5g.Model(arguments.model, n_threads=arguments.threads) as model:
        found = measure(model, arguments.tokens, arguments.rounds)
    print(f"{'':24}{'ms/token':>10}{'x plain':>10}")
    for name, row in found.items():
        print(f"{name:24}{1000 * row['seconds']:10.3f}{row['ratio']:10.3f}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump({"model": arguments.model, "tokens": arguments.tokens, "rows": found}, file, indent=1)


def measure(model: t5g.Model, n_tokens: int, n_rounds: int) -> dict[str, dict[str, float]]:
    """Seconds per token and the median of the ratios to the plain step beside it, for every way."""
    source = model.encode([2, *random.Random(1).choices(range(1000, model.config.encoder.vocab_size), k=511)])
    length = {"max_new_tokens": n_tokens, "min_new_tokens": n_tokens}
    ways: dict[str, dict[str, Any]] = {"plain": length}
    ways |= {name: {"max_new_tokens": n_tokens} | grammar for name, grammar in GRAMMARS.items()}
    texts = choices(1000)
    ways |= {f"choices, {n:,}": {"choices": texts[:n]} for n in (2, 30, 1000)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for name in ways:  # the first of each builds what is kept
        seconds_per_token(model, source, ways[name])
    for _ in range(n_rounds):
        for name, options in ways.items():
            seconds[name].append(seconds_per_token(model, source, options))
    plain = seconds["plain"]
    return {
        name: {
            "seconds": statistics.median(values),
            "ratio": statistics.median(value / beside for value, beside in zip(values, plain, strict=True)),
        }
        for name, values in seconds.items()
    }


if __name__ == "__main__":
    main()
