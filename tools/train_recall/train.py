"""Trains a tiny T5Gemma 2 that finds needles in sources up to a length, to show what t5g-eval recall tells apart.

    python tools/train_recall/train.py --out FOLDER [--layers full --until 0.9] [--task single] [--longest 256]
    t5g-convert FOLDER -o recall.gguf --type f16
    t5g-eval recall recall.gguf --lengths 128,256,512,1k,2k,4k

Examples are those of a task of t5g.recall, of 48 tokens to --longest. The loss is that of the answer alone. The
sources grow once the short ones are found in. Everything is drawn from one seed.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import sentencepiece as spm
import torch
from t5g.recall.haystack import Haystack, manual
from t5g.recall.tasks import NOUNS, Example, Maker

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "train_bundled"))
from model import make_model, save_text_only, use_fast_norm
from tokenizer import BOS, PAD, train_tokenizer

SHAPE = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "sliding_window": 32,
    "max_position_embeddings": 8192,
}
# RoPE whose slowest wavelength is 3,500 tokens: a distance beyond --longest turns it as training never did.
_FAST_ROPE = {"rope_type": "default", "rope_theta": 1e3}
LAYERS = {
    "windowed": {"encoder_layers": "SSF", "decoder_layers": "SF"},
    "full": {
        "encoder_layers": "FFF",
        "decoder_layers": "FF",
        "rope_parameters": {"full_attention": _FAST_ROPE, "sliding_attention": _FAST_ROPE},
    },
}
PIECES = 1600
BATCH = 32
SHORTEST = 48
LONGER_BY = 32
LEARNING_RATE, WARM_UP_STEPS = 2e-3, 200
RECENT_STEPS = 20  # what losses and shares of right answers are means of


class PlainTokenizer:
    """What the maker of examples asks of t5g's tokenizer, from SentencePiece: t5g needs a model file."""

    def __init__(self, path: Path) -> None:
        self._model = spm.SentencePieceProcessor(model_file=str(path))
        self._core = SimpleNamespace(prefix_ids=[BOS], suffix_ids=[])

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [BOS] * add_special_tokens + self._model.encode(text)


def tokenizer_lines(text: str, rng: random.Random) -> list[str]:
    """Prose, and sentences that make every noun a piece of its own."""
    lines = [text[i : i + 400] for i in range(0, min(len(text), 200_000), 400)]
    for _ in range(4000):
        a, b = rng.sample(NOUNS, 2)
        lines.append(f"  The secret word of the {a} is {b}. What is the secret word of the {a}?"[1:])
    return lines


def batch_of(examples: list[Example], tokenizer: PlainTokenizer) -> tuple[torch.Tensor, ...]:
    """Source ids and their mask, decoder ids, and the answer's ids at the last places (elsewhere -100)."""
    longest = max(len(example.source_ids) for example in examples)
    source = torch.full((len(examples), longest), PAD)
    targets = [[BOS, *tokenizer.encode(e.prefix, add_special_tokens=False)] for e in examples]
    answers = [tokenizer.encode(" " + e.answers[0], add_special_tokens=False) for e in examples]
    width = max(len(t) + len(a) for t, a in zip(targets, answers, strict=True)) - 1
    inputs, labels = torch.full((len(examples), width), PAD), torch.full((len(examples), width), -100)
    for i, (example, target, answer) in enumerate(zip(examples, targets, answers, strict=True)):
        source[i, : len(example.source_ids)] = torch.tensor(example.source_ids)
        row = [*target, *answer]
        inputs[i, : len(row) - 1] = torch.tensor(row[:-1])
        labels[i, len(target) - 1 : len(row) - 1] = torch.tensor(answer)
    return source, (source != PAD).long(), inputs, labels


def rate_at(step: int, n_steps: int) -> float:
    """The learning rate: up, level, and down in the last quarter."""
    return LEARNING_RATE * min(1, step / WARM_UP_STEPS) * max(0.02, min(1, 4 * (1 - step / n_steps)))


def train(options: argparse.Namespace) -> None:
    rng = random.Random(1)
    torch.manual_seed(1)
    use_fast_norm()
    text = manual()
    train_tokenizer(tokenizer_lines(text, rng), PIECES, options.out)
    tokenizer = PlainTokenizer(options.out / "tokenizer.model")
    haystack = Haystack(tokenizer, text)  # type: ignore[arg-type]
    maker = Maker(SimpleNamespace(tokenizer=tokenizer), haystack, options.task)  # type: ignore[arg-type]
    model = make_model(SHAPE | LAYERS[options.layers], PIECES).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    reach, losses, found = SHORTEST + LONGER_BY, [], []
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options.steps)
        batch = [maker.make(rng.randint(SHORTEST, reach), rng.random(), str(rng.random())) for _ in range(BATCH)]
        source, mask, inputs, labels = batch_of(batch, tokenizer)
        logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        found.append(((logits.argmax(-1) == labels) | (labels < 0)).all(-1).float().mean().item())
        if (step + 1) % RECENT_STEPS:
            continue
        loss_now, share = (sum(values[-RECENT_STEPS:]) / RECENT_STEPS for values in (losses, found))
        print(f"{step + 1} steps: loss {loss_now:.3f}, {share:.1%} found, up to {reach} tokens", flush=True)
        if reach == options.longest and share >= options.until:
            break
        if share > 0.5:
            reach = min(options.longest, reach + LONGER_BY)
    save_text_only(model, options.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--task", choices=["single", "multikey"], default="single", help="default: single")
    parser.add_argument(
        "--layers", choices=list(LAYERS), default="windowed", help="with full ones distances are new beyond --longest"
    )
    parser.add_argument("--longest", type=int, default=256, help="tokens of the longest sources (default: 256)")
    parser.add_argument("--steps", type=int, default=600, help="at most (default: 600)")
    parser.add_argument(
        "--until", metavar="SHARE", type=float, default=2, help="end once so many are found, up to --longest (0 to 1)"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options)


if __name__ == "__main__":
    main()
