"""The three tasks as streams of padded batches: repair short texts, fill the gaps of long ones, write a synopsis.

Every batch is a function of (seed, stage, step), so that a resumed run sees what an unbroken one would.
"""

from __future__ import annotations

import functools
import json
import random
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sentencepiece as spm
import torch
from tokenizer import BOS, EOS, PAD, SENTINELS, UNK

Pair = tuple[list[int], list[int]]
POOL = 16  # batches drawn together and sorted by length, so that little of a batch is padding
REPAIR_CHARS = range(20, 141)
MAX_DENOISED = 128


class Batch(NamedTuple):
    """Right-padded token ids; labels are -100 where nothing is to be learned."""

    source: torch.Tensor  # [B, S]
    source_mask: torch.Tensor  # [B, S]
    target: torch.Tensor  # [B, T], starts with <bos>
    labels: torch.Tensor  # [B, T], ends with <eos>


def collate(pairs: list[Pair], rng: random.Random | None = None, target_noise: float = 0.0) -> Batch:
    """Pad token lists to one rectangle for each side; <bos> and <eos> are added here.

    A share of ``target_noise`` of what the decoder reads, not of what it is to say, becomes <unk>: it cannot go by its
    own last words alone then, and has to look at the source.
    """

    def pad(rows: list[list[int]], value: int) -> torch.Tensor:
        width = max(map(len, rows))
        return torch.tensor([row + [value] * (width - len(row)) for row in rows])

    source = pad([[BOS, *s] for s, _ in pairs], PAD)
    read = [[UNK if rng is not None and rng.random() < target_noise else i for i in t] for _, t in pairs]
    target = pad([[BOS, *t] for t in read], PAD)
    return Batch(source, (source != PAD).long(), target, pad([[*t, EOS] for _, t in pairs], -100))


def misspell(word: str, rng: random.Random) -> str:
    """Swap, drop, double or replace one letter that is not the first."""
    if len(word) < 4:
        return word
    i = rng.randrange(1, len(word) - 1)
    edits = (
        word[:i] + word[i + 1] + word[i] + word[i + 2 :],
        word[:i] + word[i + 1 :],
        word[:i] + word[i] + word[i:],
        word[:i] + rng.choice(string.ascii_lowercase) + word[i + 1 :],
    )
    return rng.choice(edits)


def damage(text: str, rng: random.Random) -> str:
    """Lower-case, strip punctuation and misspell: always at least one, each with a strength of its own."""
    lower, bare = rng.random() < 0.7, rng.random() < 0.7
    typos = rng.choice((0.05, 0.1, 0.2)) if rng.random() < 0.8 or not (lower or bare) else 0.0
    words = [misspell(w, rng) if rng.random() < typos else w for w in text.split()]
    text = " ".join(words)
    if lower:
        text = text.lower()
    return re.sub(r"[.,;:!?()\"']+(?=\s|$)|(?<=\s)[(\"']+", "", text) if bare else text


def sentences(text: str) -> list[str]:
    """Return the sentences of a text that are neither too short nor too long to be repaired."""
    return [s for s in re.split(r"(?<=[.!?])\s(?=[A-Z])", text) if len(s) in REPAIR_CHARS]


