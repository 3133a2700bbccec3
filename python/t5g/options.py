"""The options of generation: one row of the native table each, which says how a value is taken and what is its default.

Values are checked here for their types and in the native module for their ranges. What an option needs to have an
effect stands here too: asked for in vain, it is told once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from t5g import _core, arguments

if TYPE_CHECKING:
    from t5g.generation_defaults import GenerationDefaults


class GenerateOptions(TypedDict, total=False):
    """Keyword arguments that generate, stream and generate_batch share; meanings are in :meth:`t5g.Model.generate`."""

    max_new_tokens: int
    min_new_tokens: int
    seed: int | None
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    num_beams: int
    length_penalty: float
    early_stopping: bool | Literal["never"]
    num_return_sequences: int
    draft: Literal["source", "off"]


@functools.cache
def table() -> Mapping[str, Mapping[str, Any]]:
    """The native table by name: type, default, min, max, min_excluded and help of every option."""
    return {row["name"]: row for row in _core.sampling.option_table()}


# ---- Values ----


def _integer(name: str, value: object) -> int:
    return arguments.integer(name, value, advice=_how_to_leave_out(name, value))


def _number(name: str, value: object) -> float:
    return arguments.number(name, value, advice=_how_to_leave_out(name, value))


def _seed(name: str, value: object) -> int | None:
    return None if value is None else arguments.integer(name, value)


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
}


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Take options of any number type, NumPy's too, as the native module wants them."""
    rows = table()
    return {name: _TAKE.get(rows[name]["type"], _as_it_is)(name, value) for name, value in options.items()}


def _as_it_is(name: str, value: object) -> object:
    return value


def config(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> _core.sampling.GenerationConfig:
    """Make the native options of a call, and tell what of those given has no effect. defaults: of the model's file."""
    values = checked(given)
    usual = fitting(defaults, values)
    made = _core.sampling.GenerationConfig(**usual | values)
    for message in without_effect(values, usual):
        arguments.warn_once(message)
    return made


def fitting(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the defaults of a file that a call has not said anything else about, or that its arguments rule out.

    Who asks for beam search gets no sampling because the file has it, nor the other way about; and a limit that is
    given lowers what the file has beyond it.
    """
    rows = table()
    usual = {name: value for name, value in defaults.items() if name in rows and name not in given}
    if not usual:
        return usual
    if given.get("temperature", 0) > 0:
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

_OF_SAMPLING = ("top_k", "top_p", "min_p", "seed")
_OF_BEAM_SEARCH = ("length_penalty", "early_stopping")
_NO_SAMPLING = "the likeliest token is taken. Set temperature above 0 to sample."
_NO_SAMPLING_OF_BEAMS = "beam search does not sample. Set temperature above 0, and not num_beams, to sample."
_NO_BEAM_SEARCH = "there is no beam search. Set num_beams above 1 to have it."


def without_effect(given: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> list[str]:
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
    list of str
        A sentence for every reason, with the names of the options that it is for.
    """
    rows = table()
    values = {name: row["default"] for name, row in rows.items()} | dict(usual or {}) | dict(given)
    asked = [name for name in given if given[name] != rows[name]["default"]]
    beams = values["num_beams"] > 1
    reasons: list[tuple[Sequence[str], str]] = []
    if not values["temperature"] > 0:
        reasons.append((_OF_SAMPLING, _NO_SAMPLING_OF_BEAMS if beams else _NO_SAMPLING))
    if not beams:
        reasons.append((_OF_BEAM_SEARCH, _NO_BEAM_SEARCH))
    found = []
    for names, reason in reasons:
        if idle := [name for name in names if name in asked]:
            listed = " and ".join(filter(None, [", ".join(idle[:-1]), idle[-1]]))
            found.append(f"{listed} {'has' if len(idle) == 1 else 'have'} no effect: {reason}")
    return found
