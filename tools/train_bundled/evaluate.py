"""Greedy outputs of a model folder or a live model: ROUGE for synopses, word error rate for repairs.

python evaluate.py MODEL_FOLDER PAIRS.jsonl [--task repair] [--limit 200] [--out OUTPUTS.jsonl]

Repairs are measured on the first suitable sentence of each source, damaged with a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import sentencepiece as spm
import torch
from rouge_score.rouge_scorer import RougeScorer
from tasks import collate, damage, sentences
from tokenizer import BOS, EOS, PAD
from transformers import T5Gemma2ForConditionalGeneration

BATCH = 50


@torch.no_grad()
def generate(
    model: T5Gemma2ForConditionalGeneration,
    sp: spm.SentencePieceProcessor,
    sources: list[str],
    max_source: int = 256,
    num_beams: int = 1,
) -> list[str]:
    """Return the greedy or best beam's output for each source, of which the first ``max_source`` tokens are read."""
    ids = [s[: max_source - 1] for s in sp.encode(sources)]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    outputs = [""] * len(ids)
    device = next(model.parameters()).device
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        batch = collate([(ids[i], []) for i in chosen])
        tokens = model.generate(
            input_ids=batch.source.to(device),
            attention_mask=batch.source_mask.to(device),
            max_new_tokens=48,
            do_sample=False,
            num_beams=num_beams,
            decoder_start_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
        for i, row in zip(chosen, tokens.tolist(), strict=True):
            end = row.index(EOS) if EOS in row else len(row)
            outputs[i] = sp.decode([t for t in row[1:end] if t != PAD])
    return outputs


def rouge(outputs: list[str], targets: list[str]) -> dict[str, float]:
    """Return mean ROUGE-1, -2 and -L F1 in per cent, and the share of exact matches."""
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    scores = [scorer.score(t, o) for o, t in zip(outputs, targets, strict=True)]
    result = {k: 100 * sum(s[k].fmeasure for s in scores) / len(scores) for k in ("rouge1", "rouge2", "rougeL")}
    return result | {"exact": 100 * sum(o == t for o, t in zip(outputs, targets, strict=True)) / len(targets)}


def word_errors(output: str, target: str) -> int:
    """Return the word edit distance."""
    a, b = output.split(), target.split()
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


def repair_scores(damaged: list[str], outputs: list[str], targets: list[str]) -> dict[str, float]:
    """Return word error rates in per cent before and after, and the share of errors removed."""
    words = sum(len(t.split()) for t in targets)
    before, after = (
        100 * sum(word_errors(x, t) for x, t in zip(texts, targets, strict=True)) / words
        for texts in (damaged, outputs)
    )
    return {"wer_before": before, "wer_after": after, "removed": 100 * (1 - after / before)}


def main() -> None:
    """Evaluate a folder on a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--task", choices=("summarise", "repair"), default="summarise")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--max-source", type=int, default=256, help="source tokens that are read (default: 256)")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with args.pairs.open(encoding="utf-8-sig") as lines:
        pairs = [json.loads(line) for line in lines]
    model: Any = T5Gemma2ForConditionalGeneration.from_pretrained(args.model, attn_implementation="eager").eval()
    sp = spm.SentencePieceProcessor(model_file=str(args.model / "tokenizer.model"))
    rng = random.Random(0)
    if args.task == "repair":
        targets = [found[0] for p in pairs if (found := sentences(p["source"]))][: args.limit]
        sources = [damage(t, rng) for t in targets]
    else:
        sources, targets = ([p[side] for p in pairs[: args.limit]] for side in ("source", "target"))
    outputs = generate(model, sp, sources, args.max_source)
    scores = repair_scores(sources, outputs, targets) if args.task == "repair" else rouge(outputs, targets)
    print(json.dumps({"model": str(args.model), "items": len(targets)} | {k: round(v, 2) for k, v in scores.items()}))
    if args.out:
        rows = [{"source": s, "target": t, "output": o} for s, t, o in zip(sources, targets, outputs, strict=True)]
        args.out.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
