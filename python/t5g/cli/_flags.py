"""The library's arguments as a command spells them, so that what it is told of is something that it can be given.

Most flags are an argument's name with dashes; those that are not stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from t5g import messages

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
    "n_depths": "--depths",
    "n_samples": "--samples",
}
# What these take is not what the flag does.
_OF_ANOTHER_KIND = ("adapters", "scale")


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


def spelling(flags: Iterable[str]) -> Callable[[str, str | None], str | None]:
    """Make what spells a message's arguments as those of `flags`; those that have none stay."""
    known = frozenset(flags)

    def spell(name: str, value: str | None) -> str | None:
        found = flag(name, known)
        return found if found is None or value is None else f"{found} {value}"

    return spell


def at_fault(error: Exception, flags: Iterable[str]) -> str | None:
    """Give the flag whose value the library refuses: that of the argument that the error is about."""
    from t5g.errors import ArgumentTypeError, InputTooLongError, InvalidArgumentError

    if not isinstance(error, InvalidArgumentError | ArgumentTypeError) or isinstance(error, InputTooLongError):
        return None
    name = messages.subject(error)
    return None if name is None else flag(name, flags)


def advice(unknown: str, flags: Iterable[str]) -> str | None:
    """Say what to write instead of a flag that there is not, or nothing."""
    import difflib

    from t5g import keywords

    known = sorted(flags)
    name = unknown.lstrip("-").partition("=")[0].replace("-", "_")
    found = flag(name, known)
    said = keywords.ADVICE.get(name)
    if found is None and isinstance(said, tuple):
        named = [part.name for part in said if isinstance(part, messages.Argument)]
        if all(flag(one, known) for one in named):
            return messages.spelled(messages.told(Exception, *said), spelling(known))
    near = [found] if found else difflib.get_close_matches(unknown.partition("=")[0], known, 1, 0.7)
    return f"Did you mean {near[0]}?" if near else None
