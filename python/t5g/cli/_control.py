"""Flags of t5g-run that say which tokens may be written, and what is told of them: one for each option."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from t5g.cli import _common, _source

if TYPE_CHECKING:
    from collections.abc import Callable


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the groups "more about tokens" and "constraints"."""
    group = parser.add_argument_group("more about tokens")
    group.add_argument("--typical-p", metavar="P", type=float, help="sample from the most typical share P")
    group.add_argument("--epsilon-cutoff", metavar="P", type=float, help="drop tokens less likely than P")
    group.add_argument("--eta-cutoff", metavar="P", type=float, help="the same, or less where the model is unsure")
    group.add_argument("--encoder-repeat-penalty", metavar="X", type=float, help="above 1: more words of the source")
    group.add_argument("--encoder-no-repeat-ngram", metavar="N", type=int, help="no N tokens of the source; 0 = off")
    group.add_argument(
        "--logit-bias", metavar="ID=X", type=_bias, action="append", help="add X to the logit of a token; repeatable"
    )
    group.add_argument("--suppress-tokens", metavar="ID,ID...", type=_ids, action="append", help="never these tokens")
    group.add_argument("--bad-word", metavar="TEXT", action="append", help="never this text; repeatable")
    group.add_argument("--forced-bos", metavar="ID", type=int, help="the first token: often the language")
    group.add_argument("--eos-token", metavar="ID,ID...", type=_ids, action="append", help="tokens that end the text")
    group.add_argument("--alternatives", metavar="N", type=int, help="N texts with the likeliest first tokens (--json)")
    group.add_argument("--logprobs", metavar="K", type=int, help="log-probabilities and K alternatives (--json)")
    group.add_argument("--timeout", metavar="S", type=float, help="end the text after S seconds")

    group = parser.add_argument_group("constraints")
    group.add_argument("--choice", metavar="TEXT", action="append", help="the text is one of these; repeatable")
    group.add_argument("--regex", metavar="REGEX", help="the text matches it")
    group.add_argument("--json-schema", metavar="JSON", help="the text is JSON of this schema")
    group.add_argument("--json-schema-file", metavar="FILE", help="... of the schema in a file")
    group.add_argument("--grammar", metavar="LARK", help="the text is of this grammar, in Lark's notation")
    group.add_argument("--grammar-file", metavar="FILE", help="... of the grammar in a file")


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the options of generation for these flags; None where nothing is said."""

    def texts(flag: str, values: list[str] | None) -> list[str] | None:
        return values and [_source.argument_text(arguments, flag, value) or "" for value in values]

    def all_of(several: list[list[int]] | None) -> list[int] | None:
        return [token for ids in several for token in ids] if several else None

    return {
        "typical_p": arguments.typical_p,
        "epsilon_cutoff": arguments.epsilon_cutoff,
        "eta_cutoff": arguments.eta_cutoff,
        "encoder_repetition_penalty": arguments.encoder_repeat_penalty,
        "encoder_no_repeat_ngram_size": arguments.encoder_no_repeat_ngram,
        "logit_bias": arguments.logit_bias and dict(arguments.logit_bias),
        "suppress_tokens": all_of(arguments.suppress_tokens),
        "bad_words": texts("--bad-word", arguments.bad_word),
        "forced_bos_token_id": arguments.forced_bos,
        "eos_token_ids": all_of(arguments.eos_token),
        "alternatives": arguments.alternatives,
        "logprobs": arguments.logprobs,
        "timeout": arguments.timeout,
        "choices": texts("--choice", arguments.choice),
        "regex": _source.argument_text(arguments, "--regex", arguments.regex),
        "json_schema": _text_or_file(arguments, "json_schema"),
        "grammar": _text_or_file(arguments, "grammar"),
    }


def _text_or_file(arguments: argparse.Namespace, name: str) -> str | None:
    text: str | None
    flag = f"--{name.replace('_', '-')}"
    text, path = getattr(arguments, name), getattr(arguments, f"{name}_file")
    if path is None:
        found: str | None = _source.argument_text(arguments, flag, text)
        return found
    if text is not None:
        raise _common.UsageError(f"{flag} and {flag}-file do not go together")
    from t5g.text_files import read_text

    return read_text(path)


def _bias(text: str) -> tuple[int, float]:
    token, _, bias = text.partition("=")
    return int(token), float(bias)


def _ids(text: str) -> list[int]:
    return [int(token) for token in text.split(",")]


# argparse names them in its messages.
_named: list[tuple[Callable[[str], Any], str]] = [(_bias, "ID=X"), (_ids, "ID,ID...")]
for _function, _name in _named:
    _function.__name__ = _name
