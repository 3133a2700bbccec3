"""Renders chat templates as they are written, in jinja2's sandbox, so that no message can hold a special token.

A template is rendered twice: with the messages as they are, which is what transformers makes of it, and with a mark
inside of everything in them that could be part of a special token. The special tokens of the second are the template's
own, so it is cut there, the marks are taken out, and the text between is encoded without matching any. Where the two
differ by more than the marks, the template looks at what was marked, and is refused.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t5g.errors import InvalidArgumentError, ModelFormatError
from t5g.messages import about

if TYPE_CHECKING:
    from jinja2 import Template

    from t5g import _core

# What a message's other fields may say without being marked: words that templates compare with, or build tokens of.
_ROLES = frozenset(
    ("user", "assistant", "model", "system", "developer", "tool", "function", "ipython", "context", "document")
)
_TYPES = frozenset(("text", "image", "image_url", "audio", "video", "function"))
_PRIVATE_USE = range(0xE000, 0xF900)
_LONGEST_TEMPLATE = 200_000  # characters, ten times those of long ones; it takes seconds to compile
_LONGEST_DATE = 1000


def _plain(value: Any) -> Any:
    """Values that a template may see: texts, numbers, lists and dicts of them, and nothing with methods of its own."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or type(value) in (str, int, float, bool) else str(value)


def rendered_ids(
    tokenizer: _core.Tokenizer, template: str, where: str, messages: list[dict[str, Any]], variables: Mapping[str, str]
) -> list[int]:
    """Token ids of a conversation. `variables`: what the template sees beside it; `where`: what errors call it."""
    messages = _plain(messages)
    marks = _Marks(tokenizer.special_pieces(), template, messages)
    now = datetime.datetime.now()  # the same both times

    def strftime_now(form: str) -> str:
        if len(form) > _LONGEST_DATE:  # each field of it may be hundreds of characters
            raise ValueError("the format of a date is too long")
        return now.strftime(form)

    seen = dict[str, Any](variables) | {"strftime_now": strftime_now}
    render = functools.partial(_render, _compile(template, where), where, seen)
    as_it_is = render(messages)
    marked = render(marks.put_into(messages))
    if marks.take_out(marked) != as_it_is:
        raise about(
            InvalidArgumentError,
            where,
            f"does more than to copy the messages where they have characters of special tokens "
            f"({' '.join(sorted(marks.characters))}), and t5g lets no message hold one. Leave these characters out.",
        )
    ids: list[int] = []
    for part in tokenizer.split_special(marked):
        ids += [part] if isinstance(part, int) else tokenizer.encode(marks.take_out(part), add_special_tokens=False)
    return ids


def _render(template: Template, where: str, variables: Mapping[str, str], messages: Sequence[Mapping[str, Any]]) -> str:
    from jinja2 import TemplateError

    from t5g import chat_sandbox

    try:
        with chat_sandbox.budget():
            return template.render(
                messages=messages, add_generation_prompt=True, tools=None, documents=None, **variables
            )
    except chat_sandbox.Refusal as error:
        raise about(InvalidArgumentError, where, f"refuses these messages: {error}") from None
    except chat_sandbox.TooMuch as error:
        raise about(InvalidArgumentError, where, f"cannot be rendered with these messages: {error}.") from None
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise about(InvalidArgumentError, where, f"cannot be rendered with these messages: {error}") from error
    except (MemoryError, RecursionError) as error:
        raise about(InvalidArgumentError, where, f"asks for too much: {type(error).__name__}") from error


@functools.lru_cache(maxsize=16)
def _compile(template: str, where: str) -> Template:
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(
            f"{where}: is not Gemma's own, and rendering others needs the package jinja2. "
            "Install it with: pip install 't5g[chat]'"
        ) from error
    from t5g import chat_sandbox

    if len(template) > _LONGEST_TEMPLATE:
        raise ModelFormatError(f"{where}: is too long for a template: {len(template)} characters")
    try:
        return chat_sandbox.environment().from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise ModelFormatError(f"{where}: is not a template that jinja2 reads: {error}") from error
    except (MemoryError, RecursionError, SyntaxError) as error:
        raise ModelFormatError(f"{where}: is nested too deeply for a template") from error
    except ValueError as error:  # a number of thousands of digits
        raise ModelFormatError(f"{where}: is not a template that Python compiles: {error}") from error


# ---- Marks ----


class _Marks:
    """Puts a mark beside every character that could begin or end a special token, and takes the marks out again."""

    def __init__(self, special: Iterable[str], template: str, messages: Any) -> None:
        special = [*special]
        used = {*template, *(c for text in _texts(messages) for c in text), *(c for text in special for c in text)}
        unused = (chr(code) for code in _PRIVATE_USE if chr(code) not in used)
        self._mark = next(unused)
        alone = {text for text in special if len(text) == 1}
        self._stand_ins = {c: next(unused) for c in sorted(alone)}  # for tokens of one character
        self._first = {text[0] for text in special}
        self._last = {text[-1] for text in special}
        self._all = "\n".join(special).casefold()
        self.characters = self._first | self._last

    def put_into(self, value: Any, trusted: frozenset[str] = frozenset()) -> Any:
        """Mark all texts of nested lists and dicts; roles and types stay what they are where they are known words."""
        if isinstance(value, dict):
            trust = {"role": _ROLES, "type": _TYPES}
            return {key: self.put_into(item, trust.get(key, frozenset())) for key, item in value.items()}
        if isinstance(value, list):
            return [self.put_into(item) for item in value]
        return self._marked(value) if isinstance(value, str) and value not in trusted else value

    def _marked(self, text: str) -> str:
        marked = []
        # A token that begins before the text and ends after it has the whole text in its middle.
        inside = text.strip().casefold() in self._all and len(text.strip()) < 100
        for character in text:
            if character in self._last:
                marked.append(self._mark)
            marked.append(self._stand_ins.get(character, character))
            if character in self._first or (inside and not character.isspace()):
                marked.append(self._mark)
        return "".join(marked)

    def take_out(self, text: str) -> str:
        """Give a text as it was before marks were put into it."""
        text = text.replace(self._mark, "")
        for character, stand_in in self._stand_ins.items():
            text = text.replace(stand_in, character)
        return text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
