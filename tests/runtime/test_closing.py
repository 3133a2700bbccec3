"""Closing a model gives its memory back, whatever else is alive; what needs the model afterwards says so."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import t5g

IDS = [5, 9, 200, 31, 77, 8, 120, 4, 66]
FILES = Path("/proc/self/fd")


def a_running_stream(model: t5g.Model) -> object:
    stream = model.stream(IDS, max_new_tokens=30, min_new_tokens=30)
    stream._generator.step()
    return stream


def an_exception_with_a_traceback(model: t5g.Model) -> object:
    def fail(ids: object) -> None:
        raise KeyError(model.generate(ids, max_new_tokens=2))

    try:
        fail(IDS)
    except KeyError as error:
        kept = [error]
    try:
        model.generate([-1])
    except ValueError as error:
        kept.append(error)
    return kept


KEPT: dict[str, Callable[[t5g.Model], object]] = {
    "model": lambda model: model,
    "tokenizer": lambda model: model.tokenizer,
    "source": lambda model: model.encode(IDS),
    "hidden states": lambda model: model.encode(IDS).hidden_states,
    "generation": lambda model: model.generate(model.encode(IDS), max_new_tokens=5),
    "beams": lambda model: model.generate(IDS, max_new_tokens=5, num_beams=2, num_return_sequences=2),
    "method": lambda model: model.generate,
    "native method": lambda model: model._native.encode,
    "stream": a_running_stream,
    "exception": an_exception_with_a_traceback,
}


def is_open(path: Path) -> bool:
    return any(file.exists() and file.samefile(path) for file in FILES.iterdir())


@pytest.mark.skipif(not FILES.exists(), reason="the system does not say what is open")
@pytest.mark.parametrize("kind", KEPT)
def test_nothing_keeps_the_file_open(tiny_path: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.gguf"  # opened by nobody else
    path.write_bytes(tiny_path.read_bytes())
    model = t5g.Model(path, load="map")
    kept = KEPT[kind](model)
    assert is_open(path)
    model.close()
    assert not is_open(path)
    del kept


RESIDENT = """
import os, sys
import numpy  # which is large, and has threads
import t5g

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def threads():
    return len(os.listdir("/proc/self/task"))

ids = [5, 9, 200, 31, 77]
with t5g.Model() as warm:  # what the first use of everything costs, once
    warm.generate(ids, max_new_tokens=3).logprob
before, threads_before = resident(), threads()
for _ in range(2):
    model = t5g.Model(sys.argv[1], n_threads=3)
    source = model.encode([*range(4, 60)])
    stream = model.stream(source, max_new_tokens=30, min_new_tokens=30)
    stream._generator.step()
    unread = model.generate(source, max_new_tokens=5, draft="off")
    try:
        model.score(source, [-1])
    except ValueError as error:
        kept = [error, stream, unread, source, source.hidden_states, model, model.tokenizer, model.generate]
    during = resident()
    model.close()
    after, threads_after = resident(), threads()
print(model.path.stat().st_size, before, during, after, threads_after - threads_before)
"""


@pytest.fixture(scope="module")
def big_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 50 MB."""
    pytest.importorskip("gguf")
    pytest.importorskip("sentencepiece")
    from support.folders import Folder, t5gemma2_config

    config = t5gemma2_config()
    for side in (config["encoder"]["text_config"], config["decoder"]):
        side["intermediate_size"] = 16384
    folder = tmp_path_factory.mktemp("big")
    t5g.convert(Folder.of(config).write(folder / "hf"), folder / "big.gguf", type="f32", vision=False)
    return folder / "big.gguf"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say what is resident")
