"""Everything that threads may do with a model at once: what each finds is what it finds alone.

They meet most where there is no interpreter's lock (docs/platforms.md). With one, they change places as often as it
lets them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
import t5g.asynchronous
from support.adapters import write_adapted
from support.folders import t5gemma2_config, t5gemma_config

pytest.importorskip("gguf")

IDS = [2, 17, 40, 99, 31, 250, 3, 12]
OTHER = [2, 60, 71, 200, 12]
TEXT = "tar is an archiving program, and <b> é 東京 🙂"
FEW: dict[str, Any] = {"max_new_tokens": 6, "min_new_tokens": 6, "adapters": []}
N_THREADS = 6
ONE, TWO = t5gemma_config, t5gemma2_config


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module", params=[(ONE,), (TWO,), (ONE, TWO)], ids=["t5gemma", "t5gemma2", "both"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [write_adapted(tmp_path_factory.mktemp("threads"), config()) for config in request.param]


@pytest.fixture
def models(folders: list[Path]) -> Iterator[list[t5g.Model]]:
    opened = [t5g.Model(folder / "m.gguf", n_threads=2) for folder in folders]
    yield opened
    for model in opened:
        model.close()


def at_once(*bodies: Callable[[], object]) -> list[Any]:
    """Call each on a thread of its own, all from the same moment -> what they return, or raise."""
    barrier = threading.Barrier(len(bodies))
    found: list[Any] = [None] * len(bodies)

    def run(i: int) -> None:
        barrier.wait()
        try:
            found[i] = bodies[i]()
        except BaseException as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    return found


def told(out: t5g.Generation) -> Any:
    return [(one.text, one.token_ids, one.finish_reason, one.logprob, one.token_logprobs) for one in out.sequences]


class Work:
    """What a thread does with a model and its own files; each method gives something to compare."""

    def __init__(self, model: t5g.Model, folder: Path, own: Path, name: str) -> None:
        self.model, self.folder, self.own, self.name = model, folder, own, name

    def encode(self) -> Any:
        seen: list[tuple[int, int]] = []
        source = self.model.encode(IDS, adapters=[], progress=lambda done, total: seen.append((done, total)))
        return source.token_ids, source.hidden_states.tobytes(), seen[0], seen[-1]

    def generate(self) -> Any:
        return told(self.model.generate(IDS, **FEW))

    def sample(self) -> Any:
        return told(self.model.generate(OTHER, temperature=1.0, seed=4, num_return_sequences=2, **FEW))

    def beams(self) -> Any:
        return told(self.model.generate(OTHER, num_beams=3, num_return_sequences=2, logit_bias={7: 0.5}, **FEW))

    def constrained(self) -> Any:
        def allowed(ids: list[int]) -> list[int]:
            return [5 + len(ids), 9, 40]

        return told(self.model.generate(IDS, allowed_tokens=allowed, **FEW))

    def batch(self) -> Any:
        return [told(out) for out in self.model.generate_batch([IDS, OTHER, IDS], max_batch_size=2, **FEW)]

    def one_by_one(self) -> Any:
        return [told(out) for out in self.model.generate_iter(iter([IDS, OTHER]), **FEW)]

    def stream(self) -> Any:
        with self.model.stream(IDS, **FEW) as stream:
            return "".join(stream), told(stream.result)

    def stopped_stream(self) -> Any:
        with self.model.stream(IDS, **FEW) as stream:
            next(stream, None)
        ids = stream.result.token_ids
        return ids == self.model.generate(IDS, **FEW).token_ids[: len(ids)]

    def score(self) -> Any:
        score = self.model.score(IDS, OTHER, adapters=[])
        several = self.model.score_batch([IDS, OTHER], [OTHER, IDS], adapters=[])
        return score.logprob, score.token_logprobs.tobytes(), [one.logprob for one in several]

    def embed(self) -> Any:
        return np.asarray(self.model.embed([IDS, OTHER], adapters=[])).tobytes()

    def look(self) -> Any:
        source = self.model.encode(OTHER, adapters=[])
        attention, logits = self.model.attention(source, IDS), self.model.logits(source, IDS)
        return attention.tobytes(), logits.tobytes()

    def save(self) -> Any:
        path = self.own / f"{self.name}.source"
        self.model.encode(IDS, adapters=[]).save(path)
        source = t5g.EncodedSource.load(self.model, path)
        return path.read_bytes(), source.hidden_states.tobytes(), told(self.model.generate(source, **FEW))

    def adapter(self) -> Any:
        self.model.load_adapter(self.folder / "a.gguf", self.name, 0.5)
        try:
            out = self.model.generate(IDS, **FEW | {"adapters": self.name})
            return told(out), self.model.adapters[self.name]
        finally:
            self.model.unload_adapter(self.name)

    def ask(self) -> Any:
        model = self.model
        known = model.device, model.n_threads, model.kv_type, model.max_source_tokens, model.source_memory(99)
        return known, model.memory(), model.config, dict(model.generation_defaults), dict(model.chat_templates)


KINDS = [name for name in vars(Work) if not name.startswith("_")]


def test_results_are_those_alone(models: list[t5g.Model], folders: list[Path], tmp_path: Path) -> None:
    def works(name: str) -> list[Work]:
        each = enumerate(zip(models, folders, strict=True))
        return [Work(model, folder, tmp_path, f"{name}-{i}") for i, (model, folder) in each]

    expected = {(i, kind): getattr(work, kind)() for i, work in enumerate(works("alone")) for kind in KINDS}

    def run(n: int) -> list[tuple[int, str]]:
        """Do all of it, each thread from another place on."""
        mine, first = works(f"thread{n}"), n * len(KINDS) // N_THREADS
        order = [(i, kind) for kind in KINDS[first:] + KINDS[:first] for i in range(len(mine))]
        return [(i, kind) for i, kind in order if getattr(mine[i], kind)() != expected[i, kind]]

    assert at_once(*(partial(run, n) for n in range(N_THREADS))) == [[]] * N_THREADS
    for model in models:
        assert dict(model.adapters) == {}


def test_one_tokenizer() -> None:
    with t5g.Model() as model:
        tokenizer = model.tokenizer
    ids = tokenizer.encode(TEXT)
    expected = (ids, tokenizer.decode(ids), tokenizer.vocab_size)

    def run() -> bool:
        return all((tokenizer.encode(TEXT), tokenizer.decode(ids), tokenizer.vocab_size) == expected for _ in range(50))

    assert at_once(*[run] * N_THREADS) == [True] * N_THREADS


def test_one_file(folders: list[Path]) -> None:
    """Each thread makes Python objects of the same native ones, and forgets them while others find them."""
    from t5g import _core

    file = _core.GgufFile(folders[0] / "m.gguf")

    def read() -> Any:
        tensors = [(tensor.name, tensor.shape, repr(tensor)) for tensor in file.tensors]
        metadata = {key: str(value) for key, value in file.metadata().items()}
        return tensors, metadata, file.tensor_data(tensors[-1][0]).tobytes()

    expected = read()
    found = at_once(*[lambda: all(read() == expected for _ in range(5))] * N_THREADS)
    assert found == [True] * N_THREADS


def test_what_is_computed_when_it_is_first_read(models: list[t5g.Model]) -> None:
    model = models[0]
    options = FEW | {"return_attention": True}
    alone = model.generate(IDS, **options)
    assert alone.attention is not None
    expected = alone.logprob, alone.token_logprobs, alone.attention.tobytes()

    def read(out: t5g.Generation) -> Any:
        assert out.attention is not None
        return out.logprob, out.token_logprobs, out.attention.tobytes()

    for _ in range(5):
        out = model.generate(IDS, **options)
        assert at_once(*[partial(read, out)] * N_THREADS) == [expected] * N_THREADS


def test_the_result_of_one_stream(models: list[t5g.Model]) -> None:
    def result_of(stream: t5g.Stream) -> Any:
        return told(stream.result)

    expected = told(models[0].generate(IDS, **FEW))
    for _ in range(5):
        stream = models[0].stream(IDS, **FEW)
        at_once(*[partial(list, stream)] * 3)
        read = [partial(result_of, stream)] * N_THREADS
        assert at_once(*read, stream.close, stream.cancel)[:N_THREADS] == [expected] * N_THREADS


def test_results_in_order_go_to_one_thread_at_a_time(models: list[t5g.Model]) -> None:
    """Python's own generator would let the second thread into its frame."""
    expected = [models[0].generate(ids, **FEW).token_ids for ids in (IDS, OTHER)] * 20
    results = models[0].generate_iter(iter([IDS, OTHER] * 20), max_batch_size=2, **FEW)
    lock, taken, refused = threading.Lock(), [], []

    def take() -> None:
        while True:
            try:
                out = next(results)
            except StopIteration:
                return
            except t5g.InvalidArgumentError as error:
                refused.append(str(error))
                time.sleep(0.001)
                continue
            with lock:
                taken.append(out.token_ids)

    assert at_once(take, take, take) == [None] * 3
    assert sorted(taken) == sorted(expected)
    assert all("generate_iter: its results are in use" in message for message in refused)


