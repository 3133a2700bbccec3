"""How good a model is on pairs of source and target, and what a smaller type costs it."""

from __future__ import annotations

import itertools
import math
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from t5g.errors import InvalidArgumentError
from t5g.messages import about
from t5g.text_files import Errors, JsonLine, json_lines, printable

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.truncation import Truncation

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """A source and the target that a perfect model would write."""

    source: str
    target: str


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model, means over all pairs.

    Attributes
    ----------
    n_pairs, n_target_tokens
        What was scored; every target ends with the end token.
    loss
        Teacher-forced negative log-probability per target token, in nats.
    rouge1, rouge2, rougeL
        F1 of ROUGE without stemming, 0 to 100; ``None`` where no text was generated.
    exact_match
        Share of generated texts equal to their target, 0 to 100.
    word_error_rate
        Word insertions, deletions and substitutions per target word, 0 upwards.
    kl_divergence, top1_agreement
        Against the reference model, over all target positions: KL(reference || model) in nats, and the share of
        positions with the same most likely token, 0 to 100. ``None`` without a reference.
    outputs
        The generated texts.
    n_truncated_sources, n_truncated_tokens
        How many sources ``truncation`` has cut, and how many tokens of them.
    """

    n_pairs: int
    n_target_tokens: int
    loss: float
    rouge1: float | None
    rouge2: float | None
    rougeL: float | None
    exact_match: float | None
    word_error_rate: float | None
    kl_divergence: float | None
    top1_agreement: float | None
    outputs: list[str]
    n_truncated_sources: int = 0
    n_truncated_tokens: int = 0


def read_pairs(
    path: str | os.PathLike[str],
    *,
    limit: int | None = None,
    seed: int = 0,
    encoding: str | None = None,
    errors: Errors = "strict",
) -> list[Pair]:
    """Read a JSONL file of ``{"source": ..., "target": ...}``.

    Parameters
    ----------
    path
        The file.
    limit
        At most so many pairs, drawn at random; ``None`` for all, in order.
    seed
        Of that draw.
    encoding, errors
        As in :func:`t5g.text_files.decode`.

    Raises
    ------
    InvalidArgumentError
        A line is no such object, or not text; the message has its number.
    """
    name = printable(path)
    with Path(path).open("rb") as file:
        lines = (line for line in json_lines(file, name, encoding=encoding) if not line.is_blank())
        pairs = [_pair(line, errors) for line in lines]
    if not pairs:
        raise InvalidArgumentError(f"{name}: no pairs.")
    if limit is not None and limit < len(pairs):
        pairs = random.Random(seed).sample(pairs, limit)
    return pairs


def _pair(line: JsonLine, errors: Errors) -> Pair:
    row = line.parse(errors)
    if isinstance(row, dict):
        source, target = row.get("source"), row.get("target")
        if isinstance(source, str) and isinstance(target, str):
            return Pair(source, target)
    raise InvalidArgumentError(f'{line.name} is not an object with the strings "source" and "target".')


def evaluate(
    model: Model,
    pairs: Sequence[Pair],
    *,
    reference: Model | None = None,
    generate: bool = True,
    max_new_tokens: int = 256,
    num_beams: int = 1,
    truncation: Truncation = "error",
    max_batch_size: int = 16,
    progress: Callable[[int], object] = lambda n: None,
) -> Evaluation:
    """Score a model.

    Parameters
    ----------
    model
        The model.
    pairs
        What to score it on.
    reference
        Another file of the same model, normally in f32, to compare distributions with.
    generate
        Generate texts too; without, only the teacher-forced numbers are made.
    max_new_tokens, num_beams, truncation, max_batch_size
        As in :meth:`t5g.Model.generate_batch`.
    progress
        Called with the number of pairs that have been finished since the last call.
    """
    if reference is not None and reference.config.vocab_size != model.config.vocab_size:
        raise about(
            InvalidArgumentError, "reference", "has another vocabulary, so it is not the same model in another type."
        )
    outputs: list[str] = []
    forced = _Forced(truncation)
    options: dict[str, Any] = {
        "max_batch_size": max_batch_size,
        "max_new_tokens": max_new_tokens,
        "num_beams": num_beams,
        "truncation": truncation,
    }
    texts = _outputs(model, pairs, options) if generate else itertools.repeat("")
    for pair, text in zip(pairs, texts, strict=False):
        if generate:
            outputs.append(text.strip())
        forced.add(model, reference, pair)
        progress(1)
    targets = [pair.target.strip() for pair in pairs]
    rouge = _rouge(outputs, targets) if generate else {}
    exact = [output == target for output, target in zip(outputs, targets, strict=False)]
    return Evaluation(
        n_pairs=len(pairs),
        n_target_tokens=forced.n_tokens,
        loss=forced.loss / forced.n_tokens,
        rouge1=rouge.get("rouge1"),
        rouge2=rouge.get("rouge2"),
        rougeL=rouge.get("rougeL"),
        exact_match=100 * sum(exact) / len(exact) if generate else None,
        word_error_rate=word_error_rate(outputs, targets) if generate else None,
        kl_divergence=forced.divergence / forced.n_tokens if reference is not None else None,
        top1_agreement=100 * forced.n_agreed / forced.n_tokens if reference is not None else None,
        outputs=outputs,
        n_truncated_sources=len(forced.n_truncated),
        n_truncated_tokens=sum(forced.n_truncated),
    )


def _outputs(model: Model, pairs: Sequence[Pair], options: Mapping[str, Any]) -> Iterator[str]:
    generations = model.generate_iter((pair.source for pair in pairs), **options)
    return (generation.text for generation in generations)


class _Forced:
    """Sums over all target positions, with the target given."""

    def __init__(self, truncation: Truncation) -> None:
        self._truncation = truncation
        self.n_truncated: list[int] = []  # of each source that was cut
        self.n_tokens = 0
        self.n_agreed = 0
        self.loss = 0.0
        self.divergence = 0.0

    def add(self, model: Model, reference: Model | None, pair: Pair) -> None:
        source = model.encode(pair.source, truncation=self._truncation)
        if source.n_truncated:
            self.n_truncated.append(source.n_truncated)
        if reference is None:
            logprobs = model.score(source, pair.target, add_eos=True).token_logprobs
            self.n_tokens += len(logprobs)
            self.loss -= float(logprobs.sum(dtype=np.float64))
            return
        target = [*model.tokenizer.encode(pair.target, add_special_tokens=False), model.config.eos_token_id[0]]
        start = model.config.decoder_start_token_id
        assert start is not None  # there is a decoder
        inputs = [start, *target[:-1]]
        found = _log_softmax(model.logits(source, inputs))
        expected = _log_softmax(reference.logits(pair.source, inputs, truncation=self._truncation))
        self.n_tokens += len(target)
        self.loss -= float(found[range(len(target)), target].sum())
        self.divergence += float((np.exp(expected) * (expected - found)).sum())
        self.n_agreed += int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    shifted: npt.NDArray[np.float64] = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return shifted


def _rouge(outputs: Iterable[str], targets: Iterable[str]) -> dict[str, float]:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise ImportError("ROUGE needs the package rouge-score: pip install 't5g[eval]'.") from error
    names = ("rouge1", "rouge2", "rougeL")
    scorer = RougeScorer(names)
    scores = [scorer.score(target, output) for output, target in zip(outputs, targets, strict=True)]
    return {name: 100 * sum(score[name].fmeasure for score in scores) / len(scores) for name in names}


def word_error_rate(outputs: Iterable[str], targets: Iterable[str]) -> float:
    """Word edits that turn every output into its target, per target word. No target words: 0 or infinity."""
    n_edits = n_words = 0
    for output, target in zip(outputs, targets, strict=True):
        n_edits += _edit_distance(output.split(), target.split())
        n_words += len(target.split())
    if n_words == 0:
        return 0.0 if n_edits == 0 else math.inf
    return n_edits / n_words


def _edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Levenshtein's distance, one row of the table at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
