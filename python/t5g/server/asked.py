"""What a request asks of generation: OpenAI's fields and t5g's own, to the options of :meth:`t5g.Model.generate`.

Every option of t5g is a field under its own name; some have OpenAI's name or form too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from t5g import adapters as adapters_of_call
from t5g import arguments, truncation
from t5g import options as generation_options
from t5g.errors import T5gError
from t5g.server.errors import ApiError, as_api_error, wrong
from t5g.server.forms import written_form
from t5g.server.work import Spec
from t5g.sources import Reader

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.server.bodies import Fields
    from t5g.server.settings import Settings
    from t5g.sources import Request

# OpenAI's names of options.
ALIASES = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens", "n": "num_return_sequences"}

# What JSON cannot say, and what means something of its own here.
_OTHERS = ("allowed_tokens", "timeout", "logprobs", "logit_bias")

# OpenAI's fields that t5g has nothing for, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
}
_IGNORED = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
)


@dataclass
class Asked:
    """The fields of a request that do not say what the source is.

    Attributes
    ----------
    given
        Options of generation.
    switches
        What sources are read with.
    n_top
        How many of the likeliest tokens are told at each place; ``None``: no log-probabilities at all.
    field_names
        The request's names for options that have come under others than their own.
    """

    given: dict[str, Any]
    stop: list[str] | str | None
    decoder_prefix: str | list[int] | None
    switches: dict[str, Any]
    skip_special_tokens: bool
    stream: bool
    include_usage: bool
    return_token_ids: bool
    timeout: float
    max_rows: int
    n_top: int | None
    field_names: dict[str, str] = field(default_factory=dict)
    n_per_source: int = 1

    def reader(self, model: Model) -> Reader:
        """What reads sources as this request wants it."""
        return Reader(model, **self.switches)

    def specs(self, model: Model, reader: Reader, requests: list[Request]) -> list[Spec]:
        """The work of each source; checks all options."""
        prefix = [] if self.decoder_prefix is None else reader.target("decoder_prefix", self.decoder_prefix)
        config = generation_options.config(self.given, model)
        n_rows = max(config.num_return_sequences, config.num_beams, config.alternatives)
        if n_rows > self.max_rows:
            raise wrong("n", f"n and num_beams: must be at most {self.max_rows} on this server, got {n_rows}.")
        self.n_per_source = config.alternatives or config.num_return_sequences
        text = generation_options.text(self.stop, self.skip_special_tokens, model.generation_defaults)
        return [Spec(request, prefix, config, text, self.stream) for request in requests]

    @contextmanager
    def naming_fields(self) -> Iterator[None]:
        """Tell of wrong options under the names that the request has for them."""
        try:
            yield
        except T5gError as error:
            raise as_api_error(error, names=self.field_names) from None


def take_asked(
    fields: Fields,
    model: Model,
    settings: Settings,
    *,
    is_chat: bool,
    aliases: Mapping[str, str] = ALIASES,
    form: Fields | None = None,
) -> Asked:
    """Take all fields of generation.

    Parameters
    ----------
    aliases
        The request's names of options that have others in t5g.
    form
        Of the answer, where the request has it elsewhere than in `response_format`.
    """
    include_usage = _include_usage(fields)
    given, field_names = _options(fields, aliases)
    given |= _logprobs(fields, field_names, is_chat=is_chat) | _logit_bias(fields)
    given |= written_form(fields, form, given, field_names)
    fields.neutral(_NEUTRAL)
    fields.ignore(*_IGNORED)
    stream, n_top = fields.flag("stream"), given.get("logprobs")
    if stream and n_top == 0:
        given["logprobs"] = 1  # those of its own tokens are then computed with each, and not when somebody asks
    return Asked(
        given=given,
        field_names=field_names,
        n_top=n_top,
        max_rows=settings.max_batch_size,
        stop=fields.take("stop"),
        decoder_prefix=fields.take("decoder_prefix"),
        switches=take_switches(fields, model, settings),
        skip_special_tokens=fields.flag("skip_special_tokens", True),
        stream=stream,
        include_usage=include_usage,
        return_token_ids=fields.flag("return_token_ids"),
        timeout=fields.number("timeout", 0, settings.timeout_seconds) or settings.timeout_seconds,
    )


def take_switches(fields: Fields, model: Model, settings: Settings) -> dict[str, Any]:
    """Take the fields that say how sources are read: which of the model's adapters, and the switches of a reader."""
    switches: dict[str, Any] = {name: fields.flag(name) for name in ("parse_special", "pan_and_scan")}
    switches["truncation"] = truncation.word(fields.take("truncation", "error"))
    return switches | {"adapters": take_adapters(fields, model, settings)}


