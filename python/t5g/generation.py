"""What generation and scoring return."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from t5g.errors import UnfinishedError

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


@dataclass
class AttentionOf:
    """Computes where the decoder looked in one source: what generated sequences keep of it."""

    model: _core.Model
    source: _core.EncodedSource
    prompt: list[int] = field(default_factory=list)

    def __call__(self, generated: list[int]) -> npt.NDArray[np.float32]:
        ids = [*self.prompt, *generated][:-1]
        return self.model.attention(self.source, ids, min(len(self.prompt) - 1, len(ids)))


class _Lazy:
    """A field whose value may be a function, which is called when the field is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: GeneratedSequence | None, owner: type) -> Any:
        if instance is None:
            raise AttributeError(self._name)  # the field has no default
        value = instance.__dict__[self._name]
        if callable(value):
            value = instance.__dict__[self._name] = value()
        return value

    def __set__(self, instance: GeneratedSequence, value: Any) -> None:
        instance.__dict__[self._name] = value


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
        ``"stop"`` (an end token, a stop string, or a complete choice), ``"length"``, ``"cancelled"`` or ``"timeout"``.
    logprob
        Sum of the model's own log-probabilities of ``token_ids``, before temperature and penalties: what
        :meth:`t5g.Model.score` gives for them. Greedy decoding can do without most of the work that this takes, so
        reading it may take a little time at first, and raises ``ValueError`` if the model was closed meanwhile.
    token_logprobs
        Those of each token, a list of float: they add up to ``logprob``, and are had in the same way.
    top_logprobs
        With ``logprobs=k``: for each token a dict of the k likeliest ones at its place, ``{id: log-probability}``,
        likeliest first. Otherwise ``None``.
    score
        Of beam search: the score by which its sequences are sorted, the sum of log-probabilities after penalties
        divided by length to the power of ``length_penalty``. Otherwise ``None``.
    """

    text: str
    token_ids: list[int]
    finish_reason: str
    if TYPE_CHECKING:
        logprob: float
        token_logprobs: list[float]
    else:
        logprob: float = _Lazy()
        token_logprobs: list[float] = _Lazy()
    top_logprobs: list[dict[int, float]] | None
    score: float | None

    @property
    def attention(self) -> npt.NDArray[np.float32] | None:
        """Where the decoder looked in the source when it wrote each token: float32 [len(token_ids), n_source_tokens].

        With ``return_attention=True``, as :meth:`t5g.Model.attention` has it, computed when it is first read. Otherwise
        ``None``.
        """
        found = self.__dict__.get("_attention")
        if callable(found):
            found = self.__dict__["_attention"] = found()
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r}, {len(self.token_ids)} tokens, {self.finish_reason!r})"

    def __getstate__(self) -> dict[str, Any]:
        _ = self.logprob, self.token_logprobs, self.attention  # a copy or a pickle has the numbers, not the way to them
        return dict(self.__dict__)


@dataclass(frozen=True, repr=False)
class Generation(GeneratedSequence):
    """The best, or only, text generated for one source, with all of them in ``sequences`` (this one first)."""

    sequences: list[GeneratedSequence]
    timings: Timings
    n_truncated: int = 0
    """Tokens that ``truncation`` has cut from the source."""

    @classmethod
    def _from_core(
        cls, result: dict[str, Any], load_seconds: float, attention: AttentionOf | None = None
    ) -> Generation:
        for sequence in result["sequences"]:
            if not isinstance(sequence["logprob"], float):
                sequence["logprob"] = sequence["logprob"].sum
                sequence["token_logprobs"] = sequence["token_logprobs"].each
        sequences = [GeneratedSequence(**sequence) for sequence in result["sequences"]]
        timings = Timings(load_seconds=load_seconds, **result["timings"])
        made = cls(**result["sequences"][0], sequences=sequences, timings=timings, n_truncated=result["n_truncated"])
        if attention is not None:
            for sequence in (made, *sequences):
                sequence.__dict__["_attention"] = functools.partial(attention, sequence.token_ids)
        return made


@dataclass(frozen=True, eq=False)
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

    def __eq__(self, other: object) -> bool:
        import numpy as np

        if not isinstance(other, Score):
            return NotImplemented
        return self.token_ids == other.token_ids and np.array_equal(self.token_logprobs, other.token_logprobs)

    __hash__ = None  # type: ignore[assignment]  # as of all that is compared by an array


class Stream(Iterator[str]):
    """Pieces of a text as they are generated; each is whole characters.

    Iterate over it; :meth:`cancel`, :meth:`close` or leaving a ``with`` block stops it, from any thread, and the
    iteration then ends without an error. Afterwards :attr:`result` is the whole :class:`Generation`.

    Threads that iterate over one stream take turns: each piece goes to one of them. Where the model is closed before
    the text is complete, the next piece is a ``ValueError``, and :attr:`result` is what there was of the text.
    """

    def __init__(self, generator: _core.Generator, load_seconds: float, attention: AttentionOf | None = None) -> None:
        self._generator = generator
        self._load_seconds = load_seconds
        self._attention = attention
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
        """The whole generation. Raises ``T5gError``, also a ``RuntimeError``, while the text is being generated."""
        if self._result is None:
            results = self._generator.results()
            if results is None:
                raise UnfinishedError("the stream is not finished: iterate over it or close it first")
            self._result = Generation._from_core(results[0], self._load_seconds, self._attention)
        return self._result

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