def test_a_source_that_asks_for_the_results(models: list[t5g.Model]) -> None:
    def sources() -> Iterator[list[int]]:
        yield IDS
        with pytest.raises(t5g.InvalidArgumentError, match=r"results are in use: .* Take them on one thread"):
            next(results)
        yield OTHER

    results = models[0].generate_iter(sources(), **FEW)
    assert len(list(results)) == 2


def test_results_in_order_can_be_left(models: list[t5g.Model]) -> None:
    results: Any = models[0].generate_iter(iter([IDS, OTHER] * 20), max_batch_size=2, **FEW)
    next(results)
    results.close()
    assert list(results) == []


def test_stopping_an_asynchronous_stream_as_it_begins(models: list[t5g.Model]) -> None:
    async def read(stream: t5g.asynchronous.AsyncStream, stopper: threading.Thread) -> str:
        stopper.start()
        _ = [piece async for piece in stream]
        stopper.join()
        return stream.result.finish_reason

    for _ in range(20):
        stopped = threading.Event()

        def allowed(ids: list[int], stopped: threading.Event = stopped) -> None:
            assert stopped.wait(60)

        stream = models[0].astream(IDS, allowed_tokens=allowed, max_new_tokens=40, min_new_tokens=40, adapters=[])

        def stop(stream: Any = stream, stopped: threading.Event = stopped) -> None:
            stream.cancel()
            stopped.set()

        assert asyncio.run(read(stream, threading.Thread(target=stop))) == "cancelled"


