"""Digests of what t5g computes, to compare two versions bit by bit.

    PYTHONPATH=python python tools/checks/bits.py > before.json      # on the commit before
    PYTHONPATH=python python tools/checks/bits.py --compare before.json

Whole models of both families (the committed goldens, the bundled model, the one that sees) with every type of keys and
values, one thread and three, an image, and every way to generate. Both versions must run on the same CPU level.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import t5g

ROOT = Path(__file__).resolve().parents[2]
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy-no-draft": {"draft": "off"},
    "greedy-penalised": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 8},
    "beams": {"num_beams": 4, "num_return_sequences": 3},
    "beams-penalised": {"num_beams": 3, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
    "samples": {"temperature": 0.9, "seed": 3, "num_return_sequences": 2},
    "top-k": {"temperature": 1.1, "top_k": 7, "seed": 5, "repetition_penalty": 1.1},
    "nucleus": {"temperature": 1.0, "top_p": 0.8, "min_p": 0.02, "top_k": 40, "seed": 9, "no_repeat_ngram_size": 2},
}


def digest(*values: object) -> str:
    """A short hash of arrays and plain values."""
    found = hashlib.sha256()
    for value in values:
        found.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return found.hexdigest()[:16]


def sources(model: t5g.Model) -> list[list[int]]:
    """Token ids of four sources: short, beyond a window, longer than a block of rows, and none."""
    draw = np.random.default_rng(1)
    high = min(model.config.vocab_size, 4000)
    return [draw.integers(4, high, n).tolist() for n in (9, 70, 300)] + [[]]


def runs(model: t5g.Model, images: Any) -> dict[str, str]:
    """Every computation, by name."""
    given = sources(model)
    found = {}
    for i, ids in enumerate(given):
        if not ids and model.config.architecture == "t5gemma":
            continue
        source = model.encode(ids)
        target = [model.config.decoder_start_token_id, *given[0]]
        found[f"states-{i}"] = digest(source.hidden_states)
        found[f"logits-{i}"] = digest(model.logits(source, target))
        found[f"score-{i}"] = digest(model.score(source, given[0]).token_logprobs)
    for name, options in WAYS.items():
        outs = model.generate_batch(given[:3], max_new_tokens=24, **options)
        found[name] = digest(*[(s.token_ids, s.logprob) for out in outs for s in out.sequences])
    if images is not None:
        source = model.encode("<start_of_image> a", images=images)
        found["image"] = digest(source.hidden_states)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--compare", metavar="FILE", help="digests of another version")
    arguments = parser.parse_args()
    found: dict[str, str] = {}
    files = [*sorted((ROOT / "tests/goldens").glob("*.gguf")), ROOT / "tests/data/shapes.gguf"]
    for path in [*files, ROOT / "python/t5g/data/bundled.gguf"]:
        for kv_type in ("f32", "f16", "q8_0"):
            for n_threads in (1, 3):
                with t5g.Model(path, kv_type=kv_type, n_threads=n_threads) as model:
                    vision = model.config.vision
                    size = vision.image_size if vision else 0
                    image = np.arange(size * size * 3, dtype=np.uint32).astype(np.uint8).reshape(size, size, 3)
                    for name, value in runs(model, image if vision else None).items():
                        found[f"{path.stem} {kv_type} {n_threads} {name}"] = value
    if arguments.compare is None:
        json.dump(found, sys.stdout, indent=1)
        return 0
    other = json.loads(Path(arguments.compare).read_text(encoding="utf-8"))
    different = [name for name in found.keys() & other.keys() if found[name] != other[name]]
    missing = found.keys() ^ other.keys()
    print(f"{len(found)} digests, {len(different)} differ, {len(missing)} are in one version only")
    for name in sorted([*different, *missing]):
        print(" ", name)
    return 1 if different or missing else 0


if __name__ == "__main__":
    sys.exit(main())
