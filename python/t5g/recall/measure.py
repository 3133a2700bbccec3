"""Runs the examples, and keeps what has been found in a file, so that a run that was interrupted goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t5g._files import write_text, writing_in_place
from t5g.errors import InvalidArgumentError
from t5g.recall.haystack import Haystack, manual
from t5g.recall.report import Report
from t5g.recall.tasks import TASKS, Example, Maker

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
    lengths: tuple[int, ...] = (1024, 4096, 16384)
    n_depths: int = 5
    n_samples: int = 2
    generate: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InvalidArgumentError(f"task: must be one of {', '.join(TASKS)}, got {self.task!r}.")
        for name in ("n_depths", "n_samples"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name}: must be 1 or more, got {getattr(self, name)}.")
        if not self.lengths or min(self.lengths) < _FEWEST_TOKENS:
            raise InvalidArgumentError(f"lengths: must be {_FEWEST_TOKENS} tokens or more each, got {self.lengths}.")

    @property
    def depths(self) -> list[float]:
        if self.task == "words" or self.n_depths == 1:
            return [0.5]
        return [i / (self.n_depths - 1) for i in range(self.n_depths)]

    def cells(self) -> Iterator[tuple[int, float, int]]:
        """Length, depth and number of every example, the shortest first."""
        for length in sorted(self.lengths):
            for depth in self.depths:
                for sample in range(self.n_samples):
                    yield length, depth, sample

    def n_examples(self) -> int:
        return len(self.lengths) * len(self.depths) * self.n_samples


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
        A file of finished examples, one JSON object a line: those that it has are not run again, others are added.
    progress
        Called with 1 for each example that is finished.
    """
    maker = Maker(model, Haystack(model.tokenizer, manual() if haystack is None else haystack), settings.task)
    done = _Done(resume, {**asdict(settings), "model": Path(model.path).name, "reference": reference is not None})
    for length, depth, sample in settings.cells():
        key = f"{length} {depth:.4f} {sample}"
        if key not in done.rows:
            example = maker.make(length, depth, f"{settings.seed} {settings.task} {key}")
            row: dict[str, Any] = {"key": key, "length": length, "depth": depth}
            row |= ask(model, example, generate=settings.generate)
            if reference is not None:
                row["reference"] = ask(reference, example, generate=settings.generate)
            done.add(row)
        progress(1)
    return Report.of(settings.task, list(done.rows.values()))


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


class _Done:
    """Finished examples by key, in a file where there is one."""

    def __init__(self, path: str | os.PathLike[str] | None, settings: dict[str, Any]) -> None:
        self._path = None if path is None else Path(path)
        self.rows: dict[str, dict[str, Any]] = {}
        header = json.loads(json.dumps({"settings": settings}))
        if self._path is None:
            return
        if self._path.exists():
            self._read(header)
        else:
            self._append(header)

    def _read(self, header: dict[str, Any]) -> None:
        assert self._path is not None
        lines = self._path.read_text(encoding="utf-8").splitlines()
        try:
            # The last line may have been cut when the run ended.
            rows = [json.loads(line) for line in lines[:-1]]
            with_last = [*rows, json.loads(lines[-1])]
        except json.JSONDecodeError:
            with_last = rows if "rows" in locals() else []
        except IndexError:
            with_last = []
        if not with_last or with_last[0] != header:
            raise InvalidArgumentError(
                f"{self._path}: is not of a run with these settings. Give another file for --resume, or remove it."
            )
        self.rows = {row["key"]: row for row in with_last[1:]}
        if len(with_last) < len(lines):
            write_text(self._path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in with_last))

    def add(self, row: dict[str, Any]) -> None:
        self.rows[row["key"]] = row
        if self._path is not None:
            self._append(row)

    def _append(self, row: dict[str, Any]) -> None:
        assert self._path is not None
        size = self._path.stat().st_size if self._path.exists() else 0
        with writing_in_place(self._path, keep_bytes=size) as file:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
