"""Fine-tunes a T5Gemma 2 (or T5Gemma) with a LoRA, on pairs of source and target.

    python finetune.py --base BASE_DIR --train train.jsonl --out ADAPTER_DIR

Every line of train.jsonl is {"source": "...", "target": "..."}. docs/fine-tuning.md explains the choices.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

_LAYERS = {
    "attention": r"({side}).*\.(self_attn|cross_attn)\.[qkvo]_proj",
    "all": r"({side}).*\.((self_attn|cross_attn)\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
}
_SIDES = {"both": "encoder.layers|encoder.text_model|decoder", "encoder": "encoder.layers|encoder.text_model"}
_SIDES["decoder"] = "decoder"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="the checkpoint's folder, or its name on the Hub")
    parser.add_argument("--train", type=Path, required=True, help="pairs, as JSONL")
    parser.add_argument("--out", type=Path, required=True, help="where the adapter goes")
    parser.add_argument("--layers", choices=_LAYERS, default="all", help="which linear layers are adapted")
    parser.add_argument("--side", choices=_SIDES, default="both", help="of which side")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=512, help="longer pairs are left out, and counted")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read_pairs(path: Path, tokenizer: Any, max_tokens: int) -> list[tuple[list[int], list[int]]]:
    """Tokenise. A target ends with eos, which the tokenizer does not add: without it, no text would ever end."""
    pairs = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for line in lines:
        fields = json.loads(line)
        source = tokenizer(fields["source"]).input_ids
        target = [*tokenizer(fields["target"], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        if max(len(source), len(target)) <= max_tokens:
            pairs.append((source, target))
    if len(pairs) < len(lines):
        print(f"{len(lines) - len(pairs)} of {len(lines)} pairs are longer than {max_tokens} tokens: left out")
    return pairs


def batches(pairs: list[tuple[list[int], list[int]]], size: int, pad: int) -> Iterator[dict[str, torch.Tensor]]:
    random.shuffle(pairs)
    for first in range(0, len(pairs), size):
        sources, targets = zip(*pairs[first : first + size], strict=True)

        def padded(rows: tuple[list[int], ...], value: int) -> torch.Tensor:
            longest = max(map(len, rows))
            return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])

        mask = padded(tuple([1] * len(source) for source in sources), 0)
        # -100: no loss there. The model itself shifts labels to the right and puts bos in front.
        yield {"input_ids": padded(sources, pad), "attention_mask": mask, "labels": padded(targets, -100)}


def main() -> None:
    arguments = parse()
    random.seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    model = AutoModelForSeq2SeqLM.from_pretrained(arguments.base, dtype=torch.float32, attn_implementation="eager")
    # Not the image tower, whose layers have such names too.
    target = rf"(?!.*vision_tower).*({_LAYERS[arguments.layers].format(side=_SIDES[arguments.side])})"
    config = LoraConfig(r=arguments.rank, lora_alpha=arguments.alpha, target_modules=target, lora_dropout=0.0)
    model = get_peft_model(model, config).to(device).train()
    model.print_trainable_parameters()
    pairs = read_pairs(arguments.train, tokenizer, arguments.max_tokens)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=arguments.learning_rate, weight_decay=0.0)
    n_steps = arguments.epochs * -(-len(pairs) // arguments.batch_size)
    warm = max(1, n_steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (n_steps - step) / (n_steps - warm or 1)))
    )
    start = time.monotonic()
    for epoch in range(arguments.epochs):
        losses = []
        for batch in batches(pairs, arguments.batch_size, tokenizer.pad_token_id):
            loss = model(**{name: values.to(device) for name, values in batch.items()}).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}, {time.monotonic() - start:.0f} s", flush=True)
    model.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
