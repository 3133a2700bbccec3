"""What generation and scoring return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

    from t5g import _core


@dataclass(frozen=True)
class Timings:
    """Where the time of a call went. Rates are 0.0 where nothing was done.

    Attributes
    ----------
    load_seconds
        Opening the model, once, before this call.
    image_seconds
        Reading the images.
    encode_seconds
        Reading the source, and the decoder's keys and values of it; 0 for a source that was encoded before.
    decode_seconds
        From the first decode step to the last. Sequences of a batch share their steps, so each counts all of them.
    n_source_tokens, n_new_tokens
        Tokens read and generated (of all sequences of this source).
    """

    load_seconds: float
    image_seconds: float
    encode_seconds: float
    decode_seconds: float
    n_source_tokens: int
    n_new_tokens: int

    @property
    def encode_tokens_per_second(self) -> float:
        return self.n_source_tokens / self.encode_seconds if self.encode_seconds > 0 else 0.0

    @property
    def decode_tokens_per_second(self) -> float:
        return self.n_new_tokens / self.decode_seconds if self.decode_seconds > 0 else 0.0


class _Logprob:
    """A field whose value may be a function, which is called when the field is first read."""

    def __get__(self, instance: GeneratedSequence | None, owner: type) -> float:
        if instance is None:
            raise AttributeError("logprob")  # the field has no default
        value: float | Callable[[], float] = instance.__dict__["logprob"]
        if callable(value):
            value = instance.__dict__["logprob"] = value()
        return value

    def __set__(self, instance: GeneratedSequence, value: float | Callable[[], float]) -> None:
        instance.__dict__["logprob"] = value


@dataclass(frozen=True, repr=False)
class GeneratedSequence:
    """One generated text.

    Attributes
    ----------
    text
        Without special tokens, and without the stop string that ended it. Empty where the file has no tokenizer
        (``model.tokenizer.is_placeholder``): read ``token_ids`` then.
    token_ids
        The generated tokens (neither the start token nor the decoder prefix), with the one that ended the text.
    finish_reason
        ``"stop"`` (an end token or a stop string), ``"length"`` or ``"cancelled"``.
    logprob
        Sum of the model's own log-probabilities of ``token_ids``, before temperature and penalties: what
        :meth:`t5g.Model.score` gives for them. Greedy decoding can do without most of the work that this takes, so
        reading it may take a little time at first, and raises ``ValueError`` if the model was closed meanwhile.
    """

    text: str
    token_ids: list[int]
    finish_reason: str
    if TYPE_CHECKING:
        logprob: float
    else:
        logprob: float = _Logprob()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r}, {len(self.token_ids)} tokens, {self.finish_reason!r})"

    def __getstate__(self) -> dict[str, Any]:
        _ = self.logprob  # a copy or a pickle has the number, not the way to it
        return dict(self.__dict__)


@dataclass(frozen=True, repr=False)
class Generation(GeneratedSequence):
    """The best, or only, text generated for one source, with all of them in ``sequences`` (this one first)."""

    sequences: list[GeneratedSequence]
    timings: Timings

    @classmethod
    def _from_core(cls, result: dict[str, Any], load_seconds: float) -> Generation:
        for sequence in result["sequences"]:
            if not isinstance(sequence["logprob"], float):
                sequence["logprob"] = sequence["logprob"].sum
        sequences = [GeneratedSequence(**sequence) for sequence in result["sequences"]]
        timings = Timings(load_seconds=load_seconds, **result["timings"])
        return cls(**result["sequences"][0], sequences=sequences, timings=timings)


@dataclass(frozen=True)
class Score:
    """Teacher-forced log-probabilities of a target.

    Attributes
    ----------
    logprob
        Their sum.
    token_logprobs
        float32 [len(target)]: entry i is log p(target[i] | source, target[:i]).
    token_ids
        The target's tokens.
    """

    logprob: float
    token_logprobs: npt.NDArray[np.float32]
    token_ids: list[int]


class Stream(Iterator[str]):
    """Pieces of a text as they are generated; each is whole characters.

    Iterate over it; :meth:`cancel`, :meth:`close` or leaving a ``with`` block stops it, from any thread, and the
    iteration then ends without an error. Afterwards :attr:`result` is the whole :class:`Generation`.

    Threads that iterate over one stream take turns: each piece goes to one of them. Where the model is closed before
    the text is complete, the next piece is a ``ValueError``, and :attr:`result` is what there was of the text.
    """

    def __init__(self, generator: _core.Generator, load_seconds: float) -> None:
        self._generator = generator
        self._load_seconds = load_seconds
        self._result: Generation | None = None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        piece = self._generator.next_text()
        if piece is None:
            raise StopIteration
        return piece

    def cancel(self) -> None:
        """Stop generating: the step in hand ends early, and the iteration with it."""
        self._generator.cancel()

    def close(self) -> None:
        """Stop generating and free what it holds. Text that has not been read is in :attr:`result` alone."""
        self._generator.close()

    @property
    def result(self) -> Generation:
        """The whole generation. Raises ``RuntimeError`` while the text is still being generated."""
        if self._result is None:
            results = self._generator.results()
            if results is None:
                raise RuntimeError("the stream is not finished: iterate over it or close it first")
            self._result = Generation._from_core(results[0], self._load_seconds)
        return self._result

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
