"""What embeddings and adapters cost: embed beside transformers, and decoding with a LoRA beside without.

    python benchmarks/fine_tunes.py embed MODEL.gguf [--threads 2]     (a T5Gemma 2; transformers runs one of its shape, in bf16)
    python benchmarks/fine_tunes.py lora MODEL.gguf [--threads 2] [--rank 16]

Weights are random where a peer needs some: speed does not depend on them. Runs alternate, and the best of each counts.
"""  # noqa: E501

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import t5g

_N_TEXTS = 512


def texts(vocab_size: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(10, vocab_size, n).tolist() for n in rng.integers(20, 201, _N_TEXTS)]


def reference(config: t5g.Config, n_threads: int) -> Any:
    """Make transformers' encoder of the same shape, in bf16."""
    import torch
    import transformers as tf

    torch.set_num_threads(n_threads)
    c = config.encoder
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    names = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim "
        "sliding_window max_position_embeddings"
    )
    fields = {name: getattr(c, name) for name in names.split()}
    side = tf.T5Gemma2TextConfig(
        **fields, layer_types=list(c.layer_types), rope_parameters=rope, dropout_rate=0.0, attention_dropout=0.0
    )
    from transformers.models.t5gemma2.modeling_t5gemma2 import T5Gemma2TextEncoder

    return T5Gemma2TextEncoder(side).to(torch.bfloat16).eval()


def embed(arguments: argparse.Namespace) -> None:
    import torch

    with t5g.Model(arguments.model, n_threads=arguments.threads) as model:
        ids = texts(model.config.vocab_size)
        peer = reference(model.config, arguments.threads)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # as sentence-transformers does, against padding

        def theirs() -> None:
            with torch.inference_mode():
                for first in range(0, len(order), 32):
                    rows = [ids[i] for i in order[first : first + 32]]
                    longest = max(map(len, rows))
                    batch = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
                    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
                    states = peer(input_ids=batch, attention_mask=mask).last_hidden_state
                    weights = mask[..., None].to(states.dtype)
                    torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)

        model.embed(ids[:32])  # packs weights
        best = {"t5g": 1e9, "transformers bf16": 1e9}
        for _ in range(arguments.repeat):
            for name, run in (("t5g", lambda: model.embed(ids)), ("transformers bf16", theirs)):
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
        n = sum(map(len, ids))
        for name, seconds in best.items():
            print(f"{name:<18} {seconds:7.2f} s  {n / seconds:8.0f} tokens/s")
        print(f"ratio {best['transformers bf16'] / best['t5g']:.2f} (wanted: 3 or more)")


def adapter(model: Path, out: Path, rank: int) -> None:
    """Write a random adapter for all linear layers of a model's two stacks."""
    from gguf import GGUFWriter

    file = t5g._core.GgufFile(model)
    writer = GGUFWriter(out, file.get("general.architecture"))
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    rng = np.random.default_rng(0)
    for tensor in file.tensors:
        if len(tensor.shape) == 2 and ".blk." in tensor.name and not tensor.name.startswith("v."):
            rows, columns = tensor.shape
            for suffix, shape in (("lora_a", (rank, columns)), ("lora_b", (rows, rank))):
                writer.add_tensor(f"{tensor.name}.{suffix}", (rng.standard_normal(shape) * 0.01).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def lora(arguments: argparse.Namespace) -> None:
    import t5g._core

    n = 64
    options: dict[str, Any] = {"max_new_tokens": n, "min_new_tokens": n, "draft": "off"}
    with tempfile.TemporaryDirectory() as folder, t5g.Model(arguments.model, n_threads=arguments.threads) as model:
        adapter(Path(arguments.model), Path(folder, "a.gguf"), arguments.rank)
        model.load_adapter(Path(folder, "a.gguf"))
        ids = texts(model.config.vocab_size)[0]
        for batch in (1, 8):
            rates: dict[str, list[float]] = {"plain": [], "adapter": []}
            for _ in range(arguments.repeat + 1):
                for name, chosen in (("plain", []), ("adapter", ["a"])):
                    sources = [model.encode(ids, adapters=chosen) for _ in range(batch)]
                    outs = model.generate_batch(sources, **options)
                    rates[name].append(sum(o.timings.n_new_tokens for o in outs) / outs[0].timings.decode_seconds)
            plain, with_adapter = (max(rates[name][1:]) for name in ("plain", "adapter"))
            print(
                f"batch {batch}: plain {plain:.1f} tokens/s, rank {arguments.rank} {with_adapter:.1f}: "
                f"{with_adapter / plain:.3f} (wanted: 0.85 or more, of one)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["embed", "lora"])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    {"embed": embed, "lora": lora}[arguments.what](arguments)


if __name__ == "__main__":
    main()
