"""The options of generation: one row of the native table each, which says how a value is taken and what is its default.

Values are checked here for their types and in the native module for their ranges. What an option needs to have an
effect stands here too: asked for in vain, it is told once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from t5g import _core, arguments, constraints
from t5g.errors import ModelFormatError
from t5g.messages import Argument, Part, listed, told
from t5g.sources import one_row

if TYPE_CHECKING:
    from t5g.generation_defaults import GenerationDefaults
    from t5g.model import Model


class GenerateOptions(TypedDict, total=False):
    """Keyword arguments that generate, stream and generate_batch share; meanings are in :meth:`t5g.Model.generate`."""

    max_new_tokens: int
    min_new_tokens: int
    seed: int | None
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    epsilon_cutoff: float
    eta_cutoff: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    encoder_repetition_penalty: float
    encoder_no_repeat_ngram_size: int
    logit_bias: Mapping[int, float] | None
    suppress_tokens: Sequence[int] | None
    bad_words: Sequence[str | Sequence[int]] | None
    forced_bos_token_id: int | None
    eos_token_ids: int | Sequence[int] | None
    num_beams: int
    length_penalty: float
    early_stopping: bool | Literal["never"]
    num_return_sequences: int
    alternatives: int
    logprobs: int | None
    timeout: float | None
    draft: Literal["source", "off"]
    choices: Sequence[str] | None
    regex: str | None
    json_schema: Mapping[str, Any] | str | None
    grammar: str | None
    allowed_tokens: Callable[[list[int]], Any] | None


@functools.cache
def table() -> Mapping[str, Mapping[str, Any]]:
    """The native table by name: type, default, min, max, min_excluded and help of every option."""
    return {row["name"]: row for row in _core.sampling.option_table()}


def names() -> list[str]:
    """Give the names of all options: those of the table, and of constraints."""
    return [*table(), *constraints.NAMES]


# ---- Values ----

# None is their way to say nothing, as in OpenAI's API.
_OR_NONE = ("logprobs", "timeout")


def _integer(name: str, value: object) -> int:
    return arguments.integer(name, value, advice=_how_to_leave_out(name, value))


def _number(name: str, value: object) -> float:
    return arguments.number(name, value, advice=_how_to_leave_out(name, value))


def _seed(name: str, value: object) -> int | None:
    return None if value is None else arguments.integer(name, value)


def _id(name: str, value: object) -> int | None:
    return None if value is None else arguments.integer(name, value, low=0)


def _ids(name: str, value: Any) -> list[int]:
    if value is None:
        return []
    several = [value] if hasattr(value, "__index__") and not arguments.is_array(value) else one_row(name, value)
    return [arguments.integer(f"{name}[{i}]", token) for i, token in enumerate(several)]


def _id_lists(name: str, value: Any) -> list[list[int]]:
    several = [] if value is None else arguments.items(name, value, "texts or of lists of token ids")
    return [_ids(f"{name}[{i}]", one_row(f"{name}[{i}]", ids)) for i, ids in enumerate(several)]


def _bias(name: str, value: Any) -> dict[int, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise arguments.wrong_type(name, "a dict {token id: bias}", value)
    return {
        arguments.integer(f"{name}'s token", _key(token)): arguments.number(f"{name}[{token}]", bias)
        for token, bias in value.items()
    }


def _key(token: object) -> object:
    # JSON has no other keys than texts.
    return int(token) if isinstance(token, str) and token.isdecimal() and len(token) < 10 else token


def _early_stopping(name: str, value: object) -> object:
    return value if isinstance(value, str) or value is None else arguments.flag(name, value)


def _how_to_leave_out(name: str, value: object) -> str:
    return f"Leave it out for the default, {table()[name]['default']}." if value is None else ""


# By the type in the table. What is not here is taken as it is and checked by the native module.
_TAKE: dict[str, Callable[[str, Any], object]] = {
    "int": _integer,
    "float": _number,
    "seed": _seed,
    "early_stopping": _early_stopping,
    "id": _id,
    "ids": _ids,
    "id_lists": _id_lists,
    "bias": _bias,
}


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Take options of any number type, NumPy's too, as the native module wants them."""
    rows = table()
    return {
        name: _TAKE.get(rows[name]["type"], _as_it_is)(name, value)
        for name, value in options.items()
        if not (value is None and name in _OR_NONE)
    }


def _as_it_is(name: str, value: object) -> object:
    return value


def config(given: Mapping[str, Any], model: Model) -> _core.sampling.GenerationConfig:
    """Make the native options of a call to a model, and tell what of those given has no effect."""
    options = {name: value for name, value in given.items() if name not in constraints.NAMES}
    if options.get("bad_words") is not None:
        options["bad_words"] = list(_bad_words(options["bad_words"], model))
    values = checked(options)
    usual = fitting(model.generation_defaults, values)
    _check_tokens(usual, model)
    constraint = constraints.make(given, model)
    limit = {} if constraint is None else {"constraint": constraint}
    made = _core.sampling.GenerationConfig(**usual | values, **limit)
    for parts in without_effect(values, usual):
        arguments.warn_once(*parts)
    return made


