"""The chat templates of a file: Gemma's is known, and others are rendered as they are written, in jinja2's sandbox."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from t5g import chat
from t5g.errors import InvalidArgumentError
from t5g.messages import to_give, told

if TYPE_CHECKING:
    from t5g import _core

# Gemma 2's template, and T5Gemma's, which is the same without bos. The native module writes their conversations.
_GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
_BOS = "{{ bos_token }}"
_LOOKS_INTO_CONTENT = re.compile(r"\bin\s+\w+(?:\[['\"]content['\"]\]|\.content)")


def is_known(template: str) -> bool:
    """Say whether a template needs no jinja2."""
    return _known(template) is not None


def _known(template: str) -> bool | None:
    """Say whether the known template begins with bos; None for another one."""
    text = template.strip().replace("\\n", "\n").replace('"', "'")
    with_bos = text.startswith(_BOS)
    return with_bos if text.removeprefix(_BOS) == _GEMMA else None


class ChatTemplates:
    """Those of one file, by name: "default" and what else it has."""

    def __init__(self, model: _core.Model, where: str) -> None:
        self.by_name: dict[str, str] = model.chat_templates()
        self._where = where

    def choose(self, given: str | None) -> tuple[str, str]:
        """Give a template's text and what errors call it, by name; or the text given, where it is one.

        Raises InvalidArgumentError where the file has no such template.
        """
        if given is not None and given not in self.by_name and "{" in given:
            return given, "chat_template"
        name = given if given is not None else "default"
        if name in self.by_name:
            return self.by_name[name], f"{self._where}: its chat template {'' if name == 'default' else name}".rstrip()
        if not self.by_name:
            raise InvalidArgumentError(
                f"{self._where}: has no chat template, so it was not trained on conversations. Give the text as it is."
            )
        names = " or ".join(repr(other) for other in self.by_name)
        found = "no default chat template" if given is None else f"no chat template {name!r}"
        raise told(
            InvalidArgumentError,
            f"{self._where}: has {found}, but {names}. Write ",
            to_give("chat_template", "..."),
            " with its name.",
        )

    def ids(self, model: _core.Model, messages: object, given: str | None) -> list[int]:
        """Token ids of a conversation, up to where the model's turn begins."""
        several = chat.items(messages)
        pairs = chat.pairs(several)  # a mistake in the messages is the caller's own, whatever the file has
        template, where = self.choose(given)
        with_bos = _known(template)
        if with_bos is None:
            from t5g.chat_rendering import rendered_ids

            variables = _variables(model.tokenizer, model.config)
            return rendered_ids(model.tokenizer, template, where, _conversation(template, several), variables)
        ids = model.chat_prompt(pairs)
        return [model.tokenizer.bos_id, *ids] if with_bos else ids


def _variables(tokenizer: _core.Tokenizer, config: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens under the names that templates know them by."""
    ids = {name: getattr(tokenizer, f"{name}_id") for name in ("bos", "eos", "unk", "pad")}
    ids |= {name: config.get(f"{name}_token_index") for name in ("boi", "eoi", "image")}
    return {f"{name}_token": tokenizer.piece(i) for name, i in ids.items() if i is not None}


def _conversation(template: str, messages: list[Any]) -> list[dict[str, Any]]:
    """Messages as a template wants them: contents are lists of parts where it looks into them, else text."""
    found = []
    for (role, text), message in zip(chat.pairs(messages), messages, strict=True):
        content: Any = text
        if not isinstance(message["content"], str) and _LOOKS_INTO_CONTENT.search(template):
            parts = (part if isinstance(part, str) else part["text"] for part in message["content"])
            content = [{"type": "text", "text": part} for part in parts]
        found.append({**dict(message), "role": role, "content": content})
    return found
