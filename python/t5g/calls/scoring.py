"""What the decoder makes of targets that are given: how likely they are, where it looks, and its logits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from t5g import arguments
from t5g.calls import method
from t5g.errors import InvalidArgumentError
from t5g.generation import Score
from t5g.keywords import explained
from t5g.messages import about
from t5g.sources import Reader

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from t5g.adapters import Adapters
    from t5g.images import Images
    from t5g.model import Model
    from t5g.sources import Source, TextOrIds
    from t5g.truncation import Truncation


@explained()
@method
def score(
    self: Model,
    source: Source,
    target: TextOrIds,
    *,
    images: Images | None = None,
    pan_and_scan: bool = False,
    add_eos: bool = False,
    parse_special: bool = False,
    truncation: Truncation = "error",
    adapters: Adapters = None,
) -> Score:
    """How likely a target is, given a source.

    Parameters
    ----------
    source, images, pan_and_scan, truncation
        As in :meth:`generate`.
    target
        A text or token ids. The start token is put in front and is not scored.
    add_eos
        Score the end token after the target as well.

    Returns
    -------
    Score
        With ``logprob``, the sum, and ``token_logprobs``, float32 [len(target)].
    """
    reader = Reader(
        self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation, adapters=adapters
    )
    ids = reader.target("target", target)
    if arguments.flag("add_eos", add_eos):
        ids = [*ids, self.config.eos_token_id[0]]
    logprobs = self._native.score(reader.encoded(source, images), ids)
    reader.tell_what_had_no_effect()
    return Score(float(logprobs.sum(dtype="float64")), logprobs, ids)


@explained()
@method
def score_batch(
    self: Model,
    sources: Iterable[Source],
    targets: Iterable[TextOrIds],
    *,
    images: Sequence[Images | None] | None = None,
    pan_and_scan: bool = False,
    add_eos: bool = False,
    parse_special: bool = False,
    truncation: Truncation = "error",
    adapters: Adapters | Sequence[Adapters] = None,
    max_batch_size: int = 32,
) -> list[Score]:
    """How likely each of several targets is, given its source: faster than one by one, with the same bits.

    Parameters
    ----------
    sources
        As ``source`` in :meth:`generate`. A source of several targets is read once if it is an
        :class:`EncodedSource`: ``model.score_batch([encoded] * len(texts), texts)``.
    targets
        The target of each source, as in :meth:`score`.
    images
        The images of each source: a list as long as ``sources``, of what :meth:`encode` takes.
    add_eos
        Score the end token after each target as well.
    max_batch_size
        Targets that run together.

    Returns
    -------
    list of Score
        In the order of the sources.
    """
    reader = Reader(self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation)
    rows = arguments.rows(max_batch_size)
    requests = reader.requests(sources, images, adapters)
    several = arguments.items("targets", targets, "texts or of lists of token ids", "score takes a single one.")
    if len(several) != len(requests):
        raise about(
            InvalidArgumentError, "targets", f"must be as many as sources, {len(requests)}, got {len(several)}."
        )
    ids = [reader.target(f"targets[{i}]", target) for i, target in enumerate(several)]
    if arguments.flag("add_eos", add_eos):
        ids = [[*of_target, self.config.eos_token_id[0]] for of_target in ids]
    scores = self._native.score_batch(requests, ids, rows)
    reader.tell_what_had_no_effect()
    return [Score(float(s.sum(dtype="float64")), s, of) for s, of in zip(scores, ids, strict=True)]


@explained()
@method
def attention(
    self: Model,
    source: Source,
    target: TextOrIds,
    *,
    images: Images | None = None,
    pan_and_scan: bool = False,
    parse_special: bool = False,
    truncation: Truncation = "error",
    adapters: Adapters = None,
) -> npt.NDArray[np.float32]:
    """Where the decoder looks in the source when it writes each token of a target.

    Parameters
    ----------
    source, images, pan_and_scan, truncation
        As in :meth:`generate`.
    target
        A text or token ids. The start token is put in front.

    Returns
    -------
    numpy.ndarray
        float32 [len(target), n_source_tokens]: row i has the attention weights with which the decoder found token
        i, averaged over layers and heads. The source's part of them as they are: T5Gemma 2 looks at the source and
        at the target so far at once, so that a row adds up to less than 1.
    """
    reader = Reader(
        self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation, adapters=adapters
    )
    ids = reader.target("target", target)
    encoded = reader.encoded(source, images)
    reader.tell_what_had_no_effect()
    return self._native.attention(encoded, [*reader.after_start([]), *ids][: len(ids)], 0)


@explained()
@method
def logits(
    self: Model,
    source: Source,
    target_ids: Sequence[int],
    *,
    images: Images | None = None,
    pan_and_scan: bool = False,
    parse_special: bool = False,
    truncation: Truncation = "error",
    adapters: Adapters = None,
) -> npt.NDArray[np.float32]:
    """Next-token logits after every prefix of a target.

    Parameters
    ----------
    source, images, pan_and_scan, truncation
        As in :meth:`generate`.
    target_ids
        Normally beginning with the start token.

    Returns
    -------
    numpy.ndarray
        float32 [len(target_ids), vocab_size]: row i follows ``target_ids[: i + 1]``. With the final soft cap where
        the architecture has one.
    """
    reader = Reader(
        self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation, adapters=adapters
    )
    ids = reader.target_ids("target_ids", target_ids)
    encoded = reader.encoded(source, images)
    reader.tell_what_had_no_effect()
    return self._native.logits(encoded, ids)
