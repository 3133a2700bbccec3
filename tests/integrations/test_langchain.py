"""t5g inside LangChain: embeddings, and a language model that can be invoked, streamed, batched and chained."""

from __future__ import annotations

import numpy as np
import pytest
import t5g

pytest.importorskip("langchain_core")
pytestmark = pytest.mark.oracle

TEXT = "httpx is a fully featured HTTP client library for Python 3."


def test_embeddings() -> None:
    from langchain_core.vectorstores import InMemoryVectorStore
    from t5g.integrations.langchain import T5gEmbeddings

    with t5g.Model() as model:
        embeddings = T5gEmbeddings(model, pooling="max")
        expected = model.embed(["one", "another"], pooling="max")
        np.testing.assert_array_equal(np.array(embeddings.embed_documents(["one", "another"]), np.float32), expected)
        np.testing.assert_array_equal(np.array(embeddings.embed_query("one"), np.float32), expected[0])
        store = InMemoryVectorStore.from_texts([TEXT, "a game of cards"], embeddings)
        assert store.similarity_search(TEXT, k=1)[0].page_content == TEXT


def test_a_language_model() -> None:
    from langchain_core.prompts import PromptTemplate
    from t5g.integrations.langchain import T5gLLM

    with t5g.Model() as model:
        expected = model.generate(TEXT, max_new_tokens=12).text
        llm = T5gLLM(model=model, options={"max_new_tokens": 12})
        assert llm.invoke(TEXT) == expected
        assert "".join(llm.stream(TEXT)) == expected
        assert llm.batch([TEXT, TEXT]) == [expected, expected]
        assert (PromptTemplate.from_template("{text}") | llm).invoke({"text": TEXT}) == expected
        first = expected.split()[0]
        assert llm.invoke(TEXT, stop=[first]) == model.generate(TEXT, max_new_tokens=12, stop=[first]).text
        assert llm.invoke(TEXT, max_new_tokens=1) == model.generate(TEXT, max_new_tokens=1).text


def test_stop_in_options() -> None:
    from t5g.integrations.langchain import T5gLLM

    with t5g.Model() as model:
        first, second = model.generate(TEXT, max_new_tokens=12).text.split()[:2]
        ends = {stop: model.generate(TEXT, max_new_tokens=12, stop=[stop]).text for stop in (first, second)}
        assert ends[first] != ends[second]
        for stop in ([second], second):
            llm = T5gLLM(model=model, options={"max_new_tokens": 12, "stop": stop})
            for ask in (llm.invoke, lambda text, llm=llm, **given: "".join(llm.stream(text, **given))):
                assert ask(TEXT) == ends[second]
                assert ask(TEXT, stop=[first]) == ends[first]
                assert ask(TEXT, stop=[]) == model.generate(TEXT, max_new_tokens=12).text
            assert llm.bind(stop=[first]).invoke(TEXT) == ends[first]
