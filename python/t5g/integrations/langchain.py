"""Embeddings and a language model for LangChain (extra ``langchain``: langchain-core).

>>> from t5g.integrations.langchain import T5gEmbeddings, T5gLLM  # doctest: +SKIP
>>> T5gEmbeddings("model.gguf").embed_query("a text")  # doctest: +SKIP
>>> (prompt | T5gLLM(model="model.gguf", options={"max_new_tokens": 100})).invoke({"text": "..."})  # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.embeddings import Embeddings
from langchain_core.language_models.llms import LLM
from langchain_core.outputs import GenerationChunk
from pydantic import ConfigDict, PrivateAttr

import t5g


class T5gEmbeddings(Embeddings):  # type: ignore[misc]
    """Vectors from a model's encoder.

    Parameters
    ----------
    model
        A :class:`t5g.Model`, or the path of one, which may be an encoder alone.
    **options
        As in :meth:`t5g.Model.embed`: pooling, normalize, batch_size, layer, adapters.
    """

    def __init__(self, model: t5g.Model | str | os.PathLike[str] | None = None, **options: Any) -> None:
        self.model = model if isinstance(model, t5g.Model) else t5g.Model(model)
        self._options = options

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Give a vector for each text."""
        return [[float(value) for value in row] for row in self.model.embed(texts, **self._options)]

    def embed_query(self, text: str) -> list[float]:
        """Give the vector of one text."""
        return self.embed_documents([text])[0]


class T5gLLM(LLM):  # type: ignore[misc]
    """Texts from a model. The prompt is the source.

    Parameters
    ----------
    model
        A :class:`t5g.Model`, or the path of one. ``None``: the bundled one.
    options
        As in :meth:`t5g.Model.generate`; a call's own come on top, `stop` among them.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: t5g.Model | str | os.PathLike[str] | None = None
    options: dict[str, Any] = {}  # noqa: RUF012  a field of pydantic, which copies it
    _opened: t5g.Model = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Open the model."""
        super().model_post_init(context)
        self._opened = self.model if isinstance(self.model, t5g.Model) else t5g.Model(self.model)

    @property
    def _llm_type(self) -> str:
        return "t5g"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model": str(self._opened.path), **self.options}

    def _options(self, stop: list[str] | None, given: dict[str, Any]) -> dict[str, Any]:
        """Options of a call; LangChain's `stop` is an argument of its own, None where the caller gives none."""
        return self.options | given | ({} if stop is None else {"stop": stop})

    def _call(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> str:
        return self._opened.generate(prompt, **self._options(stop, kwargs)).text

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        with self._opened.stream(prompt, **self._options(stop, kwargs)) as stream:
            is_empty = True
            for piece in stream:
                if run_manager is not None:
                    run_manager.on_llm_new_token(piece)
                is_empty = False
                yield GenerationChunk(text=piece)
            if is_empty:  # LangChain takes no chunk at all for a failure
                yield GenerationChunk(text="")
