"""Sources and targets as users give them, to what the native module takes: every item is checked, and named when wrong.

A text is tokenised, ids are taken as they are, images are read and find their places. Nothing here computes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from t5g import adapters as adapters_of_call
from t5g import arguments
from t5g import truncation as truncations
from t5g.errors import ArgumentTypeError, InvalidArgumentError
from t5g.image_prompt import check_ids, expand, vision_config
from t5g.messages import Argument, about, told
from t5g.source import EncodedSource

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from t5g import _core
    from t5g.adapters import Choice
    from t5g.images import Images, Pixels
    from t5g.model import Model

TextOrIds: TypeAlias = "str | Sequence[int] | npt.NDArray[np.integer[Any]]"
Source: TypeAlias = "TextOrIds | EncodedSource"
Request: TypeAlias = "_core.EncodedSource | tuple[list[int], list[Pixels], Choice]"


class Reader:
    """Reads the arguments of one call.

    Parameters
    ----------
    model
        The model that is called.
    parse_special, pan_and_scan, truncation, adapters
        As in :meth:`t5g.Model.encode`.
    """

    def __init__(
        self,
        model: Model,
        *,
        parse_special: object = False,
        pan_and_scan: object = False,
        truncation: object = "error",
        adapters: object = None,
    ) -> None:
        self.model = model
        self._native = model._native
        self._parse_special = arguments.flag("parse_special", parse_special)
        self._pan_and_scan = arguments.flag("pan_and_scan", pan_and_scan)
        self._truncation = truncations.word(truncation)
        self._adapters = adapters_of_call.choice(adapters)
        self._texts = self._images = 0

    # ---- Sources ----

    def request(self, source: object, images: object = None, *, name: str = "source", of: str = "image") -> Request:
        """Check a source with its images. name, of: what messages call it and them."""
        return self._request(source, images, self._adapters, name, of)

    def _request(self, source: object, images: object, adapters: Choice, name: str, of: str) -> Request:
        given: list[Any] | None = None
        if images is not None:
            from t5g.images import as_list

            given = as_list(cast("Images", images), name="images" if of == "image" else of) or []
            self._images += len(given)
        if isinstance(source, EncodedSource):
            if given:
                raise told(
                    InvalidArgumentError, Argument(name), " is already encoded; images go with a text or token ids."
                )
            self._native.check_source(source._core, name)
            if adapters is not None:
                self._native.check_adapters(source._core, adapters, name)
            return source._core
        if given is None or (not given and self.model.config.vision is None):
            return (*self._source_ids(name, source), adapters)
        return (*self._with_images(name, source, given, of), adapters)

    def requests(self, sources: object, images: object = None, adapters: object = None) -> list[Request]:
        """Check several sources, each with its images and adapters."""
        several = arguments.items("sources", sources, "sources", "generate takes a single one.")
        return self.several("sources", several, images, adapters)

    def several(self, name: str, several: Sequence[object], images: object, adapters: object) -> list[Request]:
        """Check sources, which messages call by this name."""
        each: list[Any] = [None] * len(several)
        if images is not None:
            from t5g.images import as_lists

            each = as_lists(images, len(several))
        theirs = adapters_of_call.choices(adapters, len(several))
        return [
            self._request(source, of_source, chosen, f"{name}[{i}]", f"images[{i}]")
            for i, (source, of_source, chosen) in enumerate(zip(several, each, theirs, strict=True))
        ]

    def encoded(
        self, source: object, images: object = None, progress: Callable[[int, int], object] | None = None
    ) -> _core.EncodedSource:
        """Check a source and encode it, where that has not been done."""
        return self.encode(self.request(source, images), progress)

    def encode(self, request: Request, progress: Callable[[int, int], object] | None = None) -> _core.EncodedSource:
        """Encode a source that has been checked, where that has not been done."""
        if not isinstance(request, tuple):
            return request
        return self._native.encode(*request, progress=progress, n_truncated=n_truncated(request))

    # ---- Targets ----

    def target(self, name: str, value: object) -> list[int]:
        """Check a target: a text, without anything added, or ids."""
        return self._ids(name, value, "target", expected="a str or token ids")

    def after_start(self, ids: list[int]) -> list[int]:
        """Put the start token in front of ids where it is not there. Encoders have none."""
        start = self.model.config.decoder_start_token_id
        return ids if start is None or ids[:1] == [start] else [start, *ids]

    def target_ids(self, name: str, value: object) -> list[int]:
        """Check a target that must be ids."""
        if isinstance(value, str):
            advice = "model.tokenizer.encode(text, add_special_tokens=False) makes them of a text."
            raise arguments.wrong_type(name, "token ids", value, advice)
        return self._ids(name, value, "target", expected="token ids")

    # ----

    def tell_what_had_no_effect(self) -> None:
        """Warn, once per process, of switches that nothing was there for."""
        if self._parse_special and not self._texts:
            arguments.warn_once(
                Argument("parse_special"), " has no effect: there is no text, only token ids or an encoded source."
            )
        if self._pan_and_scan and not self._images:
            arguments.warn_once(Argument("pan_and_scan"), " has no effect without images.")

    def _source_ids(self, name: str, value: object) -> tuple[list[int], list[Pixels]]:
        """Ids without images, cut where they are too long and the caller has asked for that."""
        expected, added = "a str, token ids or an EncodedSource", self.model.tokenizer._core
        if self._truncation == "error":
            return self._ids(name, value, "source", expected=expected), []
        limit = self._native.max_source_tokens
        if isinstance(value, str):
            self._texts += 1
            whole = self.model.tokenizer.encode(arguments.text(name, value), parse_special=self._parse_special)
            kept, n = truncations.cut(whole, limit, self._truncation, added.prefix_ids, added.suffix_ids)
        else:
            kept, n = truncations.cut(list(one_row(name, value, expected)), limit, self._truncation)
        ids = truncations.CutIds(self._native.token_ids(name, kept, "source"))
        ids.n_truncated = n
        return ids, []

    def _ids(self, name: str, value: object, side: str, *, expected: str) -> list[int]:
        if isinstance(value, str):
            self._texts += 1
            text = arguments.text(name, value)
            value = self.model.tokenizer.encode(
                text, add_special_tokens=side == "source", parse_special=self._parse_special
            )
        else:
            value = one_row(name, value, expected)
        return self._native.token_ids(name, value, side)

    def _with_images(self, name: str, source: object, images: list[Any], of: str) -> tuple[list[int], list[Pixels]]:
        from t5g.images import preprocess

        config = self.model.config
        size = vision_config(config).image_size
        prepared = preprocess(images, size, pan_and_scan=self._pan_and_scan, name=of)
        flat = [pixels for of_image in prepared for pixels in of_image]
        where = None if name == "source" else name
        if isinstance(source, str):
            self._texts += 1
            text = arguments.text(name, source)
            n_crops = [len(of_image) - 1 for of_image in prepared]
            ids = expand(self.model.tokenizer, config, text, n_crops, parse_special=self._parse_special, where=where)
            return self._native.token_ids(name, ids, "source"), flat
        ids = self._ids(name, source, "source", expected="a str, token ids or an EncodedSource")
        check_ids(config, ids, len(flat), where=where)
        return ids, flat


def one_row(name: str, value: Any, expected: str = "token ids") -> Iterable[Any]:
    """Ids with one dimension: what is given, or the only row of it. What cannot be ids is refused by its kind."""
    _refuse_other_kinds(name, value, expected)
    if arguments.is_array(value):
        shape = list(value.shape)
        if len(shape) == 2 and shape[0] == 1 and hasattr(value, "tolist"):
            value = value[0]
        elif len(shape) != 1:
            raise about(
                InvalidArgumentError, name, f"must be token ids [n] or [1, n], got the shape {shape}. {_SEVERAL}"
            )
        return cast("Iterable[Any]", value.tolist() if hasattr(value, "tolist") else value)
    if isinstance(value, list | tuple) and value and _is_row(value[0]):
        if len(value) > 1:
            raise about(InvalidArgumentError, name, f"must be one row of token ids, got {len(value)} rows. {_SEVERAL}")
        (row,) = value
        if len(row) and _is_row(row[0]):
            raise about(InvalidArgumentError, name, "must be token ids [n] or [1, n], got lists in lists in a list.")
        return cast("Iterable[Any]", row.tolist() if hasattr(row, "tolist") else row)
    if isinstance(value, list | tuple) and value and isinstance(value[0], str):
        advice = "One text is given as it is, without a list around it; generate_batch and embed take several."
        raise about(ArgumentTypeError, name, f"token ids must be integers, got {arguments.found(value[0])}. {advice}")
    return cast("Iterable[Any]", value)


_SEVERAL = "generate_batch and embed take several: a list with the ids of each."


def _is_row(value: object) -> bool:
    return isinstance(value, list | tuple) or arguments.is_array(value)


def _refuse_other_kinds(name: str, value: object, expected: str) -> None:
    """Raise ArgumentTypeError for what could be iterated over but is no sequence of ids, and for all that could not."""
    advice = None
    if isinstance(value, bytes | bytearray | memoryview):
        advice = "Decode text first: data.decode()."
    elif isinstance(value, Mapping):
        advice = 'Of what a tokenizer returns, give the ids: tokens["input_ids"].'
    elif isinstance(value, set | frozenset):
        advice = "A set has no order."
    elif value is None:
        advice = "An empty list stands for no tokens at all."
    elif isinstance(value, os.PathLike):
        advice = "Read the file first: path.read_text()."
    elif hasattr(value, "read"):
        advice = "Read the file first: file.read()."
    elif arguments.n_dimensions(value) == 0 or not isinstance(value, Iterable):
        advice = ""
    if advice is not None:
        raise arguments.wrong_type(name, expected, value, advice)


def n_truncated(request: Request) -> int:
    """How many tokens ``truncation`` has cut from a source that is to be encoded."""
    return getattr(request[0], "n_truncated", 0) if isinstance(request, tuple) else 0
