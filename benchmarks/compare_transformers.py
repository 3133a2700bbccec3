"""T5Gemma 2 270M side by side: transformers in bf16 and t5g in q8_0, encode and decode, tokens per second.

    python benchmarks/compare_transformers.py --dir SCRATCH [--type q8_0] [--threads 2] [--rounds 5] [--json]

Makes a checkpoint of the released shape with random weights (speed does not depend on their values) in SCRATCH,
converts it, then lets the two run in turns, one fresh process per turn, so that both meet the same disturbances of the
machine. A figure is the median over all turns. Needs torch, transformers and t5g[convert].
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SOURCE_LENGTHS = (128, 512, 2048)
DECODE_SOURCE_LENGTH = 512
N_NEW_TOKENS = 64
REPEATS = 3  # within one turn, after one that warms up
VOCAB_SIZE = 262144

Samples = dict[str, list[float]]


def make_checkpoint(folder: Path) -> None:
    """Write a random bfloat16 checkpoint with the 270M's text stacks and a vision tower shrunk to almost nothing."""
    import torch
    import transformers as tf

    side = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 640,
        "intermediate_size": 2048,
        "num_hidden_layers": 18,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "sliding_window": 512,
        "max_position_embeddings": 32768,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 64,
        "patch_size": 4,
        "vision_use_head": False,
    }
    config = tf.T5Gemma2Config(encoder={"text_config": side, "vision_config": vision}, decoder=dict(side))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = tf.T5Gemma2ForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)


def source_ids(n: int) -> list[int]:
    return [2, *((i * 7919) % 200000 + 300 for i in range(n - 1))]


def seconds(call: Callable[[], object]) -> list[float]:
    """Time `call` a few times, after one time that does not count."""
    call()
    found = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return found


def measure(encode: Callable[[int], object], generate: Callable[[int], object], lengths: list[int]) -> Samples:
    """Return tokens/s by name; a decode step's time is what N more tokens cost over a generation of one."""
    samples = {f"encode {n}": [n / s for s in seconds(lambda n=n: encode(n))] for n in lengths}
    first = statistics.median(seconds(lambda: generate(1)))
    samples[f"decode @{DECODE_SOURCE_LENGTH}"] = [
        N_NEW_TOKENS / (s - first) for s in seconds(lambda: generate(N_NEW_TOKENS + 1))
    ]
    return samples


def run_transformers(checkpoint: str, n_threads: int, lengths: list[int]) -> Samples:
    import torch
    import transformers as tf
    from transformers.modeling_outputs import BaseModelOutput

    torch.set_num_threads(n_threads)
    tf.logging.set_verbosity_error()
    model = tf.T5Gemma2ForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
    model.generation_config.update(eos_token_id=None, pad_token_id=0, decoder_start_token_id=2)

    def encode(n: int) -> torch.Tensor:
        ids = torch.tensor([source_ids(n)])
        return model.get_encoder()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

    with torch.inference_mode():
        hidden = encode(DECODE_SOURCE_LENGTH)

        def generate(n: int) -> None:
            out = model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden.clone()),
                attention_mask=torch.ones(1, DECODE_SOURCE_LENGTH, dtype=torch.long),
                max_new_tokens=n,
                do_sample=False,
            )
            assert out.shape[1] == n + 1

        return measure(encode, generate, lengths)


def run_t5g(path: str, n_threads: int, lengths: list[int]) -> Samples:
    import t5g

    with t5g.Model(path, n_threads=n_threads) as model:
        source = model.encode(source_ids(DECODE_SOURCE_LENGTH))

        def generate(n: int) -> None:
            assert len(model.generate(source, max_new_tokens=n, min_new_tokens=n).token_ids) == n

        return measure(lambda n: model.encode(source_ids(n)), generate, lengths)


WORKERS = {"transformers": run_transformers, "t5g": run_t5g}


def turn(peer: str, path: Path, options: argparse.Namespace) -> Samples:
    """Run one peer in a process of its own."""
    command = [sys.executable, __file__, "--worker", peer, "--dir", str(path)]
    command += ["--threads", str(options.threads), "--lengths", *map(str, options.lengths)]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(options: argparse.Namespace) -> dict[str, Samples]:
    """Make what is missing in the folder, then take turns."""
    import t5g

    checkpoint, path = options.dir / "270m", options.dir / f"270m-{options.type}.gguf"
    if not (checkpoint / "config.json").exists():
        make_checkpoint(checkpoint)
    if not path.exists():
        t5g.convert(checkpoint, path, type=options.type, vision=False, tokenizer=False)
    peers = {"transformers": checkpoint, "t5g": path}
    samples: dict[str, Samples] = {peer: {} for peer in peers}
    for _ in range(options.rounds):
        for peer, where in peers.items():
            for name, values in turn(peer, where, options).items():
                samples[peer].setdefault(name, []).extend(values)
    return samples


def table(samples: dict[str, Samples], kind: str) -> str:
    """Return a Markdown table of medians."""
    lines = [f"| tokens/s | transformers bf16 | t5g {kind} | ratio |", "| --- | ---: | ---: | ---: |"]
    for name, theirs in samples["transformers"].items():
        a, b = statistics.median(theirs), statistics.median(samples["t5g"][name])
        lines.append(f"| {name} | {a:.1f} | {b:.1f} | {b / a:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="scratch folder: checkpoint and GGUF file stay there")
    parser.add_argument("--type", default="q8_0", help="type of the GGUF file (default: q8_0)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each peer (default: 5)")
    parser.add_argument("--lengths", type=int, nargs="+", default=SOURCE_LENGTHS, help="source lengths to encode")
    parser.add_argument("--json", action="store_true", help="print all samples as JSON instead of a table")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker](str(options.dir), options.threads, list(options.lengths))))
        return
    samples = compare(options)
    print(json.dumps(samples) if options.json else table(samples, options.type))


if __name__ == "__main__":
    main()
