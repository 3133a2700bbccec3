"""Sixty-four clients at once, some rude: nothing is lost, nothing mixed up, and memory stays flat."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest
import t5g
from support.serving import running

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serving.py"


@pytest.fixture(scope="module")
def serving() -> ModuleType:
    """The load generator."""
    spec = importlib.util.spec_from_file_location("t5g_serving_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_many_clients_and_rude_ones(serving: ModuleType, model: t5g.Model) -> None:
    jobs = serving.make_jobs(24, 150, 24)
    serving.answer_alone(model, jobs)
    with running(model, max_batch_size=16, max_queue=40) as server:
        port = urlsplit(server.url).port
        tally = asyncio.run(serving.load(port, jobs, 64, 60.0, rude=True, n_each=5))
        assert tally.wrong == []
        assert tally.counts["answered"] + tally.counts["refused"] > 100
        assert tally.counts["hung up"] > 50
        assert tally.counts["nonsense"] > 5
        server.wait_until("t5g_running", 0)
        server.wait_until("t5g_waiting", 0)


def test_answers_are_read_however_they_are_cut(serving: ModuleType) -> None:
    """The load generator reads what has come afterwards: in parts that end anywhere."""
    events = [
        b'data: {"a": 1}\n\n',
        b'data: {"b": 2}\n\ndata: {"c": "x\\r\\n"}\n\n',
        b": quiet\n\n",
        b"data: [DONE]\n\n",
    ]
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    answer = b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n" + b"".join(chunks) + b"0\r\n\r\n"

    async def read(n: int) -> list[object]:
        received = serving.Received(b"")
        for at in range(0, len(answer), n):
            received.data_received(answer[at : at + n])
        assert received.head() == (200, {"x": "1"})
        return [event for _, event in received.events()]

    for n in (1, 2, 3, 7, 50, 1000):
        assert asyncio.run(read(n)) == [{"a": 1}, {"b": 2}, {"c": "x\r\n"}]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_short_soak() -> None:
    subprocess.run([sys.executable, str(SCRIPT), "--soak", "16", "--jobs", "12"], check=True, timeout=300)
