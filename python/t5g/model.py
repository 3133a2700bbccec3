"""The model: everything that t5g does goes through this class.

Opening, closing and what a model says of itself are here; its calls are functions in ``t5g.calls``, one file for each
kind. NumPy is imported by what needs arrays: text in, text out starts a tenth of a second earlier without it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from t5g import _core, arguments
from t5g.calls import adapting, chatting, encoding, generating, scoring
from t5g.chat_templates import ChatTemplates
from t5g.config import Config
from t5g.errors import ArgumentTypeError, InvalidArgumentError
from t5g.generation_defaults import GenerationDefaults
from t5g.keywords import explained
from t5g.memory import MemoryNeeds
from t5g.messages import Argument
from t5g.model_files import find_model
from t5g.tokenizer import Tokenizer

if TYPE_CHECKING:
    from types import TracebackType


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
        self.encoder_window = str(encoder_window)
        """As it was given, as the next two are."""
        self.source_cache = str(source_cache)
        """What is kept of a source for the decoder."""
        self.source_cache_budget = int(source_cache_budget)
        """Bytes of one source's keys and values up to which ``"auto"`` keeps those."""
        self.load_seconds = time.perf_counter() - start
        """Time that opening the file took."""
        self.config: Config = Config._from_core(self._core.config)
        """What the model is."""
        self.tokenizer: Tokenizer = Tokenizer(self._core.tokenizer)
        """Its tokenizer."""
        self.generation_defaults: GenerationDefaults = GenerationDefaults(self._core)
        """What generation does where an argument is not given: the options that the file has."""
        self._chat_templates = ChatTemplates(self._core, str(self.path))
        self._adapter_files: dict[str, str] = {}  # by name, for who writes down which they are
        if encoder_window == "inclusive" and self.config.architecture == "t5gemma2":
            arguments.warn_once(
                Argument("encoder_window"), " has no effect on T5Gemma 2: only T5Gemma (the first) has two."
            )

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
        """The longest target, in tokens that the decoder reads: start token, prefix, what it wrote but the last one."""
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

    # ---- Adapters ----

    load_adapter = adapting.load_adapter
    unload_adapter = adapting.unload_adapter

    @property
    def adapters(self) -> Mapping[str, float]:
        """The adapters that are loaded, with the scale of each."""
        return MappingProxyType(dict(self._native.adapters()))

    # ---- Conversations ----

    apply_chat_template = chatting.apply_chat_template
    conversation = chatting.conversation

    # ---- Sources ----

    encode = encoding.encode
    embed = encoding.embed

    # ---- Targets to be written ----

    generate = generating.generate
    generate_batch = generating.generate_batch
    generate_iter = generating.generate_iter
    stream = generating.stream
    agenerate = generating.agenerate
    astream = generating.astream

    # ---- Targets that are given ----

    score = scoring.score
    score_batch = scoring.score_batch
    attention = scoring.attention
    logits = scoring.logits
