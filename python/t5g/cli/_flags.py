"""The library's arguments as a command spells them, so that what it is told of is something that it can be given.

Most flags are an argument's name with dashes; those that are not stand here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_OTHERWISE = {
    "n_threads": "--threads",
    "temperature": "--temp",
    "repetition_penalty": "--repeat-penalty",
    "no_repeat_ngram_size": "--no-repeat-ngram",
    "encoder_repetition_penalty": "--encoder-repeat-penalty",
    "encoder_no_repeat_ngram_size": "--encoder-no-repeat-ngram",
    "bad_words": "--bad-word",
    "choices": "--choice",
    "images": "--image",
    "adapters": "--lora",
    "forced_bos_token_id": "--forced-bos",
    "eos_token_ids": "--eos-token",
    "parse_special": "--special",
    "max_batch_size": "--batch-size",
    "scale": "--lora",
}
# What these take is not what the flag does.
_OF_ANOTHER_KIND = ("adapters", "scale")
# Those that are words of their own, and mean the argument only where a message begins with it or gives it a value.
_WORDS = {
    "temperature", "choices", "images", "adapters", "reference", "seed", "stop", "device", "truncation", "regex",
    "grammar", "timeout", "logprobs", "alternatives", "draft", "encoding", "load", "lengths", "depths", "samples",
    "layer", "scale",
}  # fmt: skip
# A name, and not part of a path, of a file's name or of a place in a list.
_NAME = r"(?<![\w/.\[-])([a-z]\w*)(?![\w/\[-]|\.\w)"
_TO_GIVE = re.compile(_NAME + r"=(?:\.\.\.)?(?=[;:,. ]|$)")  # `truncation=` or `truncation=...`: an invitation
_GIVEN = re.compile(_NAME + r"(?= ?=)")
_AT_THE_BEGINNING = re.compile(r"^([a-z]\w*)(?=: | is ')")
_ANYWHERE = re.compile(_NAME)
_ARGUMENT = re.compile(r"([a-z]\w*)(?:\[\d+\])?(?:: | is )")


def flag(name: str, flags: Iterable[str]) -> str | None:
    """Give that of `flags` for an argument of the library."""
    found = _OTHERWISE.get(name, f"--{name.replace('_', '-')}")
    return found if found in flags else None


def in_own_spelling(words: Sequence[str], flags: Iterable[str]) -> list[str]:
    """Spell flags that are called as the library's arguments are (`--repetition-penalty`) as a command has them."""
    known = frozenset(flags)
    others = {
        f"--{name.replace('_', '-')}": found
        for name, found in _OTHERWISE.items()
        if found in known and name not in _OF_ANOTHER_KIND
    }
    spelled = list(words)
    for i, word in enumerate(spelled):
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name not in known and name in others:
            spelled[i] = f"{others[name]}{equals}{value}"
    return spelled


def in_flags(message: str, flags: Iterable[str], *, also_words: bool = False) -> str:
    """Name flags in a message of the library's instead of arguments, where a command has them.

    Parameters
    ----------
    also_words
        Also replace names that are usual words, wherever they stand: for messages that are about arguments only.
    """
    known = frozenset(flags)

    def named(match: re.Match[str]) -> str:
        return flag(match[1], known) or match[0]

    def as_argument(match: re.Match[str]) -> str:
        return named(match) if "_" in match[1] or match[1] in _WORDS else match[0]

    def certain(match: re.Match[str]) -> str:
        return named(match) if "_" in match[1] or (also_words and match[1] in _WORDS) else match[0]

    message = message.replace("None takes the default.", "Leave it out for the default.")
    for pattern in (_TO_GIVE, _GIVEN, _AT_THE_BEGINNING):
        message = pattern.sub(as_argument, message)
    return _ANYWHERE.sub(certain, message)


def at_fault(error: Exception, flags: Iterable[str]) -> str | None:
    """Give the flag whose value the library refuses: errors of arguments begin with the argument's name."""
    from t5g.errors import ArgumentTypeError, InputTooLongError, InvalidArgumentError

    if not isinstance(error, InvalidArgumentError | ArgumentTypeError) or isinstance(error, InputTooLongError):
        return None
    name = _ARGUMENT.match(str(error))
    return flag(name[1], flags) if name is not None else None


def advice(unknown: str, flags: Iterable[str]) -> str | None:
    """Say what to write instead of a flag that there is not, or nothing."""
    import difflib

    from t5g import keywords

    known = sorted(flags)
    name = unknown.lstrip("-").partition("=")[0].replace("-", "_")
    found = flag(name, known)
    if found is None and name in keywords.ADVICE:
        said = in_flags(keywords.ADVICE[name], known, also_words=True)
        if "=" not in said and "model." not in said:  # else it is for programs
            return said
    near = [found] if found else difflib.get_close_matches(unknown.partition("=")[0], known, 1, 0.7)
    return f"Did you mean {near[0]}?" if near else None
