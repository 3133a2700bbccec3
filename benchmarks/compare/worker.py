"""One peer in a process of its own: loads a model, then measures what it is asked for, one JSON line per question.

    python worker.py PEER MODEL THREADS [SECONDS]        (started by __main__.py and ../end_to_end.py)

A question is a JSON list, the fields of a Work; the answer is a list of seconds: of one encoding, of one image, or of
one decode step of the whole batch. A step's time is what N more tokens cost over a generation of one. With SECONDS,
repeating ends once it has taken so long.
"""

from __future__ import annotations

import functools
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from work import N_NEW_TOKENS, Work, source_ids

REPEATS = 3  # of one question, after one time that warms up
Run = Callable[[Work, int], Callable[[], object]]  # (work, new tokens) -> what to time
enough = math.inf  # seconds


def once(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def seconds(call: Callable[[], object]) -> list[float]:
    once(call)  # weights are packed when they are first used
    found = [once(call)]
    while len(found) < REPEATS and sum(found) < enough:
        found.append(once(call))
    return found


def t5g(model_path: str, n_threads: int) -> Run:
    import t5g

    model = t5g.Model(model_path, n_threads=n_threads)
    seeds = iter(range(1 << 30))

    @functools.lru_cache(maxsize=1)
    def encoded(n_tokens: int, batch: int) -> list[t5g.EncodedSource]:
        return [model.encode(source_ids(n_tokens, i)) for i in range(batch)]

    def image() -> object:
        import numpy as np

        size = model.config.vision.image_size
        pixels = np.random.default_rng(next(seeds)).integers(0, 256, (size, size, 3), dtype=np.uint8)
        ids = [model.config.image_token_index] * model.config.vision.mm_tokens_per_image
        return model.encode(ids, images=[pixels])  # a new image each time: the last ones are remembered

    def prepare(work: Work, n_new: int) -> Callable[[], object]:
        if work.kind == "image":
            return image
        if work.kind == "encode":
            return lambda: model.encode(source_ids(work.source_tokens))
        sources = encoded(work.source_tokens, work.batch)
        options = {"max_new_tokens": n_new, "min_new_tokens": n_new, "num_beams": work.beams, "draft": "off"}
        if work.all_logits:
            options |= {"temperature": 1.0, "top_k": 1}
        return lambda: model.generate_batch(sources, max_batch_size=work.batch * work.beams, **options)

    return prepare


def transformers(model_path: str, n_threads: int) -> Run:
    import torch
    import transformers as tf
    from transformers.modeling_outputs import BaseModelOutput

    torch.set_num_threads(n_threads)
    tf.logging.set_verbosity_error()
    model: Any = tf.T5Gemma2ForConditionalGeneration.from_pretrained(model_path, dtype=torch.bfloat16).eval()
    model.generation_config.update(eos_token_id=None, pad_token_id=0, bos_token_id=2, decoder_start_token_id=2)
    torch.set_grad_enabled(False)

    def encode(work: Work) -> Any:
        ids = torch.tensor([source_ids(work.source_tokens, i) for i in range(work.batch)])
        return model.get_encoder()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

    def prepare(work: Work, n_new: int) -> Callable[[], object]:
        if work.kind == "image":
            pixels = torch.randn(1, 3, 896, 896, dtype=torch.bfloat16)
            return lambda: model.get_image_features(pixels)
        if work.kind == "encode":
            return lambda: encode(work)
        hidden = encode(work)
        mask = torch.ones(hidden.shape[:2], dtype=torch.long)
        return lambda: model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden.clone()),
            attention_mask=mask,
            max_new_tokens=n_new,
            num_beams=work.beams,
            do_sample=False,
        )

    return prepare


def ctranslate2(model_path: str, n_threads: int) -> Run:
    import ctranslate2

    translator = ctranslate2.Translator(
        model_path, device="cpu", compute_type="int8", inter_threads=1, intra_threads=n_threads
    )
    vocabulary = json.loads(next(Path(model_path).glob("*vocabulary.json")).read_text(encoding="utf-8"))

    def prepare(work: Work, n_new: int) -> Callable[[], object]:
        sources = [[vocabulary[i] for i in source_ids(work.source_tokens, b)] for b in range(work.batch)]
        options = {"beam_size": work.beams, "max_decoding_length": n_new, "min_decoding_length": n_new}
        # Any token that never comes up: the default end would stop some texts early.
        options |= {"max_input_length": 0, "end_token": [vocabulary[7]], "return_end_token": True}
        return lambda: translator.translate_batch(sources, **options)

    return prepare


PEERS = {"t5g": t5g, "transformers": transformers, "ctranslate2": ctranslate2}


def measure(peer: str, run: Run, work: Work) -> list[float]:
    """Time one piece of work. CTranslate2 gives no access to its encoder: one step is taken off the first token."""
    if work.kind == "decode":
        first = statistics.median(seconds(run(work, 1)))
        return [(s - first) / N_NEW_TOKENS for s in seconds(run(work, N_NEW_TOKENS + 1))]
    if peer == "ctranslate2":
        first, more = seconds(run(work, 1)), statistics.median(seconds(run(work, 9)))
        step = (more - statistics.median(first)) / 8
        return [s - step for s in first]
    return seconds(run(work, 1))


def main() -> None:
    global enough
    peer, model_path, n_threads, *rest = sys.argv[1:]
    enough = float(rest[0]) if rest else math.inf
    begin = time.perf_counter()
    run = PEERS[peer](model_path, int(n_threads))
    print(json.dumps({"load_seconds": time.perf_counter() - begin}), flush=True)
    for line in sys.stdin:
        samples = measure(peer, run, Work(*json.loads(line)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": samples, "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    main()
