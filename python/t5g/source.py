"""Encoded sources: text that has been read once and can be used by any number of calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from t5g import _core, arguments
from t5g.errors import ArgumentTypeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from t5g.model import Model


class EncodedSource:
    """The encoder's view of one source, made by :meth:`t5g.Model.encode`.

    It never changes, outlives the model that made it, and serves every model of the same file, from any thread: other
    options than ``encoder_window`` do not matter (one that differs is refused where the source is longer than the
    window). Saved, it can be loaded in another process. A model keeps what its decoder needs of the sources used last,
    up to 4 GiB, so that asking again about one is cheap.
    """

    def __init__(self, core: _core.EncodedSource) -> None:
        if not isinstance(core, _core.EncodedSource):
            raise arguments.wrong_type("EncodedSource", "made by model.encode(source)", core)
        self._core = core

    @property
    def hidden_states(self) -> npt.NDArray[np.float32]:
        """The encoder's hidden states, float32 [n_tokens, hidden_size], read-only.

        With ``pad_to=`` there are more rows than tokens, and with ``layer=`` they are not the final ones. Not copied,
        but for sources of which a model keeps the output alone (``source_cache`` of :class:`t5g.Model`) in fewer bits:
        each reading then makes the floats anew.
        """
        return self._core.hidden_states

    @property
    def attention_mask(self) -> npt.NDArray[np.int64]:
        """Which rows of ``hidden_states`` are tokens, int64 [n_rows]: 1, and 0 for padding, which comes last."""
        import numpy as np

        mask = np.zeros(len(self.hidden_states), np.int64)
        mask[: self.n_tokens] = 1
        return mask

    @property
    def adapters(self) -> dict[str, float]:
        """The adapters that it was made with, and their scales. Calls on it use them, and refuse others."""
        return dict(self._core.adapters)

    @property
    def token_ids(self) -> list[int]:
        """The source's tokens."""
        return self._core.token_ids

    @property
    def n_tokens(self) -> int:
        """How many tokens the source has."""
        return self._core.n_tokens

    @property
    def n_truncated(self) -> int:
        """How many tokens ``truncation`` has cut away, which the source would have had besides."""
        return self._core.n_truncated

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the source to a file, whole or not at all.

        Raises
        ------
        OSError
            When it cannot be written; nothing is left behind then.
        """
        self._core.save(arguments.native_path("path", path))

    @classmethod
    def load(cls, model: Model, path: str | os.PathLike[str]) -> EncodedSource:
        """Read a source that ``save`` has written.

        Raises
        ------
        FileNotFoundError
        ModelFormatError
            The file is damaged, or was made with another model or ``encoder_window``.
        """
        from t5g.model import Model

        if not isinstance(model, Model):
            raise arguments.wrong_type("model", "a t5g.Model", model)
        return cls(model._native.load_source(arguments.native_path("path", path)))

    def __copy__(self) -> EncodedSource:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> EncodedSource:
        return self

    def __reduce__(self) -> NoReturn:
        raise ArgumentTypeError(
            "an EncodedSource cannot be pickled. Use save(path) and EncodedSource.load(model, path)."
        )

    def __repr__(self) -> str:
        return f"EncodedSource(n_tokens={self.n_tokens})"
