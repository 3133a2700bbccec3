"""Trains the model of tests/data/shapes.gguf: a tiny T5Gemma 2 that says what an image of tests/support/shapes shows.

usage: python tools/train_vision_test/train.py OUT_FOLDER    (torch, transformers, sentencepiece; one CPU thread)
"""

from __future__ import annotations

import functools
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from support import shapes

PAD, EOS, BOS, UNK = range(4)
CONTROL = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
BOI, EOI, IMAGE = 4, 5, 6
TOKENS = 16  # per image
SEED, BATCH = 1, 48
# Steps and peak learning rates: the tower alone; all of it, for the answers; and once more on what the tests show.
TOWER, ANSWERS, TESTED = (1000, 3e-3), (1200, 3e-3), (300, 2e-3)
# The first two see smaller shapes, and circles, which the model hardly learns to tell from squares.
HARDER: dict[str, Any] = {"kinds": ("circle", *shapes.KINDS), "radii": (0.12, 0.16)}
QUESTIONS = ("What is it?", "Where is it?", "What and where?")


def train_tokenizer(folder: Path) -> sentencepiece.SentencePieceProcessor:
    """Learn pieces from all answers; write what a checkpoint has."""
    rng = np.random.default_rng(SEED)
    lines = [
        *QUESTIONS * 50,
        *(answer for _ in range(400) for answer in shapes.draw(rng, 8, 8, **HARDER).answers.values()),
    ]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=360,
        hard_vocab_limit=False,
        control_symbols=list(CONTROL),
        user_defined_symbols=["\n", "\n\n"],
        pad_id=PAD,
        eos_id=EOS,
        bos_id=BOS,
        unk_id=UNK,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    config = {"add_bos_token": True, "add_eos_token": False, "tokenizer_class": "GemmaTokenizer"}
    config |= {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def build_model(vocab_size: int) -> Any:
    """Make the untrained model, its weights drawn so that nothing begins at zero."""
    side = {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"],
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 16,
        "max_position_embeddings": 512,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "bos_token_id": BOS,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 7,
        "vision_use_head": False,
    }
    encoder = {"text_config": side, "vision_config": vision, "mm_tokens_per_image": TOKENS}
    encoder |= {"boi_token_index": BOI, "eoi_token_index": EOI}
    config = tf.T5Gemma2Config(encoder=encoder, decoder=dict(side), image_token_index=IMAGE, dropout_rate=0.0)
    model = tf.T5Gemma2ForConditionalGeneration._from_config(config, attn_implementation="eager")
    torch.manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.dim() >= 2:
                gain = 1.0 if "embed" in name else 0.7
                parameter.normal_(0, gain * parameter[0].numel() ** -0.5)
            elif "eoi" in name:
                parameter.normal_(0, 1)
        model.tie_weights()
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS, "decoder_start_token_id": BOS}
    model.generation_config = tf.GenerationConfig(**ids)
    return model.float()


def normalised(drawings: list[shapes.Drawing]) -> torch.Tensor:
    """Float [B, 3, S, S] from -1 to 1."""
    return torch.tensor(np.stack([p.pixels for p in drawings]).transpose(0, 3, 1, 2) / 127.5 - 1).float()


def batch(
    drawings: list[shapes.Drawing], question: str, tokenizer: Any
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """One question about each drawing -> the model's inputs, and labels with -100 where there are none."""
    before, after = tokenizer.encode("\n\n"), tokenizer.encode(f"\n\n{question}")
    source = [BOS, *before, BOI, *[IMAGE] * TOKENS, EOI, *after]
    targets = [[*tokenizer.encode(drawing.answers[question]), EOS] for drawing in drawings]
    size, longest = len(targets), max(map(len, targets))
    labels = torch.full((size, longest), -100)
    for row, target in zip(labels, targets, strict=True):
        row[: len(target)] = torch.tensor(target)
    decoder = torch.cat([torch.full((size, 1), BOS), labels[:, :-1].clamp(min=0)], dim=1)
    ids = torch.tensor([source] * size)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "decoder_input_ids": decoder}
    return inputs | {"pixel_values": normalised(drawings)}, labels


class Heads(torch.nn.Module):
    """Reads colour, kind and place off a drawing's features: a short way for the tower to learn by."""

    SIZES = (len(shapes.COLOURS), len(HARDER["kinds"]), len(shapes.ROWS) * len(shapes.COLUMNS))

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(TOKENS * width, sum(self.SIZES))

    def loss(self, features: torch.Tensor, drawings: list[shapes.Drawing]) -> torch.Tensor:
        """Sum of the three cross entropies."""
        rows = [(list(shapes.COLOURS).index(p.colour), HARDER["kinds"].index(p.kind), place(p)) for p in drawings]
        logits = self.linear(features.reshape(len(drawings), -1)).split(self.SIZES, dim=1)
        return sum(torch.nn.functional.cross_entropy(x, y) for x, y in zip(logits, torch.tensor(rows).T, strict=True))


def place(drawing: shapes.Drawing) -> int:
    row, column = drawing.place.split()
    return 3 * shapes.ROWS.index(row) + shapes.COLUMNS.index(column)


def train(parameters: list[Any], steps: int, peak_rate: float, loss_of: Any, seed: int) -> None:
    """Minimise loss_of(generator) with AdamW: a warm-up of 100 steps, then a cosine to nothing."""
    optimizer = torch.optim.AdamW(parameters, lr=peak_rate, betas=(0.9, 0.98), weight_decay=0.01)
    rng = np.random.default_rng(seed)
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = peak_rate * min(step / 100, 0.5 + 0.5 * np.cos(np.pi * step / steps))
        loss = loss_of(rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0:
            print(f"{step} loss {loss:.3f}, {time.process_time():.0f} CPU seconds", flush=True)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(folder)
    model = build_model(tokenizer.vocab_size())
    heads = Heads(64)
    print(sum(p.numel() for p in model.parameters()), "parameters,", tokenizer.vocab_size(), "pieces")
    encoder = model.model.encoder

    def tower_loss(rng: np.random.Generator) -> torch.Tensor:
        drawings = [shapes.draw(rng, **HARDER) for _ in range(BATCH)]
        return heads.loss(encoder.get_image_features(normalised(drawings)).pooler_output, drawings)

    def answer_loss(rng: np.random.Generator, **options: Any) -> torch.Tensor:
        question = QUESTIONS[rng.integers(len(QUESTIONS))]  # one for the batch: then no source needs padding
        inputs, labels = batch([shapes.draw(rng, **options) for _ in range(BATCH)], question, tokenizer)
        return torch.nn.functional.cross_entropy(model(**inputs).logits.flatten(0, 1), labels.flatten())

    tower = [*encoder.vision_tower.parameters(), *encoder.multi_modal_projector.parameters()]
    train([*tower, *heads.parameters()], *TOWER, tower_loss, SEED + 1)
    train(list(model.parameters()), *ANSWERS, functools.partial(answer_loss, **HARDER), SEED + 2)
    train(list(model.parameters()), *TESTED, answer_loss, SEED + 3)
    model.save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
