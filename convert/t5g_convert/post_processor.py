"""What a tokenizer puts before and after every text: bos, eos, or whatever its post-processor's template says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from t5g.errors import ModelFormatError


class Around(NamedTuple):
    """The ids before and after the ids of a text."""

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()


def read_post_processor(path: Path, tokenizer: Mapping[str, Any]) -> Around:
    """Read tokenizer.json's post-processor, which alone decides where that file is there.

    Raises ModelFormatError for one that does more than to put tokens around a text.
    """
    return _read(path, tokenizer.get("post_processor"))


def _read(path: Path, processor: Any) -> Around:
    if processor is None:
        return Around()
    kind = processor.get("type") if isinstance(processor, dict) else processor
    if kind == "ByteLevel":  # moves offsets, changes no ids
        return Around()
    try:
        if kind == "TemplateProcessing":
            return _read_template(processor)
        if kind in ("BertProcessing", "RobertaProcessing"):
            return Around((_id(processor["cls"][1]),), (_id(processor["sep"][1]),))
        if kind == "Sequence":
            around = Around()
            for step in processor["processors"]:
                outer = _read(path, step)
                around = Around(outer.prefix + around.prefix, around.suffix + outer.suffix)
            return around
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ModelFormatError(f"{path}: 'post_processor' of type {kind} cannot be read ({error!r}).") from error
    raise ModelFormatError(
        f"{path}: the tokenizer's post-processor is {kind!r}, expected TemplateProcessing. "
        "Pass --no-tokenizer (tokenizer=False) to convert without it."
    )


def _read_template(processor: Mapping[str, Any]) -> Around:
    """Read the template for single texts: special tokens, the text once, special tokens."""
    before: list[int] = []
    after: list[int] = []
    n_texts = 0
    for part in processor["single"]:
        if "SpecialToken" in part:
            ids = processor["special_tokens"][part["SpecialToken"]["id"]]["ids"]
            (after if n_texts else before).extend(_id(i) for i in ids)
        elif part["Sequence"]["id"] == "A":
            n_texts += 1
        else:
            raise ValueError(f"sequence {part['Sequence']['id']!r} in the template of a single text")
    if n_texts != 1:
        raise ValueError(f"the template has the text {n_texts} times")
    return Around(tuple(before), tuple(after))


def _id(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no token id")
    return value
