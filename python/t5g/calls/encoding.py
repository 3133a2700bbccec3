"""What the encoder makes of sources: hidden states, and vectors of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from t5g import arguments
from t5g.calls import method
from t5g.errors import ArgumentTypeError, InvalidArgumentError
from t5g.keywords import explained
from t5g.messages import Argument, about, told
from t5g.source import EncodedSource
from t5g.sources import Reader, n_truncated

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from t5g.adapters import Adapters
    from t5g.images import Images
    from t5g.model import Model
    from t5g.sources import Source, TextOrIds
    from t5g.truncation import Truncation


@explained()
@method
def encode(
    self: Model,
    text_or_ids: TextOrIds,
    *,
    images: Images | None = None,
    pan_and_scan: bool = False,
    parse_special: bool = False,
    layer: int = -1,
    pad_to: int | None = None,
    adapters: Adapters = None,
    truncation: Truncation = "error",
    progress: Callable[[int, int], object] | None = None,
) -> EncodedSource:
    """Read a source once, for any number of calls.

    Parameters
    ----------
    text_or_ids
        The source: a text, or token ids, which are taken as they are (nothing is added; there may be none): a
        sequence, an array or a tensor [n] or [1, n] of integers.
    images
        Images that go with it, one or a list: paths, the bytes of image files, files open for reading bytes, data
        URIs, PIL images, or arrays and tensors of uint8 or of floats from 0 to 1, [H, W], [H, W, C] or [C, H, W]
        with C of 1, 3 or 4. A text has ``<start_of_image>`` where each belongs, or is empty; ids have the image's
        soft tokens in place.
    pan_and_scan
        Show the model two to four crops of each long image as well.
    parse_special
        Match special tokens in a text. ``<start_of_image>`` is matched whenever there are images.
    layer
        Whose hidden states, as the index into what transformers returns with ``output_hidden_states=True``: 0 are
        the embeddings, 1 what the first layer makes of them, -1 the last layer's after the final norm, -2 those
        of the layer before it. The decoder reads those of -1 only.
    pad_to
        Rows of ``hidden_states``: as transformers has them for a source that is padded on the right to so many
        tokens and masked. ``attention_mask`` tells them apart. A longer source is refused.
    adapters
        Which of the adapters that are loaded: a name, several, or ``{name: scale}``; ``[]``: none. ``None``: all.
        The result remembers them.
    truncation
        What is done with more tokens than the model accepts: ``"error"`` raises; ``"end"``, ``"start"`` and
        ``"middle"`` say which part of them is cut away, and ``n_truncated`` of the source how many those were. What
        the tokenizer puts before and after a text stays. Sources with images are not cut.
    progress
        Called with (done, total), in tokens: with 0 at first, now and then, and with all at the end. It counts the
        work of the image tower too, where there are images. What it raises ends the call.

    Returns
    -------
    EncodedSource
        With ``hidden_states``, float32 [n_tokens, hidden_size].

    Raises
    ------
    InputTooLongError
        The source has more tokens than the model accepts.
    UnsupportedError
        There are images, but the file has no vision tower.
    ValueError
        An image that cannot be read, or another number of images than of their places in the source; a token id
        outside the vocabulary; an adapter that is not loaded.
    TypeError
        An argument of another type. The message names it, here as in all calls.
    """
    if isinstance(text_or_ids, EncodedSource):
        raise told(ArgumentTypeError, Argument("text_or_ids"), " is already encoded; expected a text or token ids.")
    reader = Reader(
        self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation, adapters=adapters
    )
    if progress is not None and not callable(progress):
        raise arguments.wrong_type("progress", "a function of two numbers", progress)
    native_layer = _layer(self, layer)
    request = reader.request(text_or_ids, images)
    assert isinstance(request, tuple)
    n_padding = 0 if pad_to is None else _padding(self, pad_to, len(request[0]))
    encoded = EncodedSource(
        self._native.encode(
            *request,
            n_padding=n_padding,
            layer=native_layer,
            progress=progress,
            n_truncated=n_truncated(request),
        )
    )
    reader.tell_what_had_no_effect()
    return encoded


@explained()
@method
def embed(
    self: Model,
    texts: Sequence[Source],
    *,
    images: Sequence[Images | None] | None = None,
    pooling: Literal["mean", "first", "last", "max", "none"] = "mean",
    normalize: bool = True,
    batch_size: int = 32,
    layer: int = -1,
    adapters: Adapters | Sequence[Adapters] = None,
    pan_and_scan: bool = False,
    parse_special: bool = False,
    truncation: Truncation = "error",
) -> npt.NDArray[np.float32] | list[npt.NDArray[np.float32]]:
    """Vectors of texts, from the encoder alone.

    Several texts go through the encoder in one pass, packed: their tokens lie one after the other and nothing is
    padded. Each gets the bits that it gets alone.

    Parameters
    ----------
    texts
        The texts, their token ids, or sources that have been encoded.
    images
        The images of each text, as :meth:`encode` takes them, or ``None``.
    pooling
        What becomes of a text's hidden states: ``"mean"`` and ``"max"`` over its tokens, that of the ``"first"`` or
        ``"last"`` token, or ``"none"``: one vector per token. All tokens count, bos and eos too.
    normalize
        Scale every vector to length 1.
    batch_size
        Texts of a pass at most.
    layer
        Whose hidden states, as in :meth:`encode`. Sources that have been encoded must have the same.
    adapters
        As in :meth:`encode`; or a list with one such value for each text.
    pan_and_scan, parse_special
        As in :meth:`encode`.
    truncation
        Of texts that are too long, as in :meth:`encode`.

    Returns
    -------
    numpy.ndarray or list
        float32 [n, hidden_size]; with pooling ``"none"`` a list of n arrays [n_tokens, hidden_size].
        A text without tokens has the zero vector.
    """
    from t5g import embedding

    reader = Reader(self, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation)
    pooling_name = arguments.choice("pooling", pooling, embedding.POOLINGS)
    normalize = arguments.flag("normalize", normalize)
    rows_at_once = arguments.integer("batch_size", batch_size, low=1)
    native_layer = _layer(self, layer)
    several = arguments.items("texts", texts, "texts", "Write [text] for a single one.")
    requests = reader.several("texts", several, images, adapters)
    embedding.check_layers("texts", requests, native_layer)
    reader.tell_what_had_no_effect()
    import numpy as np

    states = embedding.states(self._native, requests, batch_size=rows_at_once, layer=native_layer)
    if pooling_name == "none":
        return [embedding.unit_rows(rows) if normalize else np.array(rows) for rows in states]
    vectors = np.zeros((len(requests), self.config.encoder.hidden_size), np.float32)
    for vector, rows in zip(vectors, states, strict=True):
        vector[:] = embedding.pool(rows, pooling_name)
    return embedding.unit_rows(vectors) if normalize else vectors


def _layer(model: Model, layer: object) -> int:
    """Take an index into the encoder's hidden states, as the native module counts them: -1 are the final ones."""
    n = model.config.encoder.num_hidden_layers
    index = arguments.integer("layer", layer)
    if not -n - 1 <= index <= n:
        raise arguments.wrong_value("layer", f"from {-n - 1} to {n}, as the encoder has {n} layers", index)
    index = index if index >= 0 else index + n + 1
    return -1 if index == n else index


def _padding(model: Model, pad_to: object, n_tokens: int) -> int:
    limit = model.max_source_tokens
    n = arguments.integer("pad_to", pad_to, low=0)
    if n > limit:
        raise arguments.wrong_value("pad_to", f"at most {limit}, the longest source that the model takes", n)
    if n < n_tokens:
        raise about(InvalidArgumentError, "pad_to", f"is {n}, but the source has {n_tokens} tokens. Nothing is cut.")
    return n - n_tokens