def take_adapters(fields: Fields, model: Model, settings: Settings) -> Any:
    """The field of this name, or one that is named behind the model: NAME:ADAPTER. All other names are the model's."""
    name, given = fields.text("model") or "", fields.take("adapters")
    for one, _ in adapters_of_call.choice(given) or ():
        if one not in model.adapters:  # the model's own message says what to call, which no client can
            raise wrong("adapters", f"adapters: there is no adapter {arguments.found(one)} here. {_which(model)}")
    base, _, adapter = name.rpartition(":")
    if base != settings.model_name:
        return given
    if adapter not in model.adapters:
        message = f"model: has no adapter {arguments.found(adapter)}. {_which(model)}"
        raise ApiError(404, message, param="model", code="model_not_found")
    if given is not None:
        raise wrong("adapters", "adapters: are there beside a model that names one. Leave one out.")
    return adapter


def _which(model: Model) -> str:
    if model.adapters:
        return "GET /v1/models lists what there is, behind the model's name."
    return "This server has none: who starts it gives them with t5g-serve --lora."


def _include_usage(fields: Fields) -> bool:
    options = fields.inner("stream_options")
    if options is None:
        return False
    include_usage = options.flag("include_usage")
    options.neutral({"include_obfuscation": (False,)})
    options.done()
    return include_usage


def _options(fields: Fields, aliases: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    given = fields.several(name for name in generation_options.names() if name not in _OTHERS)
    field_names: dict[str, str] = {}
    for alias, name in aliases.items():
        value = fields.take(alias)
        if value is None:
            continue
        if name in given:
            raise wrong(alias, f"{alias}: is there beside {field_names.get(name, name)}. Leave one out.")
        given[name] = value
        field_names[name] = alias
    return given, field_names


def _logprobs(fields: Fields, field_names: dict[str, str], *, is_chat: bool) -> dict[str, Any]:
    """In completions their number; in chats whether there are any, and their number beside it."""
    if not is_chat:
        n = fields.take("logprobs")
        return {} if n is None or n is False else {"logprobs": n}
    wanted, n = fields.flag("logprobs"), fields.take("top_logprobs")
    if n is not None and not wanted:
        raise wrong("top_logprobs", "top_logprobs: needs logprobs: true.")
    if n is not None:
        field_names["logprobs"] = "top_logprobs"  # which has the number
    return {"logprobs": n or 0} if wanted else {}


def _logit_bias(fields: Fields) -> dict[str, Any]:
    """JSON has texts for keys, which stand for token ids."""
    biases = fields.take("logit_bias", {})
    if not isinstance(biases, dict):
        raise wrong("logit_bias", f"logit_bias: must be an object of ids and numbers, got {arguments.found(biases)}.")
    for key in biases:
        if not (key.isascii() and key.isdigit() and len(key) < 10):
            raise wrong("logit_bias", f"logit_bias: must have token ids as keys, got {arguments.found(key)}.")
    return {"logit_bias": {int(key): value for key, value in biases.items()}} if biases else {}


def data_uris(images: object, settings: Settings, name: str = "images") -> list[str]:
    """Check images: data URIs and nothing else, since no file is opened, or fetched, for a request."""
    if not isinstance(images, list):
        raise wrong(name, f"{name}: must be a list of data URIs, got {arguments.found(images)}.")
    if len(images) > settings.max_images:
        raise wrong(name, f"{name}: there are {len(images)}, expected at most {settings.max_images}.")
    for image in images:
        if not isinstance(image, str) or image[:5].lower() != "data:":
            message = f"{name}: must be data URIs (data:image/png;base64,...), got {arguments.found(image)}."
            raise wrong(name, message)
    return images
