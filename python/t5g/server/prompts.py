"""What the source of a request is: the prompt of a completion, the messages of a chat, a source that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t5g import arguments, chat
from t5g.server.asked import data_uris
from t5g.server.errors import wrong

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.server.settings import Settings
    from t5g.sources import Reader, Request

_IMAGE = "<start_of_image>"


def several(value: object, name: str) -> list[Any]:
    """The sources of a field: a text, several, the ids of one, or of several."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise wrong(name, f"{name}: must be a text, a list of texts, or token ids, got {arguments.found(value)}.")
    if value and all(isinstance(item, int) for item in value):
        return [value]
    if not value:
        raise wrong(name, f"{name}: is an empty list, expected a text, a list of texts, or token ids.")
    for i, item in enumerate(value):
        if not isinstance(item, str | list):
            message = f"{name}[{i}]: must be a text or a list of token ids, got {arguments.found(item)}."
            raise wrong(f"{name}[{i}]", message)
    return value


def prompt_requests(reader: Reader, prompts: list[Any], images: list[str] | None, name: str) -> list[Request]:
    """Tokenise prompts and decode images, which there may be with a single one."""
    if images and len(prompts) != 1:
        raise wrong("images", f"images: go with a single source, but there are {len(prompts)}.")
    names = [name if len(prompts) == 1 else f"{name}[{i}]" for i in range(len(prompts))]
    return [
        reader.request(prompt, images, name=where, of="images") for prompt, where in zip(prompts, names, strict=True)
    ]


@dataclass(frozen=True)
class Messages:
    """The messages of a conversation, with the request's names for all of them and for each."""

    items: list[Any]
    field: str
    names: list[str]

    @classmethod
    def of(cls, items: list[Any], field: str = "messages", system: str | None = None) -> Messages:
        """Make them of a field, with what another one says before them."""
        told = [{"role": "system", "content": system}] if system else []
        names = [*["instructions"] * len(told), *(f"{field}[{i}]" for i in range(len(items)))]
        return cls([*told, *items], field, names)


def chat_request(model: Model, reader: Reader, messages: Messages, settings: Settings) -> Request:
    """Make the source of a conversation: through the file's template, or the last text of the user.

    A model without a template was not trained on conversations: it reads a source, which is what the user said last.
    """
    named = [*zip(messages.names, messages.items, strict=True)]
    if model.has_chat_template:
        for name, message in named:
            _refuse_images(name, message)
            chat.pair(name, message)  # under the request's name, which the model does not know
        return reader.request(model.apply_chat_template(messages.items), name=messages.field)
    for name, message in named:
        if not isinstance(message, Mapping):
            chat.pair(name, message)  # says what is wrong with it
    for name, message in reversed(named):
        if message.get("role") == "user":
            where = name if name == messages.field else f"{name}.content"
            text, images = _content(where, message.get("content"), settings)
            return reader.request(text, images or None, name=messages.field, of=where)
    raise wrong(messages.field, f'{messages.field}: none has the role "user", whose last text is the source.')


def _is_image(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in ("image_url", "input_image")


def _refuse_images(name: str, message: object) -> None:
    """Say where a client can give images, which is elsewhere than a program can."""
    content = message.get("content") if isinstance(message, Mapping) else None
    for i, part in enumerate(content if isinstance(content, list) else []):
        if _is_image(part):
            where = f"{name}.content[{i}]"
            raise wrong(
                where,
                f"{where}: is an image, but a conversation with this model has text only. Give images to "
                "/v1/completions, with <start_of_image> in the prompt where each belongs.",
            )


def _content(name: str, content: object, settings: Settings) -> tuple[str, list[str]]:
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise wrong(name, f"{name}: must be a text or a list of parts, got {arguments.found(content)}.")
    text, images, after_text = "", [], False
    for i, part in enumerate(content):
        where = f"{name}[{i}]"
        if _is_image(part):
            images.append(_image(where, part))
            text += _IMAGE
            after_text = False
        else:
            words = chat.part_text(where, part)
            text += ("\n" if after_text else "") + words
            after_text = True
    return text, data_uris(images, settings, name)


def _image(name: str, part: Mapping[str, Any]) -> Any:
    address = part.get("image_url")
    if isinstance(address, Mapping):
        address = address.get("url")
    if address is None:
        raise wrong(name, f'{name}: has no "image_url" with the "url" of an image.')
    return address
