"""Requests of every kind: no 500, no crash, no hang, and every error in OpenAI's form.

``T5G_FUZZ=20000`` makes so many, which takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import t5g
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.serving import Answer, Running, running

# What may stand anywhere.
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([2**63, -1, 0, 1])
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

ids = st.lists(st.integers(-1, 300) | st.integers(), max_size=6)
texts = st.text(max_size=20) | st.sampled_from(["a tool", "\ud800", "<start_of_image>", "<eos>", "x" * 5000])
images = st.lists(
    st.sampled_from(["data:image/png;base64,AAAA", "/etc/passwd", "http://a/b", ""]) | anything, max_size=2
)
message = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system"]) | anything,
        "content": texts
        | st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["text", "image_url"])}, optional={"text": texts, "image_url": anything}
            ),
            max_size=2,
        )
        | anything,
    },
)

_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "model": texts | st.sampled_from(["tiny", "tiny:", "tiny:a"]),
    "max_tokens": st.integers(-1, 4),
    "max_new_tokens": st.integers(-1, 4),
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1),
    "top_k": st.integers(-1, 10),
    "min_p": st.floats(0, 1),
    "n": st.integers(0, 5),
    "num_beams": st.integers(0, 5),
    "seed": st.integers(),
    "stop": texts | st.lists(texts, max_size=3),
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans()}),
    "repetition_penalty": st.floats(),
    "no_repeat_ngram_size": st.integers(-1, 4),
    "min_new_tokens": st.integers(-1, 4),
    "length_penalty": st.floats(),
    "early_stopping": st.sampled_from([True, False, "never", "x"]),
    "draft": st.sampled_from(["source", "off", "x"]),
    "decoder_prefix": texts | ids,
    "parse_special": st.booleans(),
    "skip_special_tokens": st.booleans(),
    "return_token_ids": st.booleans(),
    "timeout": st.floats(),
    "logprobs": st.integers(-1, 6) | st.booleans(),
    "top_logprobs": st.integers(-1, 21),
    "logit_bias": st.dictionaries(
        st.text(max_size=4) | st.integers(0, 300).map(str), st.floats(-100, 100) | anything, max_size=3
    ),
    "response_format": st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "json_object", "json_schema", "x"])},
        optional={"json_schema": anything | st.fixed_dictionaries({"schema": anything})},
    ),
    "choices": st.lists(texts, max_size=3),
    "regex": st.sampled_from(["[ab]+", "(", "a{1000000}", ".*"]),
    "suppress_tokens": ids,
    "bad_words": st.lists(texts | ids, max_size=2),
    "echo": st.booleans(),
    "presence_penalty": st.floats(),
    "images": images,
    "truncation": st.sampled_from(["error", "end", "start", "middle", "auto", "x"]),
    "adapters": st.sampled_from([[], {}, "a", ["a"], {"a": 1}]) | anything,
}


def fields(own: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Some fields of an endpoint, most of them with fitting values."""
    few = {name: st.one_of(value, value, value, anything) for name, value in (_FIELDS | own).items()}
    return st.lists(st.sampled_from(sorted(few)), max_size=5, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: few[name] for name in {*names, *own}})
    )


written = st.fixed_dictionaries(
    {}, optional={"format": _FIELDS["response_format"] | anything, "verbosity": st.just("medium") | anything}
)
prompt = texts | ids | st.lists(texts | ids, max_size=3)
bodies = st.one_of(
    st.tuples(st.just("/v1/completions"), fields({"prompt": prompt})),
    st.tuples(st.just("/v1/completions"), fields({"source": texts})),
    st.tuples(st.just("/v1/chat/completions"), fields({"messages": st.lists(message, max_size=3)})),
    st.tuples(st.just("/v1/responses"), fields({"input": texts | st.lists(message, max_size=2)})),
    st.tuples(
        st.just("/v1/responses"),
        fields(
            {"input": texts, "text": written, "metadata": st.dictionaries(st.text(max_size=4), anything, max_size=2)}
        ),
    ),
    st.tuples(
        st.just("/v1/embeddings"),
        st.fixed_dictionaries(
            {"input": prompt},
            optional={
                "encoding_format": st.sampled_from(["float", "base64"]) | anything,
                "dimensions": st.integers() | anything,
                "truncation": st.sampled_from(["end", "middle"]) | anything,
            },
        ),
    ),
    st.tuples(
        st.just("/v1/sources"),
        st.fixed_dictionaries(
            {},
            optional={
                "input": prompt,
                "file": texts | st.just("data:application/pdf;base64,JVBERi0="),
                "images": images,
                "messages": st.lists(message, max_size=2),
                "with_pieces": st.booleans() | anything,
            },
        ),
    ),
    st.tuples(
        st.sampled_from(["/tokenize", "/detokenize", "/v1/attention"]),
        st.fixed_dictionaries(
            {},
            optional={
                "content": texts | anything,
                "tokens": ids | anything,
                "with_pieces": st.booleans(),
                "add_special_tokens": st.booleans() | anything,
                "source": texts,
            },
        ),
    ),
    st.tuples(st.sampled_from(["/v1/completions", "/v1/embeddings", "/tokenize"]), anything),
)
raw = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.sampled_from(["/", "/page/x", "/v1/sources/x", "/v1/models/x/y", "/v1/completions", "/metrics", "/%00", "//"]),
    st.binary(max_size=40),
)


@pytest.fixture(scope="module")
def fuzzed(model: t5g.Model) -> Iterator[Running]:
    with running(model, max_batch_size=4, timeout_seconds=20.0, source_bytes=1 << 20) as server:
        yield server
        assert server.post("/v1/completions", {"prompt": "a tool", "max_tokens": 2}).status == 200
        server.wait_until("t5g_running", 0)


def check(answer: Answer) -> None:
    assert answer.status != 500, answer.content
    if answer.status >= 400:
        assert answer.error
    elif answer.headers.get("content-type", "").startswith("text/event-stream"):
        assert answer.events
    elif answer.headers.get("content-type") == "application/json":
        assert answer.json


def fuzz(server: Running, n: int) -> None:
    few = settings(max_examples=n, deadline=None, suppress_health_check=list(HealthCheck), derandomize=n < 1000)

    @few
    @given(bodies)
    def test_bodies(case: tuple[str, Any]) -> None:
        check(server.post(*case))

    @settings(few, max_examples=n // 5)
    @given(raw)
    def test_raw(case: tuple[str, str, bytes]) -> None:
        method, path, body = case
        check(server.send(method, path, body, {"Content-Type": "application/json"}))

    test_bodies()
    test_raw()


def test_requests_of_every_kind(fuzzed: Running) -> None:
    fuzz(fuzzed, int(os.environ.get("T5G_FUZZ", "250")))
