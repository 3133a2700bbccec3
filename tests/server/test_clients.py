"""The clients that people use: OpenAI's package, LangChain's classes for it, and curl."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from typing import Any

import numpy as np
import openai
import pytest
import t5g
from support.serving import Running, running

TEXT = "httpx is a fully featured HTTP client library for Python 3."
MESSAGES: Any = [{"role": "user", "content": TEXT}]


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.v1, api_key="none", max_retries=0)


# ---- openai ----


def test_openai(client: openai.OpenAI, model: t5g.Model) -> None:
    alone = model.generate(TEXT)
    completion = client.completions.create(model="tiny", prompt=TEXT)
    assert completion.choices[0].text == alone.text
    assert completion.usage is not None
    assert completion.usage.completion_tokens == len(alone.token_ids)
    chat = client.chat.completions.create(model="tiny", messages=MESSAGES, extra_body={"num_beams": 3}, n=2)
    beams = model.generate(TEXT, num_beams=3, num_return_sequences=2)
    assert [choice.message.content for choice in chat.choices] == [sequence.text for sequence in beams.sequences]
    assert [found.id for found in client.models.list()] == ["tiny"]


def test_openai_streams(client: openai.OpenAI, model: t5g.Model) -> None:
    alone = model.generate(TEXT)
    pieces = [chunk.choices[0].text for chunk in client.completions.create(model="tiny", prompt=TEXT, stream=True)]
    assert "".join(pieces) == alone.text
    options: Any = {"include_usage": True}
    chunks = [*client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True, stream_options=options)]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == alone.text
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(alone.token_ids)


def test_openai_async(server: Running, model: t5g.Model) -> None:
    async def ask() -> tuple[list[str], str]:
        async with openai.AsyncOpenAI(base_url=server.v1, api_key="none") as client:
            several = await asyncio.gather(
                *(client.completions.create(model="tiny", prompt=f"{TEXT} {i}", max_tokens=6) for i in range(8))
            )
            stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            return [one.choices[0].text for one in several], text

    texts, streamed = asyncio.run(ask())
    assert texts == [model.generate(f"{TEXT} {i}", max_new_tokens=6).text for i in range(8)]
    assert streamed == model.generate(TEXT).text


@pytest.mark.usefixtures("slow_steps")
def test_openai_responses(client: openai.OpenAI, model: t5g.Model) -> None:
    alone = model.generate(TEXT)
    response = client.responses.create(model="tiny", input=TEXT)
    assert (response.output_text, response.status) == (alone.text, "completed")
    assert response.usage is not None
    assert response.usage.output_tokens == len(alone.token_ids)
    short = client.responses.create(model="tiny", input=MESSAGES, max_output_tokens=2, instructions="Be brief.")
    assert (short.output_text, short.status) == (model.generate(TEXT, max_new_tokens=2).text, "incomplete")
    with client.responses.stream(model="tiny", input=TEXT) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().output_text == alone.text
    assert len(pieces) > 2
    assert "".join(pieces) == alone.text
    with pytest.raises(openai.BadRequestError, match="max_output_tokens"):
        client.responses.create(model="tiny", input=TEXT, max_output_tokens=0)


def test_openai_embeddings(client: openai.OpenAI, model: t5g.Model) -> None:
    texts = ["a tool", TEXT]
    found = client.embeddings.create(model="tiny", input=texts)  # base64, unless it is told otherwise
    np.testing.assert_array_equal(np.asarray([d.embedding for d in found.data], np.float32), model.embed(texts))


def test_openai_errors(client: openai.OpenAI, model: t5g.Model) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature") as wrong:
        client.completions.create(model="tiny", prompt=TEXT, temperature=-1)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
    with running(model, api_key="right") as server:
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=server.v1, api_key="wrong").models.list()
        assert openai.OpenAI(base_url=server.v1, api_key="right").models.list().data


# ---- LangChain ----


def test_langchain(server: Running, model: t5g.Model) -> None:
    langchain = pytest.importorskip("langchain_openai")
    where: dict[str, Any] = {"base_url": server.v1, "api_key": "none", "model": "tiny"}
    alone = model.generate(TEXT)
    chat = langchain.ChatOpenAI(**where)
    assert chat.invoke(TEXT).content == alone.text
    assert "".join(chunk.content for chunk in chat.stream(TEXT)) == alone.text
    assert [answer.content for answer in chat.batch([TEXT, "a tool"])] == [alone.text, model.generate("a tool").text]
    assert asyncio.run(chat.ainvoke(TEXT)).content == alone.text
    assert (
        langchain.OpenAI(**where, max_tokens=5, temperature=0).invoke(TEXT)
        == model.generate(TEXT, max_new_tokens=5).text
    )
    vectors = langchain.OpenAIEmbeddings(**where, check_embedding_ctx_length=False).embed_documents([TEXT])
    np.testing.assert_array_equal(np.asarray(vectors, np.float32), model.embed([TEXT]))


# ---- curl ----


def test_curl(server: Running, model: t5g.Model) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")

    def curl(path: str, body: Any, *more: str) -> str:
        command = [
            "curl",
            "-sS",
            "--noproxy",
            "*",
            "-H",
            "Content-Type: application/json",
            "-d",
            json.dumps(body),
            *more,
        ]
        return subprocess.run(
            [*command, server.url + path], capture_output=True, text=True, check=True, timeout=60
        ).stdout

    alone = model.generate(TEXT, max_new_tokens=6)
    assert json.loads(curl("/v1/completions", {"prompt": TEXT, "max_tokens": 6}))["choices"][0]["text"] == alone.text
    lines = curl("/v1/completions", {"prompt": TEXT, "max_tokens": 6, "stream": True}, "-N").split("\n\n")
    assert lines[-2] == "data: [DONE]"
    assert "".join(json.loads(line[6:])["choices"][0]["text"] for line in lines[:-2]) == alone.text
