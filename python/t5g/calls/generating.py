"""Texts about sources: one, a batch, any number, piece by piece, and for asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from t5g import _core, arguments
from t5g import options as generation_options
from t5g.calls import method
from t5g.generation import AttentionOf, Generation, Stream
from t5g.keywords import explained
from t5g.sources import Reader

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from t5g.adapters import Adapters
    from t5g.asynchronous import AsyncStream
    from t5g.images import Images
    from t5g.model import Model
    from t5g.options import GenerateOptions
    from t5g.sources import Request, Source, TextOrIds
    from t5g.truncation import Truncation


@explained(generation_options.names)
@method
def generate(
    self: Model,
    source: Source,
    *,
    images: Images | None = None,
    pan_and_scan: bool = False,
    decoder_prefix: TextOrIds | None = None,
    stop: str | Sequence[str] | None = None,
    parse_special: bool = False,
    skip_special_tokens: bool = True,
    return_attention: bool = False,
    truncation: Truncation = "error",
    adapters: Adapters = None,
    **options: Unpack[GenerateOptions],
) -> Generation:
    """Write a text about a source.

    Parameters
    ----------
    source
        A text, token ids (taken as they are; there may be none), or an :class:`EncodedSource`.
    images, pan_and_scan
        Images that go with a text or ids, as in :meth:`encode`.
    decoder_prefix
        How the text begins: a text or token ids. The start token is put in front where it is not there.
    stop
        A text or several that end the generation; they are not part of the result. ``None``: none.
    parse_special
        Match special tokens in texts.
    skip_special_tokens
        Leave special tokens out of the generated text; ``token_ids`` has them always.
    return_attention
        Let the result have ``attention``: where in the source the decoder looked for each token.
    truncation
        Of a source that is too long, as in :meth:`encode`; ``n_truncated`` of the result says how much went.
    max_new_tokens : int, default 256
        Tokens to generate at most; never more than the model's limit leaves room for.
    min_new_tokens : int, default 0
        Tokens to generate before the text may end.
    seed : int, optional
        Of the random numbers; the same seed gives the same text. ``None``: another one for every call.
    temperature : float, default 0.0
        Spread of the sampling; 0 always takes the most likely token.
    top_k : int, default 0
        Sample from the k most likely tokens; 0 = from all.
    top_p : float, default 1.0
        Sample from the fewest tokens whose probabilities add up to p.
    min_p : float, default 0.0
        Drop tokens less likely than this share of the most likely one.
    typical_p : float, default 1.0
        Sample from the tokens whose surprise is closest to the expected one, until their probabilities add up to p.
    epsilon_cutoff, eta_cutoff : float, default 0.0
        Drop tokens less likely than this; eta's bound is lower where the model is unsure.
    repetition_penalty : float, default 1.0
        Above 1, tokens that the text already has become less likely.
    no_repeat_ngram_size : int, default 0
        No run of this many tokens occurs twice; 0 = off.
    encoder_repetition_penalty : float, default 1.0
        Above 1, tokens that the source has become more likely.
    encoder_no_repeat_ngram_size : int, default 0
        No run of this many tokens of the source occurs; 0 = off.
    logit_bias : dict of int to float, optional
        What is added to the logits of some tokens; ``-math.inf`` bans one.
    suppress_tokens : sequence of int, optional
        Ids of tokens that are never generated.
    bad_words : sequence of str or of sequences of int, optional
        Runs of tokens that are never generated. Of a text, as the tokenizer spells it at the beginning of a text
        and after a space.
    forced_bos_token_id : int, optional
        The first token, where there is no ``decoder_prefix``: of many translation models, the language.
    eos_token_ids : int or sequence of int, optional
        Ids that end the text, instead of the model's.
    num_beams : int, default 1
        Beams of the beam search; 1 = off.
    length_penalty : float, default 1.0
        Beam scores are divided by length to this power.
    early_stopping : bool or "never", default False
        When beam search stops, as in Hugging Face's ``generate``.
    num_return_sequences : int, default 1
        Sequences to return: the best beams, or independent samples.
    alternatives : int, default 0
        Greedy decoding only: this many sequences, which begin with the likeliest first tokens (after a
        ``decoder_prefix``: next tokens), likeliest first.
    logprobs : int, default 0
        Find this many of the likeliest tokens at every place: ``top_logprobs`` of the result.
    timeout : float, optional
        Seconds from the call on after which the text ends as it is, with ``finish_reason`` ``"timeout"``; 0 and
        ``None`` are no limit.
    draft : "source" or "off", default "source"
        Greedy decoding only: prompt-lookup speculative decoding, which drafts the next tokens from where the last
        ones occur in the source or in the text so far, and checks several at a time. The text is the same; where
        it quotes the source it comes faster.
    choices : sequence of str, optional
        The text is one of these.
    regex, json_schema, grammar : str, optional
        The text matches a regular expression, a JSON schema (a dict or its JSON, or a class of pydantic's), or a
        grammar in Lark's notation as llguidance reads it. They need the extra ``grammar``.
    allowed_tokens : callable, optional
        Called with the ids generated so far (a list, without prefix and start token), returns what may follow: ids,
        a mask of vocab_size bools, or ``None`` for everything. End tokens must be among them for a text to end.
        What it raises comes out of this call.

    Raises
    ------
    ValueError
        An option outside its range, or token ids outside the vocabulary.
    InputTooLongError
        The source or the prefix has more tokens than the model accepts.

    Notes
    -----
    Options mean what they mean in Hugging Face's ``generate``, and greedy and beam search give the same tokens.
    Those that change nothing as the others are (``top_p`` without ``temperature``, ``length_penalty`` without
    ``num_beams``) are told by a :class:`t5g.T5gWarning`, once per process.
    Where the file has defaults of its own (:attr:`generation_defaults`), they count instead of those above.
    """
    reader = Reader(
        self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation, adapters=adapters
    )
    of_call = _sources(reader, [reader.request(source, images)], return_attention)
    text = generation_options.text(stop, skip_special_tokens, self.generation_defaults)
    return _run(self, _generator(reader, of_call, decoder_prefix, text, options), of_call)[0]


@explained(generation_options.names)
@method
def generate_batch(
    self: Model,
    sources: Iterable[Source],
    *,
    images: Sequence[Images | None] | None = None,
    pan_and_scan: bool = False,
    decoder_prefix: TextOrIds | None = None,
    stop: str | Sequence[str] | None = None,
    parse_special: bool = False,
    skip_special_tokens: bool = True,
    return_attention: bool = False,
    truncation: Truncation = "error",
    adapters: Adapters | Sequence[Adapters] = None,
    max_batch_size: int = 32,
    **options: Unpack[GenerateOptions],
) -> list[Generation]:
    """Write a text about each of several sources, faster than one by one; the tokens are the same.

    Parameters
    ----------
    sources
        As ``source`` in :meth:`generate`, of any lengths.
    max_batch_size
        Sequences that run together (beams count each). When one ends, the next source takes its place.
    images
        The images of each source: a list as long as ``sources``, of what :meth:`encode` takes.
    pan_and_scan, decoder_prefix, stop, parse_special, skip_special_tokens, return_attention, truncation, **options
        As in :meth:`generate`, for all sources.

    Returns
    -------
    list of Generation
        In the order of the sources.
    """
    reader = Reader(self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation)
    rows = arguments.rows(max_batch_size)
    of_call = _sources(reader, reader.requests(sources, images, adapters), return_attention)
    text = generation_options.text(stop, skip_special_tokens, self.generation_defaults)
    generator = _generator(reader, of_call, decoder_prefix, text, options, rows)
    return _run(self, generator, of_call)


@explained(generation_options.names)
@method
def generate_iter(
    self: Model,
    sources: Iterable[Source],
    *,
    images: Iterable[Images | None] | None = None,
    pan_and_scan: bool = False,
    decoder_prefix: TextOrIds | None = None,
    stop: str | Sequence[str] | None = None,
    parse_special: bool = False,
    skip_special_tokens: bool = True,
    truncation: Truncation = "error",
    adapters: Adapters = None,
    max_batch_size: int = 32,
    **options: Unpack[GenerateOptions],
) -> Iterator[Generation]:
    """Like :meth:`generate_batch`, but for any number of sources, which are taken one by one as there is room.

    Memory is bounded: what is held are the sources that run, and results that wait for an earlier one, at most
    eight for each row. The next source is asked for when there is room for it; nothing runs while that takes time.
    One thread at a time takes results: a second one gets a ``ValueError``.

    Parameters
    ----------
    sources
        An iterable of what :meth:`generate` takes, of any lengths.
    images
        The images of each source: an iterable as long as ``sources``, of what :meth:`encode` takes.
    max_batch_size
        Sequences that run together (beams count each). When one ends, the next source takes its place.
    pan_and_scan, decoder_prefix, stop, parse_special, skip_special_tokens, truncation, **options
        As in :meth:`generate`, for all sources.

    Yields
    ------
    Generation
        In the order of the sources.

    Raises
    ------
    ValueError
        As :meth:`generate` does; for a source, when its turn comes.
    """
    from t5g.batch import Batch

    batch = Batch(
        self,
        pan_and_scan=pan_and_scan,
        decoder_prefix=decoder_prefix,
        stop=stop,
        parse_special=parse_special,
        skip_special_tokens=skip_special_tokens,
        truncation=truncation,
        adapters=adapters,
        max_batch_size=max_batch_size,
        **options,
    )
    return batch.in_order(sources, images)


@explained(generation_options.names)
@method
def stream(
    self: Model,
    source: Source,
    *,
    images: Images | None = None,
    pan_and_scan: bool = False,
    decoder_prefix: TextOrIds | None = None,
    stop: str | Sequence[str] | None = None,
    parse_special: bool = False,
    skip_special_tokens: bool = True,
    return_attention: bool = False,
    truncation: Truncation = "error",
    adapters: Adapters = None,
    **options: Unpack[GenerateOptions],
) -> Stream:
    """Like :meth:`generate`, but piece by piece: an iterator over the text as it comes into being.

    Beam search knows its text only at the end, so it comes in one piece then.
    """
    reader = Reader(
        self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation, adapters=adapters
    )
    of_call = _sources(reader, [reader.request(source, images)], return_attention)
    text = generation_options.text(stop, skip_special_tokens, self.generation_defaults)
    generator = _generator(reader, of_call, decoder_prefix, text, options)
    return Stream(generator, self.load_seconds, of_call.attentions[0])


@method
async def agenerate(self: Model, source: Source, **options: Any) -> Generation:
    """As :meth:`generate`, for asyncio: the work is done on another thread, and cancelling the task ends it.

    Parameters
    ----------
    source, **options
        As in :meth:`generate`.

    Examples
    --------
    >>> out = await model.agenerate("Some text.", max_new_tokens=50)  # doctest: +SKIP
    """
    from t5g import asynchronous

    return await asynchronous.generate(lambda: self.stream(source, **options))


@method
def astream(self: Model, source: Source, **options: Any) -> AsyncStream:
    """As :meth:`stream`, for asyncio: an asynchronous iterator, whose work ends when its task is cancelled.

    Parameters
    ----------
    source, **options
        As in :meth:`stream`. What is wrong with them is told by the first step.

    Examples
    --------
    >>> async for piece in model.astream("Some text."):  # doctest: +SKIP
    ...     print(piece, end="", flush=True)
    """
    from t5g.asynchronous import AsyncStream

    return AsyncStream(lambda: self.stream(source, **options))


class _Sources(NamedTuple):
    """The sources of a call, and what finds where the decoder looks in each, where that is wanted."""

    requests: list[Request]
    attentions: list[AttentionOf | None]


def _sources(reader: Reader, requests: list[Request], return_attention: bool) -> _Sources:
    """Encode sources whose attention is wanted, so that they are read once."""
    if not arguments.flag("return_attention", return_attention):
        return _Sources(requests, [None] * len(requests))
    encoded = [reader.encode(request) for request in requests]
    return _Sources(list(encoded), [AttentionOf(reader.model._native, source) for source in encoded])


def _generator(
    reader: Reader,
    sources: _Sources,
    decoder_prefix: TextOrIds | None,
    text: _core.TextOptions,
    options: Mapping[str, Any],
    max_batch_size: int = 1,
) -> _core.Generator:
    prefix = [] if decoder_prefix is None else reader.target("decoder_prefix", decoder_prefix)
    for attention in sources.attentions:
        if attention is not None:
            attention.prompt = reader.after_start(prefix)
    config = generation_options.config(options, reader.model)
    reader.tell_what_had_no_effect()
    return _core.Generator(reader.model._native, sources.requests, prefix, text, max_batch_size, config)


def _run(model: Model, generator: _core.Generator, sources: _Sources) -> list[Generation]:
    try:
        while generator.step():
            pass
    finally:
        generator.close()  # an error's traceback may keep it
    results = zip(generator.take_results(), sources.attentions, strict=True)
    return [Generation._from_core(result, model.load_seconds, attention) for result, attention in results]
