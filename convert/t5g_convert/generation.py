"""generation_config.json to the file's defaults of generation, and a note on what t5g has no option for.

transformers takes these from config.json where that file is missing, and looks at temperature and its like only where
`do_sample` is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t5g._core.sampling import GenerationConfig
from t5g.errors import T5gError

from t5g_convert.safetensors import read_json

_DIRECT = (
    "max_new_tokens",
    "min_new_tokens",
    "num_beams",
    "early_stopping",
    "length_penalty",
    "num_return_sequences",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "forced_bos_token_id",
    "suppress_tokens",
)
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_SAMPLING_DEFAULTS = {"temperature": 1.0, "top_k": 50}  # transformers', where do_sample is true
_LENGTHS = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}
_RENAMED = {"bad_words_ids": "bad_words"}
_OF_TOKENS = ("forced_bos_token_id", "suppress_tokens", "bad_words")
# Of those above, the values that ask for nothing and are not worth a key.
_NOTHING: dict[str, Any] = {
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "suppress_tokens": [],
    "bad_words_ids": [],
}
# What t5g has no option for, with the value that changes nothing.
_WITHOUT_OPTION: dict[str, Any] = {
    "forced_eos_token_id": None,
    "begin_suppress_tokens": [],
    "force_words_ids": [],
    "sequence_bias": {},
    "constraints": [],
    "exponential_decay_length_penalty": None,
    "top_h": None,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "penalty_alpha": None,
    "guidance_scale": 1.0,
    "dola_layers": None,
    "watermarking_config": None,
    "max_time": None,
    "renormalize_logits": False,
    "token_healing": False,
}
# What is read elsewhere, or changes no text.
_ELSEWHERE = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "do_sample", "stop_strings")
_WITHOUT_EFFECT = (
    "transformers_version",
    "_from_model_config",
    "use_cache",
    "cache_implementation",
    "cache_config",
    "max_cache_len",
    "return_legacy_cache",
    "low_memory",
    "return_dict_in_generate",
    "remove_invalid_values",
    "compile_config",
    "disable_compile",
    "prefill_chunk_size",
    "continuous_batching_config",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "output_logits",
    "is_assistant",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_lookbehind",
    "target_lookbehind",
    "assistant_ensemble_weight",
    "assistant_ignore_eos_tokens",
    "prompt_lookup_num_tokens",
    "max_matching_ngram_size",
    "speculation_type",
    "use_mtp",
)


@dataclass
class GenerationDefaults:
    """The options that a checkpoint asks for, under t5g's names, and what of its wishes is left out."""

    options: dict[str, Any] = field(default_factory=dict)
    stop: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_generation_defaults(folder: Path, vocab_size: int | None = None) -> GenerationDefaults:
    """Read the defaults of a checkpoint folder.

    vocab_size: tokens beyond it, which the model cannot write, are left out.
    """
    path = folder / "generation_config.json"
    if path.is_file():
        wishes = read_json(path)
    else:
        path = folder / "config.json"
        known = (*_DIRECT, *_SAMPLING, *_LENGTHS, *_RENAMED, *_WITHOUT_OPTION, "do_sample", "stop_strings")
        wishes = {key: value for key, value in read_json(path).items() if key in known}
    wishes = {
        key: value
        for key, value in wishes.items()
        if value is not None and not (key in _NOTHING and value == _NOTHING[key])
    }
    found = GenerationDefaults()
    left_out = _without_option(wishes)
    asked = _asked(wishes, found.notes, path.name)
    for name, value in asked.items():
        try:
            GenerationConfig(**{name: value} | _room(name, value))
            if name in _OF_TOKENS and any(type(token) is not int for token in _tokens(value)):
                raise TypeError(name)  # true is no token, though Python counts it as 1
            found.options[name] = value
        except (T5gError, TypeError):
            left_out[name] = value
    if vocab_size is not None:
        found.notes += [f"{path.name}: {note}" for note in _leave_out_unreachable(found.options, vocab_size)]
    for reason, names in _conflicts(found.options):
        left_out |= {name: found.options.pop(name) for name in names}
        found.notes.append(f"{path.name}: {reason}")
    stop = wishes.get("stop_strings", [])
    found.stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(found.stop, list) or not all(isinstance(text, str) and text for text in found.stop):
        left_out["stop_strings"], found.stop = stop, []
    if left_out:
        listed = ", ".join(f"{name} = {_short(value)}" for name, value in left_out.items())
        found.notes.append(f"{path.name} asks for what is not taken over: {listed}.")
    return found


