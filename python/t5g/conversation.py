"""A conversation of several turns with a model that has a chat template: what was said, and the ids of what comes next.

The encoder reads all of it in every turn, and the decoder writes the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t5g import arguments
from t5g.errors import InvalidArgumentError

if TYPE_CHECKING:
    from t5g.generation import Generation
    from t5g.model import Model


class Conversation:
    """Messages that grow; made by :meth:`t5g.Model.conversation`.

    Attributes
    ----------
    messages
        ``{"role": "user" | "assistant", "content": ...}``, in order: a list that may be changed.
    system
        What the model is told before all of them, or ``None``.

    Examples
    --------
    >>> chat = model.conversation(system="Answer in one sentence.")  # doctest: +SKIP
    >>> chat.say("Name a river.", max_new_tokens=50).text  # doctest: +SKIP
    >>> chat.say("And a longer one?").text  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Model,
        *,
        system: str | None = None,
        messages: Sequence[Mapping[str, Any]] = (),
        chat_template: str | None = None,
    ) -> None:
        self.system = None if system is None else arguments.text("system", system)
        self._template = None if chat_template is None else arguments.text("chat_template", chat_template)
        self._model = model
        model._chat_templates.choose(self._template)  # an error now, where there is none
        self.messages: list[dict[str, Any]] = []
        for i, message in enumerate(arguments.items("messages", messages, "messages")):
            if not isinstance(message, Mapping):
                raise arguments.wrong_type(f"messages[{i}]", 'a dict {"role": ..., "content": ...}', message)
            self.messages.append(dict(message))

    def prompt(self, text: str) -> list[int]:
        """Give the token ids of the conversation with one more turn of the user, up to where the model's begins."""
        messages = [*self.messages, {"role": "user", "content": arguments.text("text", text)}]
        if self.system is None:
            return self._model.apply_chat_template(messages, chat_template=self._template)
        try:
            told = [{"role": "system", "content": self.system}, *messages]
            return self._model.apply_chat_template(told, chat_template=self._template)
        except InvalidArgumentError:
            # Gemma's own template knows no such role. What its model cards do instead: the first user says it.
            first = dict(messages[0])
            if first.get("role") != "user" or not isinstance(first.get("content"), str):
                raise
            first["content"] = f"{self.system}\n\n{first['content']}"
            return self._model.apply_chat_template([first, *messages[1:]], chat_template=self._template)

    def add(self, text: str, answer: str) -> None:
        """Remember a turn of the user and what the model has answered."""
        self.messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]

    def say(self, text: str, **options: Any) -> Generation:
        """Say something, and remember it with the answer.

        Parameters
        ----------
        text
            The user's turn.
        **options
            As in :meth:`t5g.Model.generate`.

        Raises
        ------
        InputTooLongError
            The conversation has become longer than the model reads. Drop its first turns from ``messages``.
        """
        result = self._model.generate(self.prompt(text), **options)
        self.add(text, result.text)
        return result

    def clear(self) -> None:
        """Forget what was said; the system's text stays."""
        self.messages.clear()
