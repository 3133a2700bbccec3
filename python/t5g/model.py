"""The model: everything that t5g does goes through this class.

NumPy is imported by what needs arrays: text in, text out starts a tenth of a second earlier without it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from t5g import _core, arguments
from t5g import adapters as adapters_of_call
from t5g import options as generation_options
from t5g.chat_templates import ChatTemplates
from t5g.config import Config
from t5g.errors import ArgumentTypeError, InvalidArgumentError
from t5g.generation import AttentionOf, Generation, Score, Stream
from t5g.generation_defaults import GenerationDefaults
from t5g.keywords import explained
from t5g.memory import MemoryNeeds
from t5g.model_files import find_adapter, find_model
from t5g.source import EncodedSource
from t5g.sources import Reader
from t5g.tokenizer import Tokenizer

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Unpack

    from t5g.adapters import Adapters
    from t5g.asynchronous import AsyncStream
    from t5g.conversation import Conversation
    from t5g.images import Images
    from t5g.options import GenerateOptions
    from t5g.sources import Request, Source, TextOrIds
    from t5g.truncation import Truncation


class Model:
    """A T5Gemma or T5Gemma 2 model, loaded from one GGUF file.

    Parameters
    ----------
    path
        A ``.gguf`` file made by ``t5g-convert``. ``None``: the small model that comes with the package.
    device
        ``"cpu"``, or ``"auto"``: what the environment variable ``T5G_DEVICE`` says, and without it the fastest one
        that this build and machine have. ``"cuda"``, ``"cuda:1"`` and ``"metal"`` are refused by builds without them;
        so is ``"emulated"``, the kernels for GPUs on the CPU, which is for tests.
    n_threads
        ``None``: what the environment variable ``T5G_NUM_THREADS`` says, or ``OMP_NUM_THREADS`` where that is not
        set; without either, the physical cores that this process may use, within the container's CPU quota.
    encoder_window
        T5Gemma (the first) only: which neighbours an encoder layer with a sliding window W sees.
        ``"exclusive"`` is ``|i - j| < W``, as the model was trained; ``"inclusive"`` is ``|i - j| <= W``, as
        transformers from 5.4 on reads it. They differ for sources longer than W (4096 in the released models).
    load
        ``"map"``: the file stays open; weights are read from it when they are first needed, and embeddings row by row
        for as long as the model is open. ``"copy"``: all of it is read at once, and the file is needed no more. What
        happens to the file meanwhile never ends the process and never changes a result: with ``"map"``, a call that
        finds the file written to raises ``ModelFormatError``; with ``"copy"`` none does (docs/files.md).
    kv_type
        How the decoder's keys and values are stored. ``"f32"`` is exact, ``"f16"`` halves their memory, and
        ``"q8_0"`` brings it to 28 %. ``"auto"``: ``"f32"`` for files with f32 or f16 weights, ``"f16"`` for all
        others, whose weights are much less exact than that.
    source_cache
        What is kept of a source for the decoder. ``"keys"``: keys and values of every layer. ``"latent"``: the
        encoder's output alone, once for all layers and as exact as ``kv_type`` says, which takes an eighth of the
        memory or less, and more arithmetic for every token; ``hidden_states`` of sources are then as exact as that.
        ``"auto"``: keys for sources whose keys take at most ``source_cache_budget`` bytes, and the output alone for
        longer ones (docs/long-sources.md).
    source_cache_budget
        Bytes of one source's keys and values up to which ``"auto"`` keeps those. Default: 512 MiB.
    max_source_tokens, max_target_tokens
        The longest source and target accepted. ``None``: what the file says. More is possible, as nothing in a model
        ends there; what it is worth, ``t5g-eval recall`` measures.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ModelFormatError
        The file is damaged, or not a T5Gemma.
    UnsupportedError
        The device is not there.

    Examples
    --------
    >>> with t5g.Model("model.gguf") as model:  # doctest: +SKIP
    ...     print(model.generate("Some text to summarise.").text)

    Notes
    -----
    One model may be used by many threads. Its calls release the GIL and take turns on the machine, forward pass by
    forward pass; results never depend on that, nor on the number of threads or on what else is in a batch.
    """

    @explained()
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        n_threads: int | None = None,
        encoder_window: Literal["exclusive", "inclusive"] = "exclusive",
        kv_type: Literal["auto", "f32", "f16", "q8_0"] = "auto",
        load: Literal["map", "copy"] = "map",
        source_cache: Literal["auto", "keys", "latent"] = "auto",
        source_cache_budget: int = 512 * 1024 * 1024,
        max_source_tokens: int | None = None,
        max_target_tokens: int | None = None,
    ) -> None:
        self.path = find_model(path)
        """The file."""
        start = time.perf_counter()
        self._core = _core.Model(
            arguments.native_path("path", self.path),
            device=arguments.word("device", device),
            n_threads=arguments.threads(n_threads),
            encoder_window=arguments.word("encoder_window", encoder_window),
            kv_type=arguments.word("kv_type", kv_type),
            load=arguments.word("load", load),
            source_cache=arguments.word("source_cache", source_cache),
            source_cache_budget=arguments.size("source_cache_budget", source_cache_budget),
            max_source_tokens=arguments.limit("max_source_tokens", max_source_tokens),
            max_target_tokens=arguments.limit("max_target_tokens", max_target_tokens),
        )
        self.load_seconds = time.perf_counter() - start
        """Time that opening the file took."""
        self.config: Config = Config._from_core(self._core.config)
        """What the model is."""
        self.tokenizer: Tokenizer = Tokenizer(self._core.tokenizer)
        """Its tokenizer."""
        self.generation_defaults: GenerationDefaults = GenerationDefaults(self._core)
        """What generation does where an argument is not given: the options that the file has."""
        self._chat_templates = ChatTemplates(self._core, str(self.path))
        if encoder_window == "inclusive" and self.config.architecture == "t5gemma2":
            arguments.warn_once("encoder_window has no effect on T5Gemma 2: only T5Gemma (the first) has two.")

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str | None = None,
        revision: str | None = None,
        *,
        type: str | None = None,
        **options: Any,
    ) -> Model:
        """Open a model of a Hugging Face hub (extra ``hub``: huggingface_hub).

        Its cache, token, endpoint and offline mode are those of huggingface_hub, and its environment variables set
        them. What the cache has is not downloaded again, and needs no network.

        Parameters
        ----------
        repo_id
            ``"owner/repo"``.
        filename
            A ``.gguf`` file of the repository. ``None``: the only one it has, or that of ``type``, or the q8_0 one;
            without any its checkpoint is converted into the cache, once for each revision and type.
        revision
            A branch, tag or commit. ``None``: main.
        type
            As in :func:`t5g.convert`. ``None``: q8_0, where there is a choice.
        **options
            As in :class:`Model`.

        Raises
        ------
        ImportError
            huggingface_hub is not installed; or what a conversion needs (extra ``convert``).
        FileNotFoundError
            There is no such repository, revision or file.
        HubError
            The hub cannot be reached and the cache has not got it; the repository is gated; a download is broken.
        """
        from t5g import hub

        name = hub.named(
            arguments.text("repo_id", repo_id),
            None if filename is None else arguments.text("filename", filename),
            None if revision is None else arguments.text("revision", revision),
            None if type is None else arguments.text("type", type),
        )
        return cls(hub.model_file(name), **options)

    @property
    def _native(self) -> _core.Model:
        if self._core.closed:
            raise InvalidArgumentError("the model is closed.")
        return self._core

    @property
    def device(self) -> str:
        """Where the model runs: ``"cpu"``, ``"cuda:0"``, ``"metal"`` ..."""
        return self._native.device

    @property
    def n_threads(self) -> int:
        """Threads that a call uses, the calling one included."""
        return self._native.n_threads

    @property
    def kv_type(self) -> str:
        """How the decoder's keys and values are stored: ``"f32"``, ``"f16"`` or ``"q8_0"``."""
        return self._native.kv_type

    @property
    def max_source_tokens(self) -> int:
        """The longest source accepted, in tokens."""
        return self._native.max_source_tokens

    @property
    def max_target_tokens(self) -> int:
        """The longest target accepted, in tokens: start token, prefix and what is generated."""
        return self._native.max_target_tokens

    @property
    def has_chat_template(self) -> bool:
        """Whether the model was trained on conversations, so that :meth:`apply_chat_template` works."""
        return bool(self._chat_templates.by_name)

    @property
    def chat_templates(self) -> Mapping[str, str]:
        """The file's chat templates by name; the one that :meth:`apply_chat_template` uses is ``"default"``."""
        return MappingProxyType(self._chat_templates.by_name)

    def memory(self) -> MemoryNeeds:
        """How much memory the model needs: its weights, and what each token of a source or target adds."""
        return MemoryNeeds(**self._native.memory())

    def source_memory(self, n_tokens: int) -> tuple[int, int]:
        """Bytes that a source needs beside the weights: at most while it is read, and while a target is written.

        A call for which the machine has less free raises :class:`t5g.OutOfMemoryError` before it begins.
        """
        n = arguments.integer("n_tokens", n_tokens, low=0)
        if n >= 2**31:
            raise arguments.wrong_value("n_tokens", "an integer from 0 to 2**31 - 1", n)
        reading, writing = self._native.source_bytes(n)
        return reading, writing

    def close(self) -> None:
        """Give the model's memory back, whatever else of it is kept; closing twice is fine.

        Calls under way in other threads end early with a ``ValueError``, as all further calls do. The tokenizer,
        encoded sources and finished generations stay usable, but for a ``logprob`` that nobody has read.
        """
        self._core.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise ArgumentTypeError("a Model cannot be pickled or copied. Open its file in each process: t5g.Model(path).")

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}, architecture={self.config.architecture!r})"

    # ---- Sources ----

    @explained()
    def encode(
        self,
        source: TextOrIds,
        *,
        images: Images | None = None,
        pan_and_scan: bool = False,
        parse_special: bool = False,
        layer: int = -1,
        pad_to: int | None = None,
        adapters: Adapters = None,
        truncation: Truncation = "error",
        progress: Callable[[int, int], object] | None = None,
    ) -> EncodedSource:
        """Read a source once, for any number of calls.

        Parameters
        ----------
        source
            A text, or token ids, which are taken as they are (nothing is added; there may be none): a sequence, an
            array or a tensor [n] or [1, n] of integers.
        images
            Images that go with it, one or a list: paths, the bytes of image files, files open for reading bytes, data
            URIs, PIL images, or arrays and tensors of uint8 or of floats from 0 to 1, [H, W], [H, W, C] or [C, H, W]
            with C of 1, 3 or 4. A text has ``<start_of_image>`` where each belongs, or is empty; ids have the image's
            soft tokens in place.
        pan_and_scan
            Show the model two to four crops of each long image as well.
        parse_special
            Match special tokens in a text. ``<start_of_image>`` is matched whenever there are images.
        layer
            Whose hidden states, as the index into what transformers returns with ``output_hidden_states=True``: 0 are
            the embeddings, 1 what the first layer makes of them, -1 the last layer's after the final norm, -2 those
            of the layer before it. The decoder reads those of -1 only.
        pad_to
            Rows of ``hidden_states``: as transformers has them for a source that is padded on the right to so many
            tokens and masked. ``attention_mask`` tells them apart. A longer source is refused.
        adapters
            Which of the adapters that are loaded: a name, several, or ``{name: scale}``; ``[]``: none. ``None``: all.
            The result remembers them.
        truncation
            What is done with more tokens than the model accepts: ``"error"`` raises; ``"end"``, ``"start"`` and
            ``"middle"`` say which part of them is cut away, and ``n_truncated`` of the source how many those were. What
            the tokenizer puts before and after a text stays. Sources with images are not cut.
        progress
            Called with (done, total), in tokens: with 0 at first, now and then, and with all at the end. What it raises
            ends the call.

        Returns
        -------
        EncodedSource
            With ``hidden_states``, float32 [n_tokens, hidden_size].

        Raises
        ------
        InputTooLongError
            The source has more tokens than the model accepts.
        UnsupportedError
            There are images, but the file has no vision tower.
        ValueError
            An image that cannot be read, or another number of images than of their places in the source; a token id
            outside the vocabulary; an adapter that is not loaded.
        TypeError
            An argument of another type. The message names it, here as in all calls.
        """
        if isinstance(source, EncodedSource):
            raise ArgumentTypeError("source is already encoded; expected a text or token ids.")
        reader = Reader(
            self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation, adapters=adapters
        )
        if progress is not None and not callable(progress):
            raise arguments.wrong_type("progress", "a function of two numbers", progress)
        native_layer = self._layer(layer)
        request = reader.request(source, images)
        assert isinstance(request, tuple)
        n_padding = 0 if pad_to is None else self._padding(pad_to, len(request[0]))
        encoded = EncodedSource(
            self._native.encode(
                *request,
                n_padding=n_padding,
                layer=native_layer,
                progress=progress,
                n_truncated=getattr(request[0], "n_truncated", 0),
            )
        )
        reader.tell_what_had_no_effect()
        return encoded

    def _layer(self, layer: object) -> int:
        """Take an index into the encoder's hidden states, as the native module counts them: -1 are the final ones."""
        n = self.config.encoder.num_hidden_layers
        index = arguments.integer("layer", layer)
        if not -n - 1 <= index <= n:
            raise arguments.wrong_value("layer", f"from {-n - 1} to {n}, as the encoder has {n} layers", index)
        index = index if index >= 0 else index + n + 1
        return -1 if index == n else index

    def _padding(self, pad_to: object, n_tokens: int) -> int:
        limit = self.max_source_tokens
        n = arguments.integer("pad_to", pad_to, low=0)
        if n > limit:
            raise arguments.wrong_value("pad_to", f"at most {limit}, the longest source that the model takes", n)
        if n < n_tokens:
            raise InvalidArgumentError(f"pad_to: is {n}, but the source has {n_tokens} tokens. Nothing is cut.")
        return n - n_tokens

    @explained()
    def embed(
        self,
        texts: Sequence[Source],
        *,
        images: Sequence[Images | None] | None = None,
        pooling: Literal["mean", "first", "last", "max", "none"] = "mean",
        normalize: bool = True,
        batch_size: int = 32,
        layer: int = -1,
        adapters: Adapters | Sequence[Adapters] = None,
        pan_and_scan: bool = False,
        parse_special: bool = False,
        truncation: Truncation = "error",
    ) -> npt.NDArray[np.float32] | list[npt.NDArray[np.float32]]:
        """Vectors of texts, from the encoder alone.

        Several texts go through the encoder in one pass, packed: their tokens lie one after the other and nothing is
        padded. Each gets the bits that it gets alone.

        Parameters
        ----------
        texts
            The texts, their token ids, or sources that have been encoded.
        images
            The images of each text, as :meth:`encode` takes them, or ``None``.
        pooling
            What becomes of a text's hidden states: ``"mean"`` and ``"max"`` over its tokens, that of the ``"first"`` or
            ``"last"`` token, or ``"none"``: one vector per token. All tokens count, bos and eos too.
        normalize
            Scale every vector to length 1.
        batch_size
            Texts of a pass at most.
        layer
            Whose hidden states, as in :meth:`encode`.
        adapters
            As in :meth:`encode`; or a list with one such value for each text.
        pan_and_scan, parse_special
            As in :meth:`encode`.
        truncation
            Of texts that are too long, as in :meth:`encode`.

        Returns
        -------
        numpy.ndarray or list
            float32 [n, hidden_size]; with pooling ``"none"`` a list of n arrays [n_tokens, hidden_size].
            A text without tokens has the zero vector.
        """
        from t5g import embedding

        reader = Reader(self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation)
        pooling_name = arguments.choice("pooling", pooling, embedding.POOLINGS)
        normalize = arguments.flag("normalize", normalize)
        rows_at_once = arguments.integer("batch_size", batch_size, low=1)
        native_layer = self._layer(layer)
        several = arguments.items("texts", texts, "texts", "Write [text] for a single one.")
        requests = reader.several("texts", several, images, adapters)
        reader.tell_what_had_no_effect()
        import numpy as np

        states = embedding.states(self._native, requests, batch_size=rows_at_once, layer=native_layer)
        if pooling_name == "none":
            return [embedding.unit_rows(rows) if normalize else np.array(rows) for rows in states]
        vectors = np.zeros((len(requests), self.config.encoder.hidden_size), np.float32)
        for vector, rows in zip(vectors, states, strict=True):
            vector[:] = embedding.pool(rows, pooling_name)
        return embedding.unit_rows(vectors) if normalize else vectors

    # ---- Adapters ----

    @explained()
    def load_adapter(self, path: str | os.PathLike[str], name: str | None = None, scale: float = 1.0) -> str:
        """Load an adapter (LoRA) beside the model, whose weights stay as they are.

        Calls use all adapters that are loaded, unless they say otherwise (``adapters=``). Sources and generations that
        are under way keep theirs.

        Parameters
        ----------
        path
            A ``.gguf`` file made by ``t5g-convert ADAPTER_DIR --adapter``; or ``"hf:owner/repo"``, whose PEFT adapter
            is converted once.
        name
            What calls name it by. ``None``: the file's name without its suffix.
        scale
            What its part is multiplied with, beside the adapter's own alpha.

        Returns
        -------
        str
            The name.

        Raises
        ------
        FileNotFoundError
        ModelFormatError
            The file is damaged, no adapter, or one of another model or base.
        ValueError
            An adapter of that name is loaded already.
        """
        given = arguments.path("path", path)
        chosen = adapters_of_call.usual_name(given) if name is None else arguments.text("name", name)
        self._native.load_adapter(
            arguments.native_path("path", find_adapter(path)), chosen, arguments.number("scale", scale)
        )
        return chosen

    @explained()
    def unload_adapter(self, name: str) -> None:
        """Take an adapter away: calls compute again what they did without it, to the bit.

        Raises
        ------
        ValueError
            No adapter of that name is loaded.
        """
        self._native.unload_adapter(arguments.text("name", name))

    @property
    def adapters(self) -> Mapping[str, float]:
        """The adapters that are loaded, with the scale of each."""
        return MappingProxyType(dict(self._native.adapters()))

    @explained()
    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], *, chat_template: str | None = None
    ) -> list[int]:
        """Token ids of a conversation, for a model that was trained on them (T5Gemma -it, and fine-tunes).

        Parameters
        ----------
        messages
            ``{"role": ..., "content": ...}`` each. In Gemma's own template roles alternate between ``"user"``, which
            begins, and ``"assistant"`` (or ``"model"``); others have rules of their own. A content is a text, or a
            list of ``{"type": "text", "text": ...}``, which are joined by newlines unless the template takes them
            apart. No content can inject special tokens.
        chat_template
            Name of one of the file's templates, or a template. ``None``: the file's default.

        Returns
        -------
        list of int
            Up to where the model's turn begins: what transformers gives with ``add_generation_prompt=True``.

        Raises
        ------
        ValueError
            The file has no such template, the template refuses the messages or cannot be rendered without letting
            them hold special tokens, or a part of a content is no text.
        ImportError
            The template is not Gemma's own, and jinja2, which renders others, is not installed (extra ``chat``).
        """
        if chat_template is not None:
            chat_template = arguments.text("chat_template", chat_template)
        return self._chat_templates.ids(self._native, messages, chat_template)

    @explained()
    def conversation(
        self,
        *,
        system: str | None = None,
        messages: Sequence[Mapping[str, Any]] = (),
        chat_template: str | None = None,
    ) -> Conversation:
        """Begin a conversation of several turns, for a model with a chat template.

        Parameters
        ----------
        system
            What the model is told before all turns. Where the template has no such role, as Gemma's, it stands before
            the user's first turn.
        messages
            What was said before, as :meth:`apply_chat_template` takes it.
        chat_template
            As in :meth:`apply_chat_template`.

        Returns
        -------
        Conversation
            ``say(text)`` answers, and remembers both.

        Raises
        ------
        ValueError
            The file has no such template.
        """
        from t5g.conversation import Conversation

        return Conversation(self, system=system, messages=messages, chat_template=chat_template)

    # ---- Targets ----

    @explained(generation_options.names)
    def generate(
        self,
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
            Seconds from the call on after which the text ends as it is, with ``finish_reason`` ``"timeout"``.
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
        requests, attentions = self._requests([reader.request(source, images)], reader, return_attention)
        text = generation_options.text(stop, skip_special_tokens, self.generation_defaults)
        return self._run(self._generator(requests, reader, decoder_prefix, text, options, attentions), attentions)[0]

    @explained(generation_options.names)
    def generate_batch(
        self,
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
        requests, attentions = self._requests(reader.requests(sources, images, adapters), reader, return_attention)
        text = generation_options.text(stop, skip_special_tokens, self.generation_defaults)
        generator = self._generator(requests, reader, decoder_prefix, text, options, attentions, rows)
        return self._run(generator, attentions)

    @explained(generation_options.names)
    def generate_iter(
        self,
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
    def stream(
        self,
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
        requests, attentions = self._requests([reader.request(source, images)], reader, return_attention)
        text = generation_options.text(stop, skip_special_tokens, self.generation_defaults)
        generator = self._generator(requests, reader, decoder_prefix, text, options, attentions)
        return Stream(generator, self.load_seconds, attentions[0])

    async def agenerate(self, source: Source, **options: Any) -> Generation:
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

    def astream(self, source: Source, **options: Any) -> AsyncStream:
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

    @explained()
    def score(
        self,
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
    def score_batch(
        self,
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
            raise InvalidArgumentError(f"targets: must be as many as sources, {len(requests)}, got {len(several)}.")
        ids = [reader.target(f"targets[{i}]", target) for i, target in enumerate(several)]
        if arguments.flag("add_eos", add_eos):
            ids = [[*of_target, self.config.eos_token_id[0]] for of_target in ids]
        scores = self._native.score_batch(requests, ids, rows)
        reader.tell_what_had_no_effect()
        return [Score(float(s.sum(dtype="float64")), s, of) for s, of in zip(scores, ids, strict=True)]

    @explained()
    def attention(
        self,
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
        return self._native.attention(encoded, [*self._prompt([]), *ids][: len(ids)], 0)

    @explained()
    def logits(
        self,
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

    # ---- Generating ----

    def _requests(
        self, requests: list[Request], reader: Reader, return_attention: bool
    ) -> tuple[list[Request], list[AttentionOf | None]]:
        """Encode sources whose attention is wanted, so that they are read once."""
        if not arguments.flag("return_attention", return_attention):
            return requests, [None] * len(requests)
        encoded = [reader.encode(request) for request in requests]
        return list(encoded), [AttentionOf(self._native, source) for source in encoded]

    def _prompt(self, prefix: list[int]) -> list[int]:
        """Put the start token in front of a prefix where it is not there. Encoders have none."""
        start = self.config.decoder_start_token_id
        return prefix if start is None or prefix[:1] == [start] else [start, *prefix]

    def _generator(
        self,
        requests: list[Request],
        reader: Reader,
        decoder_prefix: TextOrIds | None,
        text: _core.TextOptions,
        options: Mapping[str, Any],
        attentions: Sequence[AttentionOf | None] = (),
        max_batch_size: int = 1,
    ) -> _core.Generator:
        prefix = [] if decoder_prefix is None else reader.target("decoder_prefix", decoder_prefix)
        for attention in attentions:
            if attention is not None:
                attention.prompt = self._prompt(prefix)
        config = generation_options.config(options, self)
        reader.tell_what_had_no_effect()
        return _core.Generator(self._native, requests, prefix, text, max_batch_size, config)

    def _run(self, generator: _core.Generator, attentions: Sequence[AttentionOf | None]) -> list[Generation]:
        try:
            while generator.step():
                pass
        finally:
            generator.close()  # an error's traceback may keep it
        results = zip(generator.take_results(), attentions, strict=True)
        return [Generation._from_core(result, self.load_seconds, attention) for result, attention in results]
