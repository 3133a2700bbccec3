"""The messages of a conversation as programs write them, to role and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t5g import arguments
from t5g.errors import InvalidArgumentError
from t5g.messages import about

_EXAMPLE = '{"role": "user", "content": "..."}'


def items(messages: object) -> list[Any]:
    """Messages as a list, whatever they are."""
    return arguments.items("messages", messages, "messages", f"Write [{_EXAMPLE}].")


def pairs(messages: list[Any]) -> list[tuple[str, str]]:
    """Role and content of every message; the parts of a content are joined by newlines, as other runtimes do."""
    return [pair(f"messages[{i}]", message) for i, message in enumerate(messages)]


def pair(name: str, message: object) -> tuple[str, str]:
    """Role and content of one message; `name` is what messages of errors call it."""
    if not isinstance(message, Mapping):
        raise arguments.wrong_type(name, f"a dict such as {_EXAMPLE}", message)
    for key in ("role", "content"):
        if key not in message:
            raise about(InvalidArgumentError, name, f'has no "{key}". A message is a dict such as {_EXAMPLE}.')
    role = arguments.text(f"{name}: role", message["role"])
    return role, _content(f"{name}: content", message["content"])


def _content(name: str, content: object) -> str:
    if not isinstance(content, list | tuple):
        return arguments.text(name, content, "a str or a list of text parts")
    return "\n".join(part_text(f"{name}[{i}]", part) for i, part in enumerate(content))


def part_text(name: str, part: Any) -> str:
    """The text of one part of a content."""
    if isinstance(part, str):
        return arguments.text(name, part)
    if not isinstance(part, Mapping):
        raise arguments.wrong_type(name, 'a str or a dict such as {"type": "text", "text": "..."}', part)
    kind = part.get("type", "text" if "text" in part else None)
    word = kind if isinstance(kind, str) else ""
    if word in ("text", "input_text", "output_text") and "text" in part:
        return arguments.text(f"{name}: text", part["text"])
    if "image" in word:
        raise about(
            InvalidArgumentError,
            name,
            "is an image, but a conversation here has text only. Give images to generate(text, images=...), "
            "with <start_of_image> in the text where each belongs.",
        )
    what = f'has the type {arguments.found(kind)}, expected "text" with its text under "text".'
    raise about(InvalidArgumentError, name, what)
