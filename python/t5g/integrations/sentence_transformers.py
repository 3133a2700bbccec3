"""A model's encoder as a module of sentence-transformers (extra ``sentence-transformers``).

>>> from t5g.integrations.sentence_transformers import load  # doctest: +SKIP
>>> model = load("t5gemma-2-270m.gguf")  # doctest: +SKIP
>>> model.encode(["one text", "another"]).shape  # doctest: +SKIP
(2, 640)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from sentence_transformers import SentenceTransformer

import t5g
from t5g import adapters as adapters_of_call

try:
    from sentence_transformers.base.modules import InputModule
except ImportError:  # before 6
    from sentence_transformers.models import InputModule

if TYPE_CHECKING:
    from t5g.adapters import Adapters


class T5g(InputModule):  # type: ignore[misc]
    """Texts to vectors: all that a ``SentenceTransformer(modules=[T5g(...)])`` needs.

    Parameters
    ----------
    model
        A :class:`t5g.Model`, or the path of one, which may be an encoder alone.
    pooling, normalize, batch_size, layer, adapters
        As in :meth:`t5g.Model.embed`; adapters are the same for all texts.
    adapter_files
        Adapters to load: ``{name: [path, scale]}``.
    model_options
        As in :class:`t5g.Model`, where `model` is a path.

    Notes
    -----
    What is saved names the files of the model and of the adapters in use by their absolute paths, and has the options
    of the model that texts and vectors depend on. Where a model runs is for each machine to say.
    """

    config_keys: list[str] = [  # noqa: RUF012
        "model",
        "pooling",
        "normalize",
        "batch_size",
        "layer",
        "adapters",
        "adapter_files",
        "model_options",
    ]
    save_in_root = True

    def __init__(
        self,
        model: t5g.Model | str | os.PathLike[str] | None = None,
        *,
        pooling: Literal["mean", "first", "last", "max"] = "mean",
        normalize: bool = True,
        batch_size: int = 32,
        layer: int = -1,
        adapters: Adapters = None,
        adapter_files: Mapping[str, Sequence[Any]] | None = None,
        model_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(model, t5g.Model) and model_options:
            raise t5g.InvalidArgumentError("model_options: are for a path, but the model is open already.")
        self.t5g = model if isinstance(model, t5g.Model) else t5g.Model(model, **(model_options or {}))
        self.model = str(Path(self.t5g.path).absolute())  # of now: the program may go elsewhere
        self.pooling, self.normalize, self.batch_size = pooling, normalize, batch_size
        self.layer, self.adapters = layer, adapters
        for name, (path, scale) in (adapter_files or {}).items():
            self.t5g.load_adapter(path, name, scale)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, which is not one of transformers."""
        return self.t5g.tokenizer

    @property
    def max_seq_length(self) -> int:
        """The longest text, in tokens. A longer one is an error: nothing is cut."""
        return self.t5g.max_source_tokens

    def get_embedding_dimension(self) -> int:
        """Give the length of vectors."""
        return self.t5g.config.encoder.hidden_size

    def get_sentence_embedding_dimension(self) -> int:
        """Give the length of vectors, as older versions call it."""
        return self.get_embedding_dimension()

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """Tokenise texts. Ids are padded, as callers expect tensors; no padding reaches the encoder."""
        ids = [self.t5g.tokenizer.encode((prompt or "") + _text(one)) for one in inputs]
        longest = max(map(len, ids), default=0)
        padded = torch.zeros(len(ids), longest, dtype=torch.long)
        mask = torch.zeros(len(ids), longest, dtype=torch.long)
        for i, row in enumerate(ids):
            padded[i, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[i, : len(row)] = 1
        return {"input_ids": padded, "attention_mask": mask}

    def tokenize(self, texts: Sequence[Any], **_: Any) -> dict[str, Any]:
        """Tokenise texts, as older versions call it."""
        return self.preprocess(texts)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add ``sentence_embedding`` [n, hidden_size] to what `preprocess` gives."""
        lengths = features["attention_mask"].sum(dim=1).tolist()
        rows = features["input_ids"].tolist()
        ids = [row[:n] for row, n in zip(rows, lengths, strict=True)]
        vectors = self.t5g.embed(
            ids,
            pooling=self.pooling,
            normalize=self.normalize,
            batch_size=self.batch_size,
            layer=self.layer,
            adapters=[self.adapters] * len(ids),  # a list of names alone would be one for each text
        )
        device = features["input_ids"].device
        features["sentence_embedding"] = torch.from_numpy(vectors).to(device)
        return features

    @property
    def model_options(self) -> dict[str, Any]:
        """What the model was opened with, as far as texts and vectors depend on it."""
        limit = self.t5g.max_source_tokens
        of_file = limit == self.t5g.config.encoder.max_position_embeddings
        window = self.t5g.encoder_window
        return ({} if of_file else {"max_source_tokens": limit}) | (
            {} if window == "exclusive" else {"encoder_window": window}
        )

    @property
    def adapter_files(self) -> dict[str, list[Any]]:
        """The adapters in use: ``{name: [path, scale]}``."""
        loaded, chosen = self.t5g.adapters, adapters_of_call.choice(self.adapters)
        names = [*loaded] if chosen is None else [name for name, _ in chosen]
        if missing := [name for name in names if name not in loaded]:
            raise t5g.InvalidArgumentError(f"adapters: {missing[0]!r} is not loaded, so it cannot be saved.")
        return {name: [self.t5g._adapter_files[name], loaded[name]] for name in names}

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write which model it is, and which adapters; their files stay where they are."""
        self.save_config(output_path)


def _text(one: Any) -> str:
    if isinstance(one, str):
        return one
    raise t5g.ArgumentTypeError(f"a text must be a str, got a {type(one).__name__}.")


def load(model: t5g.Model | str | os.PathLike[str] | None = None, **options: Any) -> SentenceTransformer:
    """Make a ``SentenceTransformer`` of a model. Arguments are those of `T5g`."""
    return SentenceTransformer(modules=[T5g(model, **options)], device="cpu")