def _check_tokens(usual: Mapping[str, Any], model: Model) -> None:
    """Raise ModelFormatError for a default of the file that names a token it has not: no argument is to blame."""
    size = model.config.vocab_size
    for name, value in usual.items():
        if table()[name]["type"] not in ("id", "ids", "id_lists") or value is None:
            continue
        several = [value] if isinstance(value, int) else value
        ids = (token for item in several for token in ([item] if isinstance(item, int) else item))
        if (worst := max(ids, default=0)) >= size:
            raise told(
                ModelFormatError,
                f"{model.path}: its own default of {name} has token {worst}, but its vocabulary has {size:,}. Give ",
                Argument(name),
                ", which counts instead, or mend generation_config.json and convert the checkpoint again.",
            )


def _bad_words(value: Any, model: Model) -> Iterator[Any]:
    """Give the ids of each, texts as they are and after a space."""
    for i, word in enumerate(arguments.items("bad_words", value, "texts or of lists of token ids")):
        if not isinstance(word, str):
            yield word
            continue
        name = f"bad_words[{i}]"
        if not arguments.text(name, word):
            raise arguments.wrong_value(name, "a text of one character or more", word)
        for spelled in dict.fromkeys([word, word if word[0].isspace() else f" {word}"]):
            yield model.tokenizer.encode(spelled, add_special_tokens=False)


def fitting(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the defaults of a file that a call has not said anything else about, or that its arguments rule out.

    Who asks for beam search gets no sampling because the file has it, nor the other way about; and a limit that is
    given lowers what the file has beyond it.
    """
    rows = table()
    usual = {name: value for name, value in defaults.items() if name in rows and name not in given}
    if not usual:
        return usual
    if given.get("alternatives", 0) > 0:
        other = ("temperature", "num_beams", "num_return_sequences", *_OF_SAMPLING, *_OF_BEAM_SEARCH)
        usual = {name: value for name, value in usual.items() if name not in other}
    elif given.get("temperature", 0) > 0:
        usual = {name: value for name, value in usual.items() if name not in ("num_beams", *_OF_BEAM_SEARCH)}
    elif given.get("num_beams", 1) > 1:
        usual = {name: value for name, value in usual.items() if name not in ("temperature", *_OF_SAMPLING)}
    values = {name: row["default"] for name, row in rows.items()} | usual | dict(given)
    if "min_new_tokens" in usual:
        usual["min_new_tokens"] = min(usual["min_new_tokens"], values["max_new_tokens"])
    if "num_return_sequences" in usual and not values["temperature"] > 0:
        usual["num_return_sequences"] = min(usual["num_return_sequences"], values["num_beams"])
    return usual


def plain(**given: Any) -> dict[str, Any]:
    """Give every option, those that are not given with t5g's own default, so that no file's defaults count."""
    return {name: row["default"] for name, row in table().items()} | given


def stops(stop: object, default: Sequence[str] = ()) -> list[str]:
    """Take stop strings: several, one, none, or where nothing is said (None) those of the file."""
    if stop is None:
        return list(default)
    several = [stop] if isinstance(stop, str) else arguments.items("stop", stop, "str, or one str")
    for i, one in enumerate(several):
        name = "stop" if isinstance(stop, str) else f"stop[{i}]"
        if not arguments.text(name, one):
            raise arguments.wrong_value(name, "a text of one character or more", one, "It would end every text.")
    return several


def text(stop: object, skip_special_tokens: object, defaults: GenerationDefaults) -> _core.TextOptions:
    """Take what says how tokens become text."""
    return _core.TextOptions(stops(stop, defaults.stop), arguments.flag("skip_special_tokens", skip_special_tokens))


# ---- Effects ----

_OF_SAMPLING = ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "seed")
_OF_BEAM_SEARCH = ("length_penalty", "early_stopping")
_TEMPERATURE, _BEAMS = Argument("temperature"), Argument("num_beams")
_NO_SAMPLING: list[Part] = ["the likeliest token is taken. Set ", _TEMPERATURE, " above 0 to sample."]
_NO_SAMPLING_OF_BEAMS: list[Part] = [
    "beam search does not sample. Set ", _TEMPERATURE, " above 0, and not ", _BEAMS, ", to sample."
]  # fmt: skip
_NO_BEAM_SEARCH: list[Part] = ["there is no beam search. Set ", _BEAMS, " above 1 to have it."]


def without_effect(given: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> list[list[Part]]:
    """Say which of some options change nothing, as the others are.

    Parameters
    ----------
    given
        Options by name, as :func:`checked` has them; those that are missing have their defaults, and those that have
        their defaults ask for nothing.
    usual
        Options of the file's that are not given.

    Returns
    -------
    list
        A message for every reason, with the names of the options that it is for.
    """
    rows = table()
    values = {name: row["default"] for name, row in rows.items()} | dict(usual or {}) | dict(given)
    asked = [name for name in given if given[name] != rows[name]["default"]]
    beams = values["num_beams"] > 1
    reasons: list[tuple[Sequence[str], list[Part]]] = []
    if not values["temperature"] > 0:
        reasons.append((_OF_SAMPLING, _NO_SAMPLING_OF_BEAMS if beams else _NO_SAMPLING))
    if not beams:
        reasons.append((_OF_BEAM_SEARCH, _NO_BEAM_SEARCH))
    found = []
    for names, reason in reasons:
        if idle := [name for name in names if name in asked]:
            found.append([*listed(idle), f" {'has' if len(idle) == 1 else 'have'} no effect: ", *reason])
    return found
