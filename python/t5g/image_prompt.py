"""Where images stand in a source: every start-of-image marker of the text becomes the tokens of one image.

transformers writes the marker, the soft tokens and the end marker into the text, between empty lines, and tokenises the
whole. Tokenising cuts at the markers anyway, so here only the text between images is tokenised, with its newlines, and
the markers are ids from the start: no text of a user can spell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t5g.errors import InvalidArgumentError, UnsupportedError
from t5g.messages import about

if TYPE_CHECKING:
    from t5g.config import Config, VisionConfig
    from t5g.tokenizer import Tokenizer

_BREAK = "\n\n"
# transformers' words around an image with crops.
_BEFORE_WHOLE, _BEFORE_CROPS = "Here is the original image ", " and here are some crops to help you see better "


def vision_config(config: Config) -> VisionConfig:
    """The model's tower; UnsupportedError where it has none, or no tokens for images."""
    if config.vision is None:
        if config.architecture == "t5gemma":
            raise about(UnsupportedError, "images", "T5Gemma (the first) reads text only; T5Gemma 2 reads images.")
        raise about(
            UnsupportedError, "images", "this file has no vision tower. Convert the checkpoint without --no-vision."
        )
    if None in (config.boi_token_index, config.eoi_token_index, config.image_token_index):
        raise about(
            UnsupportedError, "images", "this file has a vision tower, but no ids of image tokens. Convert it again."
        )
    return config.vision


def start_of_image(tokenizer: Tokenizer, config: Config) -> str:
    """What marks the place of an image in a text: ``"<start_of_image>"``."""
    tokenizer._core.require_text()
    assert config.boi_token_index is not None  # vision_config() has looked
    return tokenizer._core.piece(config.boi_token_index)


def expand(
    tokenizer: Tokenizer,
    config: Config,
    text: str,
    n_crops: Sequence[int],
    *,
    parse_special: bool,
    where: str | None = None,
) -> list[int]:
    """Token ids of a text with images.

    Parameters
    ----------
    text
        With one marker for each image. An empty text stands for the images alone.
    n_crops
        For each image, how many crops follow it.
    parse_special
        Match other special tokens in the text as well.
    where
        What errors call the source, if anything but that.

    Raises
    ------
    InvalidArgumentError
        The text does not have as many markers as there are images.
    """
    marker = start_of_image(tokenizer, config)
    texts = (text or " ".join([marker] * len(n_crops))).split(marker)
    if len(texts) - 1 != len(n_crops):
        raise _refused(
            where,
            f"the text has {_count(len(texts) - 1, marker)}, but there {'is' if len(n_crops) == 1 else 'are'} "
            f"{_count(len(n_crops), 'image')}. Write {marker} once where each image belongs.",
        )
    between = texts[:1]
    for crops, after in zip(n_crops, texts[1:], strict=True):
        if crops:
            between[-1] += _BEFORE_WHOLE
            between += [_BEFORE_CROPS, *[" "] * (crops - 1)]
        between.append(after)

    image = _tokens_of_image(config)
    ids: list[int] = list(tokenizer._core.prefix_ids)
    for i, part in enumerate(between):
        before, after = _BREAK if i else "", _BREAK if i < len(between) - 1 else ""
        ids += tokenizer.encode(f"{before}{part}{after}", add_special_tokens=False, parse_special=parse_special)
        if after:
            ids += image
    ids += tokenizer._core.suffix_ids
    check_ids(config, ids, len(between) - 1, where=where)
    return ids


def check_ids(config: Config, ids: Sequence[int], n_images: int, *, where: str | None = None) -> None:
    """Raise InvalidArgumentError unless `ids` have exactly the soft tokens of so many images, crops included."""
    tokens = _tokens_of_image(config)
    soft = tokens[1]
    found, each = list(ids).count(soft), tokens.count(soft)
    if found != n_images * each:
        raise _refused(
            where,
            f"the source has {_count(found, 'image token')} ({soft}), expected "
            f"{n_images * each}: {each} for each of {_count(n_images, 'image')}.",
        )


def _refused(where: str | None, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(what) if where is None else about(InvalidArgumentError, where, what)


def _tokens_of_image(config: Config) -> list[int]:
    """Begin, soft tokens, end. For models that vision_config() has accepted."""
    begin, soft, end = config.boi_token_index, config.image_token_index, config.eoi_token_index
    assert config.vision is not None
    assert begin is not None
    assert soft is not None
    assert end is not None
    return [begin, *[soft] * config.vision.mm_tokens_per_image, end]


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 or word.startswith('<') else 's'}"
