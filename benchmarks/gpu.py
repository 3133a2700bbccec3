"""t5g on a GPU, with its peers on the same one: tokens per second, medians of several runs.

    python benchmarks/gpu.py --dir SCRATCH [--device cuda] [--shapes 270m,1b] [--types q8_0,bf16] [--peers]
                             [--llama-bench PATH] [--json OUT]

Random weights of the released shapes, made in SCRATCH. Peers: transformers in bfloat16, as it is and compiled, and
CTranslate2 in float16 and int8, where they are installed; llama-bench of a CUDA build, which runs a Gemma 3 of the same
shape. Each model is alone on the GPU while it is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "compare"))
import models
from t5g._files import write_text
from work import N_NEW_TOKENS, Work, source_ids

REPEATS = 5
WORKS = (
    Work("encode", 128),
    Work("encode", 512),
    Work("encode", 2048),
    Work("decode", 512),
    Work("decode", 512, all_logits=True),
    Work("decode", 4096),
    Work("decode", 512, beams=4),
    Work("decode", 512, batch=8),
    Work("decode", 512, batch=32),
)
IMAGE = Work("image")
Run = Callable[[Work, int], Callable[[], object]]


def seconds(call: Callable[[], object]) -> float:
    """Median of several runs, after two that warm up."""
    samples = []
    for i in range(2 + REPEATS):
        begin = time.perf_counter()
        call()
        if i >= 2:
            samples.append(time.perf_counter() - begin)
    return statistics.median(samples)


def rate(run: Run, work: Work) -> float:
    """Tokens per second; of an image, images per second."""
    if work.kind == "image":
        return 1 / seconds(run(work, 1))
    if work.kind == "encode":
        return work.source_tokens * work.batch / seconds(run(work, 1))
    steps = seconds(run(work, N_NEW_TOKENS + 1)) - seconds(run(work, 1))
    return work.batch * N_NEW_TOKENS / steps


def t5g_runs(folder: Path, shape: str, kind: str, device: str) -> Iterator[tuple[str, Run, tuple[Work, ...]]]:
    """T5g: one file."""
    import numpy as np
    import t5g

    path = models.t5g_file(folder, shape, kind, vision=kind == "q8_0")
    seeds = iter(range(1 << 30))
    with t5g.Model(path, device=device) as model:

        def prepare(work: Work, n_new: int) -> Callable[[], object]:
            if work.kind == "image":
                size = model.config.vision.image_size
                ids = [model.config.image_token_index] * model.config.vision.mm_tokens_per_image
                draw = lambda: np.random.default_rng(next(seeds)).integers(0, 256, (size, size, 3), dtype=np.uint8)  # noqa: E731
                return lambda: model.encode(ids, images=[draw()])
            if work.kind == "encode":
                return lambda: model.encode(source_ids(work.source_tokens))
            sources = [model.encode(source_ids(work.source_tokens, i)) for i in range(work.batch)]
            options = {"max_new_tokens": n_new, "min_new_tokens": n_new, "num_beams": work.beams, "draft": "off"}
            if work.all_logits:
                options |= {"temperature": 1.0, "top_k": 1}
            return lambda: model.generate_batch(sources, max_batch_size=work.batch * work.beams, **options)

        yield f"t5g {kind}", prepare, WORKS + (IMAGE,) * (kind == "q8_0")


def transformers_runs(folder: Path, shape: str, device: str) -> Iterator[tuple[str, Run, tuple[Work, ...]]]:
    """Transformers in bfloat16: eager, then compiled with a static cache."""
    import torch
    import transformers as tf
    from transformers.modeling_outputs import BaseModelOutput

    torch.set_grad_enabled(False)
    tf.logging.set_verbosity_error()
    checkpoint = models.checkpoint(folder, shape)
    model: Any = tf.T5Gemma2ForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16).eval().to(device)
    model.generation_config.update(eos_token_id=None, pad_token_id=0, bos_token_id=2, decoder_start_token_id=2)

    def finished(value: object) -> object:
        torch.cuda.synchronize()
        return value

    for name, options in (("transformers", {}), ("transformers compiled", {"cache_implementation": "static"})):
        encoder = torch.compile(model.get_encoder()) if options else model.get_encoder()

        def encode(work: Work, encoder: Any = encoder) -> Any:
            ids = torch.tensor([source_ids(work.source_tokens, i) for i in range(work.batch)], device=device)
            return encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

        def prepare(
            work: Work, n_new: int, encode: Any = encode, options: dict[str, Any] = options
        ) -> Callable[[], object]:
            if work.kind == "image":
                pixels = torch.randn(1, 3, 896, 896, dtype=torch.bfloat16, device=device)
                return lambda: finished(model.get_image_features(pixels))
            if work.kind == "encode":
                return lambda: finished(encode(work))
            hidden = encode(work)
            mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=device)
            return lambda: finished(
                model.generate(
                    encoder_outputs=BaseModelOutput(last_hidden_state=hidden.clone()),
                    attention_mask=mask,
                    max_new_tokens=n_new,
                    num_beams=work.beams,
                    do_sample=False,
                    **options,
                )
            )

        plain = tuple(work for work in WORKS if not work.all_logits)
        yield name, prepare, (*plain, IMAGE) if not options else tuple(w for w in plain if w.beams == 1)


def ctranslate2_runs(folder: Path, shape: str, device: str) -> Iterator[tuple[str, Run, tuple[Work, ...]]]:
    """CTranslate2, which gives no access to its encoder: decoding alone."""
    import ctranslate2

    for kind in ("float16", "int8"):
        model_path = models.ctranslate2_folder(folder, shape, kind)
        compute = "int8_float16" if kind == "int8" else kind
        translator = ctranslate2.Translator(str(model_path), device=device, compute_type=compute)
        vocabulary = json.loads(next(Path(model_path).glob("*vocabulary.json")).read_text(encoding="utf-8"))

        def prepare(
            work: Work, n_new: int, translator: Any = translator, vocabulary: list[str] = vocabulary
        ) -> Callable[[], object]:
            sources = [[vocabulary[i] for i in source_ids(work.source_tokens, b)] for b in range(work.batch)]
            options = {"beam_size": work.beams, "max_decoding_length": n_new, "min_decoding_length": n_new}
            options |= {"max_input_length": 0, "end_token": [vocabulary[7]], "return_end_token": True}
            return lambda: translator.translate_batch(sources, **options)

        works = tuple(work for work in WORKS if work.kind == "decode" and not work.all_logits)
        yield f"ctranslate2 {kind}", prepare, works


def llama(binary: Path, folder: Path, shape: str) -> dict[str, float]:
    """llama-bench: a Gemma 3 of the same shape, in f16."""
    file = folder / f"llama-{shape}-f16.gguf"
    if not file.exists():
        models._write_gemma3(file, shape)
    command = [binary, "-m", file, "-ngl", "99", "-r", str(REPEATS), "-o", "jsonl", "-p", "128,512,2048", "-n", "64"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {}
    for row in map(json.loads, out.splitlines()):
        label = "decode @ 0" if row["n_gen"] else f"encode {row['n_prompt']}"
        found[label] = row["avg_ts"]
    return found


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every peer, one after the other; what fails is told and left out."""
    results: list[dict[str, Any]] = []
    for shape in arguments.shapes.split(","):
        loaders = [
            (lambda kind=kind, shape=shape: t5g_runs(arguments.dir, shape, kind, arguments.device))
            for kind in arguments.types.split(",")
        ]
        if arguments.peers:
            loaders.append(lambda shape=shape: transformers_runs(arguments.dir, shape, "cuda"))
            loaders.append(lambda shape=shape: ctranslate2_runs(arguments.dir, shape, "cuda"))
        for load in loaders:
            try:
                for peer, run, works in load():
                    for work in works:
                        try:
                            found = rate(run, work)
                        except Exception as error:
                            print(f"{shape} {peer} {work.label()}: {error}", file=sys.stderr)
                            continue
                        results.append({"shape": shape, "peer": peer, "work": work.label(), "per_second": found})
                        print(f"{shape:<6}{peer:<24}{work.label():<28}{found:>12,.1f}", flush=True)
            except Exception as error:
                print(f"left out: {type(error).__name__}: {error}", file=sys.stderr)
            gc.collect()
        if arguments.llama_bench is not None:
            for label, found in llama(arguments.llama_bench, arguments.dir, shape).items():
                results.append({"shape": shape, "peer": "llama.cpp f16", "work": label, "per_second": found})
                print(f"{shape:<6}{'llama.cpp f16':<24}{label:<28}{found:>12,.1f}", flush=True)
    return results


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", default="270m,1b")
    parser.add_argument("--types", default="q8_0,bf16,q4_0")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--llama-bench", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    results = measure(arguments)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
