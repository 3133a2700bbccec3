"""Runs the examples: every length, depth and sample asked of the model, and of a reference in a wider type."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t5g.errors import InvalidArgumentError
from t5g.messages import about
from t5g.recall.finished import Finished, header_of
from t5g.recall.haystack import Haystack, manual
from t5g.recall.report import Report
from t5g.recall.tasks import NOUNS, TASKS, Example, Maker

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.source import EncodedSource

_NEW_TOKENS = 24
_FEWEST_TOKENS = 96


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes
    ----------
    task
        ``"single"``: one needle. ``"multikey"``: eight, of which one is asked for. ``"multivalue"``: four that answer
        one question. ``"words"``: the three most frequent words of a list; it has no depth.
    lengths
        Of sources, in tokens.
    n_depths
        Places of the needle, from the beginning to the end.
    n_samples
        Examples for each length and depth.
    generate
        Whether texts are generated too; without, only the log-probabilities of answers are compared.
    seed
        Of all that is drawn.
    """

    task: str = "single"
    lengths: tuple[int, ...] = (1024, 4096, 16384, 65536)
    n_depths: int = 5
    n_samples: int = 2
    generate: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise about(InvalidArgumentError, "task", f"must be one of {', '.join(TASKS)}, got {self.task!r}.")
        for name in ("n_depths", "n_samples"):
            if getattr(self, name) < 1:
                raise about(InvalidArgumentError, name, f"must be 1 or more, got {getattr(self, name)}.")
        if not self.lengths or min(self.lengths) < _FEWEST_TOKENS:
            got = min(self.lengths, default="none")
            raise about(InvalidArgumentError, "lengths", f"must be {_FEWEST_TOKENS} tokens or more each, got {got}.")

    @property
    def depths(self) -> list[float]:
        if self.task == "words" or self.n_depths == 1:
            return [0.5]
        return [i / (self.n_depths - 1) for i in range(self.n_depths)]

    def cells(self) -> Iterator[tuple[int, float, int]]:
        """Length, depth and number of every example, the shortest first."""
        for length in sorted(set(self.lengths)):
            for depth in self.depths:
                for sample in range(self.n_samples):
                    yield length, depth, sample

    def n_examples(self) -> int:
        return len(set(self.lengths)) * len(self.depths) * self.n_samples


def measure(
    model: Model,
    settings: Settings,
    *,
    reference: Model | None = None,
    haystack: str | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: Callable[[int], object] = lambda n: None,
) -> Report:
    """Measure what a model finds.

    Parameters
    ----------
    model
        The model, opened with a limit that the longest source keeps.
    settings
        What is measured.
    reference
        The same model in a wider type, asked the same: what the type costs.
    haystack
        The prose. ``None``: Python's reference manual.
    resume
        A file of finished examples, one JSON object a line: those that it has are not run again, others are added. It
        may come from a run with other lengths, depths and numbers of samples; all else must be the same.
    progress
        Called with 1 for each example that is finished.

    Raises
    ------
    InvalidArgumentError
        The haystack is too short, the reference has another vocabulary, or the file is of another run.
    OSError
        The file cannot be read or written.
    OutOfMemoryError
        The machine has too little memory free for the longest source.
    """
    _check_reference(model, reference)
    text = manual() if haystack is None else haystack
    maker = Maker(model, Haystack(model.tokenizer, text), settings.task)
    finished = Finished()
    if resume is not None:
        inputs = [Path(given.path) for given in (model, reference) if given is not None]
        finished = Finished(resume, header_of(settings, model, reference, text), inputs)
    cells = {f"{length} {depth:.4f} {sample}": (length, depth) for length, depth, sample in settings.cells()}
    longest = max((length for key, (length, _) in cells.items() if key not in finished.rows), default=1)
    for asked in (model, reference):
        if asked is not None:
            asked._native.check_memory(longest)  # not after hours with shorter ones
    rows = []
    for key, (length, depth) in cells.items():
        if key not in finished.rows:
            example = maker.make(length, depth, f"{settings.seed} {settings.task} {key}")
            row: dict[str, Any] = {"key": key, "length": length, "depth": depth}
            row |= ask(model, example, generate=settings.generate)
            if reference is not None:
                row["reference"] = ask(reference, example, generate=settings.generate)
            finished.add(row)
        rows.append(finished.rows[key])
        progress(1)
    return Report.of(settings.task, rows)


def _check_reference(model: Model, reference: Model | None) -> None:
    """Its sources and answers are the model's, in ids."""
    if reference is None:
        return
    words = [[m.tokenizer.encode(noun, add_special_tokens=False) for noun in NOUNS] for m in (model, reference)]
    if reference.config.vocab_size != model.config.vocab_size or words[0] != words[1]:
        raise about(
            InvalidArgumentError, "reference", "has another vocabulary, so it is not the same model in another type."
        )


def ask(model: Model, example: Example, *, generate: bool) -> dict[str, Any]:
    """What a model makes of an example: shares of the right answers found, 0 to 1."""
    source = model.encode(example.source_ids)
    logprobs = _logprobs(model, source, example)
    best = sorted(logprobs, key=lambda choice: -logprobs[choice])[: len(example.answers)]
    found: dict[str, Any] = {
        "choice": len(set(best) & set(example.answers)) / len(example.answers),
        "logprob": sum(logprobs[answer] for answer in example.answers) / len(example.answers),
    }
    if generate:
        # A model may want the question alone, or the beginning of the answer: the better one counts.
        texts = [
            model.generate(source, decoder_prefix=prefix, max_new_tokens=_NEW_TOKENS, temperature=0.0, num_beams=1).text
            for prefix in (None, example.prefix)
        ]
        found["generate"] = max(_share(text, example.answers) for text in texts)
        found["texts"] = texts
    return found


def _share(text: str, answers: Sequence[str]) -> float:
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return sum(answer in words for answer in answers) / len(answers)


def _logprobs(model: Model, source: EncodedSource, example: Example) -> dict[str, float]:
    """Of the tokens of each answer alone, behind the prefix."""
    before = model.tokenizer.encode(example.prefix, add_special_tokens=False)
    answers = [model.tokenizer.encode(" " + choice, add_special_tokens=False) for choice in example.choices]
    scores = model.score_batch([source] * len(answers), [[*before, *answer] for answer in answers])
    sums = (float(score.token_logprobs[len(before) :].sum()) for score in scores)
    return dict(zip(example.choices, sums, strict=True))