def test_the_memory_is_gone(big_path: Path) -> None:
    # An address sanitizer would keep what is freed.
    environment = {**os.environ, "ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:quarantine_size_mb=0"}
    command = [sys.executable, "-c", RESIDENT, str(big_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    size, before, during, after, threads = map(int, out.stdout.split())
    assert during - before > 0.8 * size
    assert after - before < 0.1 * size  # what the heap does not give back
    assert threads == 0


def test_what_the_model_made_lives_on(tiny_path: Path) -> None:
    with t5g.Model(tiny_path) as model:
        source = model.encode(IDS)
        out = model.generate(source, max_new_tokens=5, num_beams=2)
        logprob = model.generate(source, max_new_tokens=5).logprob
        tokenizer, config = model.tokenizer, model.config
        stream = model.stream(source, max_new_tokens=30, min_new_tokens=30)
        pieces = [next(stream)]
    model.close()
    assert source.hidden_states.shape == (len(IDS), config.encoder.hidden_size)
    assert source.token_ids == IDS
    assert np.isfinite([out.logprob, logprob]).all()
    assert tokenizer.decode(tokenizer.encode("some text")) == "some text"
    with pytest.raises(ValueError, match="closed") as caught:
        pieces += stream
    assert isinstance(caught.value, t5g.T5gError)
    assert list(stream) == []
    assert stream.result.finish_reason == "cancelled"
    assert stream.result.text.startswith(pieces[0])
    stream.close()
    with t5g.Model(tiny_path) as again:
        assert again.generate(source, max_new_tokens=5, num_beams=2).token_ids == out.token_ids


def test_a_stream_that_was_stopped_ends_quietly_after_the_model(tiny_path: Path) -> None:
    with t5g.Model(tiny_path) as model:
        streams = [model.stream(IDS, max_new_tokens=30, min_new_tokens=30) for _ in range(2)]
        for stream in streams:
            next(stream)
    streams[0].cancel()
    streams[1].close()
    for stream in streams:
        assert list(stream) == []
        assert stream.result.finish_reason == "cancelled"


CALLS: dict[str, Callable[[t5g.Model, t5g.EncodedSource], object]] = {
    "encode": lambda model, source: model.encode(IDS),
    "embed": lambda model, source: model.embed([IDS]),
    "generate": lambda model, source: model.generate("text"),
    "generate_batch": lambda model, source: model.generate_batch([IDS, source]),
    "stream": lambda model, source: model.stream(source),
    "score": lambda model, source: model.score(source, [5]),
    "logits": lambda model, source: model.logits(source, [5]),
    "load": lambda model, source: t5g.EncodedSource.load(model, __file__),
    "memory": lambda model, source: model.memory(),
    "device": lambda model, source: model.device,
    "n_threads": lambda model, source: model.n_threads,
    "kv_type": lambda model, source: model.kv_type,
    "apply_chat_template": lambda model, source: model.apply_chat_template([{"role": "user", "content": "a"}]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_model_says_so(tiny_path: Path, name: str) -> None:
    with t5g.Model(tiny_path) as model:
        source = model.encode(IDS)
    with pytest.raises(ValueError, match=r"^the model is closed\.$"):
        CALLS[name](model, source)


def test_calls_under_way_end_with_an_error(tiny_path: Path) -> None:
    """Whatever threads do when the model is closed, it ends at once, either well or by saying why."""
    long = [i % 250 + 4 for i in range(100)]
    work: list[Callable[[t5g.Model], object]] = [
        lambda model: model.generate(long, max_new_tokens=100, min_new_tokens=100),
        lambda model: list(model.stream(long, max_new_tokens=100, min_new_tokens=100)),
        lambda model: model.generate(long, max_new_tokens=100, min_new_tokens=100, num_beams=3).logprob,
        lambda model: model.encode(long),
        lambda model: model.score(model.encode(long), long),
    ]
    for round in range(10):
        model = t5g.Model(tiny_path, n_threads=2)
        ends: list[Exception] = []
        threads = [threading.Thread(target=repeat, args=(what, model, ends)) for what in work]
        for thread in threads:
            thread.start()
        time.sleep(0.005 * round)
        model.close()
        for thread in threads:
            thread.join(timeout=10)
            assert not thread.is_alive()
        assert [type(error) for error in ends] == [t5g.InvalidArgumentError] * len(work)
        assert all("closed" in str(error) for error in ends)


def repeat(what: Callable[[t5g.Model], object], model: t5g.Model, ends: list[Exception]) -> None:
    """Do this until an exception comes."""
    try:
        while True:
            what(model)
    except Exception as error:
        ends.append(error)


def test_many_threads_may_close(tiny_path: Path) -> None:
    for _ in range(20):
        model = t5g.Model(tiny_path, n_threads=2)
        model.encode(IDS)
        threads = [threading.Thread(target=model.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