def denoise(ids: list[int], sentinels: list[int], rng: random.Random) -> Pair:
    """UL2's denoisers: short gaps (3 pieces, 15 %), long gaps (10 pieces, 40 %), or the text's second half."""
    kind = rng.random()
    if kind < 0.2:
        cut = rng.randrange(len(ids) // 3, 2 * len(ids) // 3)
        return ids[:cut] + sentinels[:1], sentinels[:1] + ids[cut : cut + 40]
    mean, rate = (3, 0.15) if kind < 0.6 else (10, 0.4)
    gaps = min(len(sentinels), max(1, round(len(ids) * rate / mean)))
    starts = sorted(rng.sample(range(len(ids)), min(gaps, len(ids))))
    source: list[int] = []
    target: list[int] = []
    done = 0
    for sentinel, start in zip(sentinels, starts, strict=False):
        if start < done:
            continue
        end = start + max(1, round(rng.expovariate(1 / mean)))
        source += [*ids[done:start], sentinel]
        target += [sentinel, *ids[start:end]]
        done = end
    return source + ids[done:], target


class Corpus:
    """The training split in memory, and example makers for each task."""

    def __init__(self, folder: Path, tokenizer: Path, preset: dict[str, Any]) -> None:
        def rows(name: str) -> list[dict[str, str]]:
            with (folder / name).open(encoding="utf-8") as lines:
                return [json.loads(line) for line in lines]

        self.sp = spm.SentencePieceProcessor(model_file=str(tokenizer / "tokenizer.model"))
        self.sentinels = [self.sp.piece_to_id(s) for s in SENTINELS]
        self.preset = preset
        self.rows = rows("train.jsonl")
        self.own: list[Pair] = []
        synopses = [r["target"] for r in self.rows if len(r["target"]) in REPAIR_CHARS]
        self.short = [s for r in rows("text.jsonl") for s in sentences(r["text"])] + synopses

    @functools.cached_property
    def pairs(self) -> list[Pair]:
        """Long descriptions and synopses, tokenised when first asked for."""
        sources = self.sp.encode([r["source"] for r in self.rows])
        targets = self.sp.encode([r["target"] for r in self.rows])
        return [(s[: self.preset["max_source"]], t) for s, t in zip(sources, targets, strict=True)]

    def set_own(self, rows: list[dict[str, str]]) -> None:
        """Take the model's own synopses of training sources, for the task of that name."""
        sources, targets = self.sp.encode([r["source"] for r in rows]), self.sp.encode([r["target"] for r in rows])
        self.own = [(s[: self.preset["max_source"]], t) for s, t in zip(sources, targets, strict=True)]

    @functools.cached_property
    def long(self) -> list[list[int]]:
        """Texts worth denoising."""
        return [source[:MAX_DENOISED] for source, _ in self.pairs if len(source) >= 24]

    def example(self, task: str, rng: random.Random, source_noise: float) -> Pair:
        """Draw one example: source and target ids without <bos> and <eos>.

        A share of ``source_noise`` of a long description's pieces is left out, so that it is never the same twice.
        """
        if task == "repair":
            text = rng.choice(self.short)
            return self.sp.encode(damage(text, rng)), self.sp.encode(text)
        if task == "denoise":
            return denoise(rng.choice(self.long), self.sentinels, rng)
        source, target = rng.choice(self.own if task == "own" else self.pairs)
        return [i for i in source if rng.random() >= source_noise], target

    def pool(self, stage: dict[str, Any], rng: random.Random) -> list[list[Pair]]:
        """Draw POOL batches of one task each, sorted by length within a task."""
        mix, size = stage["mix"], stage["batch"]
        tasks = rng.choices(list(mix), weights=list(mix.values()), k=POOL)
        longest_source, longest_target = stage["max_source"] - 1, self.preset["max_target"] - 1
        batches = []
        for task in sorted(set(tasks)):
            examples = [self.example(task, rng, stage.get("source_noise", 0)) for _ in range(size * tasks.count(task))]
            examples = [(source[:longest_source], target[:longest_target]) for source, target in examples]
            examples.sort(key=lambda pair: (len(pair[0]), len(pair[1])))
            batches += [examples[i : i + size] for i in range(0, len(examples), size)]
        rng.shuffle(batches)
        return batches

    def batches(self, stage: dict[str, Any], seed: str, first: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Yield the stage's endless stream of batches from number ``first`` on, the rows of process ``rank``."""
        while True:
            pool = self.pool(stage, random.Random(f"{seed} {first // POOL}"))
            noise = stage.get("target_noise", 0)
            for i, examples in enumerate(pool[first % POOL :], first):
                yield collate(examples[rank::world], random.Random(f"{seed} {i} {rank}"), noise)
            first += POOL - first % POOL
