"""The chat templates of a checkpoint folder, by name, from any of the files that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from t5g.chat_templates import is_known
from t5g.errors import InvalidArgumentError, ModelFormatError
from t5g.text_files import read_text

from t5g_convert.safetensors import read_json

_NO_KEY = re.compile(r"[^A-Za-z0-9_]")


def read_chat_templates(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Read them as transformers does: files of their own come before tokenizer_config.json (`settings`)."""
    templates = dict(_files(folder))
    if not templates:
        templates = dict(_named(settings.get("chat_template")))
    processor = folder / "chat_template.json"  # of older processors
    if not templates and processor.is_file():
        templates = dict(_named(read_json(processor).get("chat_template")))
    return {_NO_KEY.sub("_", name): text for name, text in templates.items() if text}


def notes_on_chat_templates(templates: Mapping[str, str]) -> list[str]:
    """Say which templates need jinja2, and where none is the default."""
    others = [name for name, text in templates.items() if not is_known(text)]
    notes = []
    if others:
        which = "" if others == ["default"] else f" ({', '.join(others)})"
        notes.append(
            f"The chat template{which} is not Gemma's own: apply_chat_template renders it as it is written, "
            "which needs jinja2 (pip install 't5g[chat]')."
        )
    if templates and "default" not in templates:
        notes.append(f"No chat template is the default. There are: {', '.join(templates)}.")
    return notes


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    path = folder / "chat_template.jinja"
    if path.is_file():
        yield "default", _read(path)
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        yield path.stem, _read(path)


def _named(value: Any) -> Iterator[tuple[str, str]]:
    """Yield a template, or those of a list of {"name", "template"}, or of a dict."""
    if isinstance(value, str):
        yield "default", value
    elif isinstance(value, dict):
        yield from ((str(name), text) for name, text in value.items() if isinstance(text, str))
    elif isinstance(value, list):
        for entry in value:
            if isinstance(entry, dict) and isinstance(entry.get("template"), str):
                yield str(entry.get("name")), entry["template"]


def _read(path: Path) -> str:
    try:
        return read_text(path, advice="Save it as UTF-8.")
    except InvalidArgumentError as error:
        raise ModelFormatError(str(error)) from error
