"""Conversations, for models that were trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t5g import arguments
from t5g.calls import method
from t5g.keywords import explained

if TYPE_CHECKING:
    from t5g.conversation import Conversation
    from t5g.model import Model


@explained()
@method
def apply_chat_template(
    self: Model, messages: Sequence[Mapping[str, Any]], *, chat_template: str | None = None
) -> list[int]:
    """Token ids of a conversation, for a model that was trained on them (T5Gemma -it, and fine-tunes).

    Parameters
    ----------
    messages
        ``{"role": ..., "content": ...}`` each. In Gemma's own template roles alternate between ``"user"``, which
        begins, and ``"assistant"`` (or ``"model"``); others have rules of their own. A content is a text, or a
        list of ``{"type": "text", "text": ...}``, which are joined by newlines unless the template takes them
        apart. No content can inject special tokens.
    chat_template
        Name of one of the file's templates, or a template. ``None``: the file's default.

    Returns
    -------
    list of int
        Up to where the model's turn begins: what transformers gives with ``add_generation_prompt=True``.

    Raises
    ------
    ValueError
        The file has no such template, the template refuses the messages or cannot be rendered without letting
        them hold special tokens, or a part of a content is no text.
    ImportError
        The template is not Gemma's own, and jinja2, which renders others, is not installed (extra ``chat``).
    """
    if chat_template is not None:
        chat_template = arguments.text("chat_template", chat_template)
    return self._chat_templates.ids(self._native, messages, chat_template)


@explained()
@method
def conversation(
    self: Model,
    *,
    system: str | None = None,
    messages: Sequence[Mapping[str, Any]] = (),
    chat_template: str | None = None,
) -> Conversation:
    """Begin a conversation of several turns, for a model with a chat template.

    Parameters
    ----------
    system
        What the model is told before all turns. Where the template has no such role, as Gemma's, it stands before
        the user's first turn.
    messages
        What was said before, as :meth:`apply_chat_template` takes it.
    chat_template
        As in :meth:`apply_chat_template`.

    Returns
    -------
    Conversation
        ``say(text)`` answers, and remembers both.

    Raises
    ------
    ValueError
        The file has no such template.
    """
    from t5g.conversation import Conversation

    return Conversation(self, system=system, messages=messages, chat_template=chat_template)