def test_closing_during_all_of_it(folders: list[Path], tmp_path: Path) -> None:
    for _ in range(3):
        model = t5g.Model(folders[0] / "m.gguf", n_threads=2)
        works = [Work(model, folders[0], tmp_path, f"closing{i}") for i in range(N_THREADS)]
        n_done = threading.Semaphore(0)

        def run(work: Work, done: threading.Semaphore = n_done) -> None:
            while True:
                for kind in KINDS:
                    getattr(work, kind)()
                    done.release()

        def close(model: t5g.Model = model, done: threading.Semaphore = n_done) -> None:
            for _ in range(8):
                done.acquire()
            model.close()

        *ends, _ = at_once(*(partial(run, work) for work in works), close)
        assert [type(end) for end in ends] == [t5g.InvalidArgumentError] * N_THREADS, ends
        assert all("the model" in str(end) and "closed" in str(end) for end in ends), ends


def test_the_interpreter_s_lock_stays_as_the_python_has_it() -> None:
    """A free-threaded Python turns it on for a module that does not say that it needs none."""
    program = """if True:
        import sys, t5g
        with t5g.Model() as model:
            model.generate("tar is an archiving program", max_new_tokens=2)
        print(getattr(sys, "_is_gil_enabled", lambda: True)())
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, env=variables)
    assert done.stderr == ""
    assert done.stdout.strip() == str(not sysconfig.get_config_var("Py_GIL_DISABLED"))
