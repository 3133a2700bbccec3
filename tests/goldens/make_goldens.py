"""Writes the committed goldens: tiny f32 GGUF files and what transformers computes from the checkpoints they came from.

    PYTHONPATH=python:tests python tests/goldens/make_goldens.py [CASE ...]

Needs torch, transformers >= 5.4, sentencepiece, tokenizers and t5g itself, whose converter makes the GGUF files.
Token sequences are kept only where they are the same in double precision and under a small disturbance of the weights,
so that a golden never hangs on the last bits of a float.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from support.cases import BY_NAME, Case
from support.checkpoints import save_checkpoint
from support.oracle import (
    ask,
    ask_about_images,
    ask_without_source,
    draw_ids,
    draw_images,
    draw_target,
    generate,
    ids_with_images,
)

FOLDER = Path(__file__).parent
NAMES = (
    "v1-mha-w4",
    "v1-mqa-w5",
    "v1-wide-encoder",
    "v1-no-softcap",
    "v2-gqa-w5",
    "v2-mqa-w4",
    "v2-mha-w7-no-rope-scaling",
    "v2-six-one-w6",
    "v2-long-encoder-softcap",
    "v2-images",
)
N_NEW_TOKENS = 24
N_BEAMS = 4
N_IMAGES = 2
# Lengths of the sources of a batch as shares of the case's: all differ, one is a single token.
BATCH_SHARES = (1.0, 0.0, 0.4, 0.7)


def disturbed_models(model: Any) -> list[Any]:
    """Return `model` in double precision, exact and with relative noise of 1e-5 on every weight."""
    import torch

    exact = copy.deepcopy(model).double()
    noisy = copy.deepcopy(exact)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter.mul_(1 + 1e-5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return [exact, noisy]


def stable_sequences(case: Case, model: Any, length: int, first_seed: int) -> dict[str, list[int]]:
    """Draw sources until greedy and beam search agree with those of the disturbed models; return ids of all three."""
    others = disturbed_models(model)
    for seed in range(first_seed, first_seed + 20):
        source = draw_ids(case, length, seed)
        greedy = generate(model, source, N_NEW_TOKENS)
        beam = generate(model, source, N_NEW_TOKENS, num_beams=N_BEAMS)
        same = (
            generate(other, source, N_NEW_TOKENS) == greedy
            and generate(other, source, N_NEW_TOKENS, num_beams=N_BEAMS) == beam
            for other in others
        )
        if all(same):
            return {"source": source, "greedy": greedy, "beam": beam}
    raise RuntimeError(f"{case.name}: no source of {length} tokens has stable sequences")


def expectations(case: Case, model: Any) -> dict[str, np.ndarray]:
    """Return every array of the case's .npz."""
    found: dict[str, np.ndarray] = {}
    for i, share in enumerate(BATCH_SHARES):
        length = max(1, round(share * case.source_length))
        for kind, ids in stable_sequences(case, model, length, 1000 * i + case.seed).items():
            found[f"{kind}_{i}"] = np.array(ids, np.int32)
    source = found["source_0"].tolist()
    target = draw_target(case, case.target_length, case.seed)
    answer = ask(model, source, target)
    found |= {"target": np.array(target, np.int32), "hidden_states": answer.hidden_states, "logits": answer.logits}
    if case.architecture == "t5gemma2":
        found["logits_without_source"] = ask_without_source(model, target)[-4:]
    if case.image:
        images, source = draw_images(case, N_IMAGES, case.seed), ids_with_images(case, N_IMAGES)
        answer = ask_about_images(model, source, images, target)
        found |= {"images": images, "image_source": np.array(source, np.int32)}
        found |= {"image_hidden_states": answer.hidden_states, "image_logits": answer.logits}
    return found


def write_case(case: Case) -> None:
    import t5g

    with tempfile.TemporaryDirectory() as checkpoint:
        model = save_checkpoint(case, Path(checkpoint))
        t5g.convert(checkpoint, FOLDER / f"{case.name}.gguf", type="f32", vision=bool(case.image))
    np.savez_compressed(FOLDER / f"{case.name}.npz", **expectations(case, model))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="*", default=NAMES, help="names from support.cases; default: all goldens")
    names = parser.parse_args().case
    import torch

    torch.set_num_threads(1)  # matrices this small only get slower with more
    for name in names:
        write_case(BY_NAME[name])
        print(name, flush=True)


if __name__ == "__main__":
    main()