def _without_option(wishes: Mapping[str, Any]) -> dict[str, Any]:
    handled = {*_DIRECT, *_SAMPLING, *_LENGTHS, *_RENAMED, *_ELSEWHERE, *_WITHOUT_EFFECT}
    return {
        key: value
        for key, value in wishes.items()
        if key not in handled and not (key in _WITHOUT_OPTION and value == _WITHOUT_OPTION[key])
    }


def _asked(wishes: Mapping[str, Any], notes: list[str], file: str) -> dict[str, Any]:
    """Give the options that are asked for, in t5g's terms."""
    asked = {name: wishes[name] for name in _DIRECT if name in wishes}
    asked |= {ours: wishes[theirs] for theirs, ours in _RENAMED.items() if theirs in wishes}
    for theirs, ours in _LENGTHS.items():
        # Theirs count the start token.
        if theirs in wishes and ours not in asked:
            value = wishes[theirs]
            asked[ours] = max(value - 1, 0) if type(value) is int else value
    sampling = {name: wishes[name] for name in _SAMPLING if name in wishes}
    if wishes.get("do_sample") is True:
        return asked | _SAMPLING_DEFAULTS | sampling
    if sampling:
        notes.append(
            f"{file} has {', '.join(sampling)} but not do_sample = true: without effect, as in transformers. "
            "temperature=... samples."
        )
    return asked


def _room(name: str, value: Any) -> dict[str, Any]:
    """What an option needs beside it, so that it can be checked by itself."""
    if name == "min_new_tokens":
        return {"max_new_tokens": max(value, 1)}
    return {"temperature": 1.0} if name == "num_return_sequences" else {}


def _tokens(value: Any) -> list[Any]:
    """Give the ids of a token, of several, or of several texts."""
    if not isinstance(value, list | tuple):
        return [value]
    return [token for item in value for token in _tokens(item)]


def _leave_out_unreachable(options: dict[str, Any], vocab_size: int) -> list[str]:
    """Take off what names tokens that the model has not, and would be refused whenever it generates. Gives notes."""
    notes = []
    for name in _OF_TOKENS:
        if name not in options:
            continue
        beyond = [token for token in _tokens(options[name]) if token >= vocab_size]
        if not beyond:
            continue
        kept = []
        if isinstance(options[name], list):
            kept = [item for item in options[name] if max(_tokens(item)) < vocab_size]
        if kept:
            options[name] = kept
        else:
            del options[name]
        theirs = next((theirs for theirs, ours in _RENAMED.items() if ours == name), name)
        listed = _short(beyond).strip("[]")
        notes.append(f"{theirs} names tokens beyond the vocabulary of {vocab_size:,}, which are left out: {listed}.")
    return notes


def _conflicts(options: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Say which options t5g cannot have together: the reason, and those that are left out."""
    found = []
    beams, temperature = options.get("num_beams", 1), options.get("temperature", 0.0)
    if beams > 1 and temperature > 0:
        names = [name for name in _SAMPLING if name in options]
        found.append(("beam search that samples is none of t5g's. Beam search is taken.", names))
        temperature = 0.0
    n = options.get("num_return_sequences", 1)
    if n > (beams if beams > 1 else n if temperature > 0 else 1):
        found.append(("there are fewer beams or samples than sequences to return.", ["num_return_sequences"]))
    if options.get("min_new_tokens", 0) > options.get("max_new_tokens", 256):
        found.append(("the shortest text is longer than the longest.", ["min_new_tokens"]))
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
