"""What a request asks of generation: OpenAI's fields and t5g's own, to the options of :meth:`t5g.Model.generate`.

Every option of t5g is a field under its own name; some have OpenAI's name or form too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from t5g import arguments, truncation
from t5g import options as generation_options
from t5g.errors import T5gError
from t5g.server.errors import ApiError, as_api_error, wrong
from t5g.server.work import Spec
from t5g.sources import Reader

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.server.bodies import Fields
    from t5g.server.settings import Settings
    from t5g.sources import Request

# OpenAI's names of options.
_ALIASES = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens", "n": "num_return_sequences"}

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


def take_asked(fields: Fields, model: Model, settings: Settings, *, is_chat: bool) -> Asked:
    """Take all fields of generation."""
    options = fields.take("stream_options", {})
    if not isinstance(options, dict):
        raise wrong("stream_options", f"stream_options: must be an object, got {arguments.found(options)}.")
    given, field_names = _options(fields)
    given |= _logprobs(fields, is_chat=is_chat) | _logit_bias(fields) | _response_format(fields, given)
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
        include_usage=options.get("include_usage") is True,
        return_token_ids=fields.flag("return_token_ids"),
        timeout=fields.number("timeout", 0, settings.timeout_seconds) or settings.timeout_seconds,
    )


def take_switches(fields: Fields, model: Model, settings: Settings) -> dict[str, Any]:
    """Take the fields that say how sources are read: which of the model's adapters, and the switches of a reader."""
    switches: dict[str, Any] = {name: fields.flag(name) for name in ("parse_special", "pan_and_scan")}
    switches["truncation"] = truncation.word(fields.take("truncation", "error"))
    return switches | {"adapters": _adapters(fields, model, settings)}


def _adapters(fields: Fields, model: Model, settings: Settings) -> Any:
    """The field of this name, or one that is named behind the model: NAME:ADAPTER. All other names are the model's."""
    name, given = fields.text("model") or "", fields.take("adapters")
    base, _, adapter = name.rpartition(":")
    if base != settings.model_name:
        return given
    if adapter not in model.adapters:
        message = f"model: has no adapter {arguments.found(adapter)}. GET /v1/models lists what there is."
        raise ApiError(404, message, param="model", code="model_not_found")
    if given is not None:
        raise wrong("adapters", "adapters: are there beside a model that names one. Leave one out.")
    return adapter


def _options(fields: Fields) -> tuple[dict[str, Any], dict[str, str]]:
    given = fields.several(name for name in generation_options.names() if name not in _OTHERS)
    field_names: dict[str, str] = {}
    for alias, name in _ALIASES.items():
        value = fields.take(alias)
        if value is None:
            continue
        if name in given:
            raise wrong(alias, f"{alias}: is there beside {field_names.get(name, name)}. Leave one out.")
        given[name] = value
        field_names[name] = alias
    return given, field_names


def _logprobs(fields: Fields, *, is_chat: bool) -> dict[str, Any]:
    """In completions their number; in chats whether there are any, and their number beside it."""
    if not is_chat:
        n = fields.take("logprobs")
        return {} if n is None or n is False else {"logprobs": n}
    wanted, n = fields.flag("logprobs"), fields.take("top_logprobs")
    if n is not None and not wanted:
        raise wrong("top_logprobs", "top_logprobs: needs logprobs: true.")
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


def _response_format(fields: Fields, given: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's way to ask for JSON."""
    name = "response_format"
    form = fields.take(name)
    if form is None:
        return {}
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "text":
        return {}
    if kind not in ("json_object", "json_schema"):
        raise wrong(name, f"{name}: must have the type text, json_object or json_schema, got {arguments.found(kind)}.")
    if "json_schema" in given:
        raise wrong(name, f"{name}: is there beside json_schema. Leave one out.")
    if kind == "json_object":
        return {"json_schema": {"type": "object"}}
    inner = form.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if not isinstance(schema, dict):
        raise wrong(name, f"{name}: must have json_schema.schema, an object, got {arguments.found(schema)}.")
    return {"json_schema": schema}


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
