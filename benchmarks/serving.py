"""Load on t5g-serve: many clients, some of whom hang up or send nonsense; every answer is compared with the one alone.

    python benchmarks/serving.py [MODEL.gguf] [--clients 64] [--seconds 60] [--json FILE]
    python benchmarks/serving.py [MODEL.gguf] --soak 600        # the same for ten minutes, watching the memory

It starts the server, measures one client alone and then all together, and prints tokens per second and the time to the
first token and per token at the 50th, 95th and 99th percentile. It fails when an answer is lost, mixed up or other than
alone, or when the server's memory grows. Linux only: memory is read from /proc. A model without a tokenizer is asked by
token ids; its texts are empty, so that nothing can be said of single tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORDS = ["a", "the", "tool", "library", "for", "of", "editor", "client", "text", "network", "file", "that", "reads"]
MALFORMED: list[tuple[bytes, int]] = [
    (b"{", 400),
    (b"[]", 400),
    (b'{"prompt": 7}', 400),
    (b'{"prompt": "a", "temperature": -1}', 400),
    (b'{"prompt": "a", "no_such_field": 1}', 400),
    (b'{"prompt": ["a", 5]}', 400),
    (b'{"source": "src-none"}', 404),
]


@dataclass
class Job:
    """A request, and what has to come back."""

    body: dict[str, Any]
    text: str = ""
    token_ids: list[int] = field(default_factory=list)


@dataclass
class Tally:
    """What has happened."""

    counts: Counter[str] = field(default_factory=Counter)
    first_token: list[float] = field(default_factory=list)
    per_token: list[float] = field(default_factory=list)
    n_tokens: int = 0
    seconds: float = 0.0
    unread: list[tuple[Job, Received]] = field(default_factory=list)  # answers that nobody has checked
    wrong: list[str] = field(default_factory=list)


def make_jobs(n: int, longest: int, tokens: int, vocab_size: int | None = None) -> list[Job]:
    """Sources of mixed lengths; two thirds greedy, a third sampled. vocab_size: of a model that reads ids alone."""
    rng = random.Random(1)
    jobs = []
    for i in range(n):
        length = rng.choice([3, 10, 30, 100, longest])
        words: list[Any] = rng.choices(range(vocab_size) if vocab_size else WORDS, k=length)
        prompt = words if vocab_size else " ".join(words)
        body: dict[str, Any] = {"prompt": prompt, "max_tokens": rng.randint(2, tokens), "draft": "off"}
        body["min_new_tokens"] = body["max_tokens"]
        if i % 3 == 2:
            body |= {"temperature": 1.0, "seed": i, "top_p": 0.9}
        jobs.append(Job(body))
    return jobs


def answer_alone(model: Any, jobs: list[Job]) -> None:
    """Compute what each job has to give."""
    for job in jobs:
        options = {k: v for k, v in job.body.items() if k not in ("prompt", "max_tokens")}
        alone = model.generate(job.body["prompt"], max_new_tokens=job.body["max_tokens"], **options)
        job.text, job.token_ids = alone.text, alone.token_ids


# ---- Clients ----


class Client:
    """One client, which has one connection after the other."""

    def __init__(self, port: int, number: int, jobs: list[Job], tally: Tally, rude: bool) -> None:
        self._port = port
        self._rng = random.Random(number)
        self._jobs = jobs
        self._tally = tally
        self._rude = rude

    async def run(self, end: float, n: int | None = None) -> None:
        """Ask until the time is over, or so many times."""
        while time.monotonic() < end and n != 0:
            n = None if n is None else n - 1
            chance = self._rng.random()
            if self._rude and chance < 1 / 3:
                await self._hang_up(self._rng.choice(self._jobs))
            elif self._rude and chance < 0.4:
                await self._send_nonsense()
            else:
                await self._ask(self._rng.choice(self._jobs))

    async def _ask(self, job: Job) -> None:
        body = job.body | {"stream": True, "return_token_ids": True}
        received = await self._send(json.dumps(body).encode())
        status, headers = received.head()
        if status == 429:
            self._tally.counts["refused"] += 1
            await asyncio.sleep(min(1.0, float(headers["retry-after"])))
        elif status != 200:
            self._tally.wrong.append(f"status {status}")
        else:
            self._tally.unread.append((job, received))

    async def _send(self, body: bytes) -> Received:
        """Send a request -> all that came back."""
        loop = asyncio.get_running_loop()
        _, received = await loop.create_connection(lambda: Received(request(body)), "127.0.0.1", self._port)
        return await received.ended

    async def _hang_up(self, job: Job) -> None:
        body = job.body | {"stream": self._rng.random() < 0.7}
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        data = json.dumps(body).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(data)}"
        writer.write(f"{head}\r\n\r\n".encode() + data[: self._rng.choice([len(data), len(data), len(data) // 2])])
        await writer.drain()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(self._rng.randint(1, 2000)), self._rng.random())
        writer.close()
        self._tally.counts["hung up"] += 1

    async def _send_nonsense(self) -> None:
        body, expected = self._rng.choice(MALFORMED)
        received = await self._send(body)
        (status, _), content = received.head(), received.content()
        error = json.loads(content)["error"] if status == expected else {}
        if set(error) != {"message", "type", "param", "code"}:
            self._tally.wrong.append(f"{body!r}: {status} {content!r}")
        self._tally.counts["nonsense"] += 1


def request(body: bytes) -> bytes:
    """A request that is the last one of its connection."""
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Received(asyncio.Protocol):
    """What comes back on a connection, and when. It is read later: the server needs the cores now."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._parts: list[tuple[float, bytes]] = []
        self.start = time.perf_counter()
        self.ended: asyncio.Future[Received] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.write(self._sent)

    def data_received(self, data: bytes) -> None:
        self._parts.append((time.perf_counter(), data))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(self)

    def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers."""
        lines = self._all().partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:])

    def content(self) -> bytes:
        """What came after the headers."""
        return self._all().partition(b"\r\n\r\n")[2]

    def events(self) -> Iterator[tuple[float, Any]]:
        """The objects of server-sent events, and when each came; an answer that ends early is an error."""
        waiting, text = b"", b""
        has_head = False
        for at, data in self._parts:
            waiting += data
            if not has_head:
                _, found, after = waiting.partition(b"\r\n\r\n")
                if not found:
                    continue
                has_head, waiting = True, after
            chunks, waiting = _chunks(waiting)
            *lines, text = (text + chunks).split(b"\n\n")
            for line in lines:
                if line == b"data: [DONE]":
                    return
                if line.startswith(b"data: "):
                    yield at, json.loads(line[6:])
        raise EOFError("the answer ended without [DONE]")

    def _all(self) -> bytes:
        return b"".join(data for _, data in self._parts)


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    """What is in the whole chunks of HTTP at the beginning, and the rest."""
    found, at = b"", 0
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end], 16)
        if len(data) < end + 2 + size + 2:
            break
        found += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return found, data[at:]


def check(job: Job, received: Received, tally: Tally) -> None:
    """Compare an answer with the one alone, and note its times."""
    text, ids, first, last = "", None, 0.0, 0.0
    try:
        for at, event in received.events():
            if "error" in event:
                tally.wrong.append(str(event))
                return
            choice = event["choices"][0]
            first, last = first or at, at
            text += choice["text"]
            ids = choice.get("token_ids", ids)
    except EOFError as error:
        tally.wrong.append(f"{job.body}: {error}")
        return
    if (text, ids) != (job.text, job.token_ids):
        tally.wrong.append(f"{job.body}: {text!r}, expected {job.text!r}")
        return
    tally.counts["answered"] += 1
    tally.n_tokens += len(job.token_ids)
    tally.first_token.append(first - received.start)
    if len(job.token_ids) > 1:
        tally.per_token.append((last - first) / (len(job.token_ids) - 1))


async def load(
    port: int, jobs: list[Job], n_clients: int, seconds: float, *, rude: bool, n_each: int | None = None
) -> Tally:
    """Let clients ask at the same time, and then check every answer."""
    tally = Tally()
    start = time.monotonic()
    await asyncio.gather(*(Client(port, i, jobs, tally, rude).run(start + seconds, n_each) for i in range(n_clients)))
    tally.seconds = time.monotonic() - start
    for job, received in tally.unread:
        check(job, received, tally)
    tally.unread.clear()
    return tally


# ---- The server ----


class Served:
    """t5g-serve as a process."""

    def __init__(self, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "t5g.cli.serve", "--port", "0", "--quiet", *arguments]
        # A file, as a pipe that nobody reads would stop the server once it is full.
        self._said = tempfile.NamedTemporaryFile("w+", prefix="t5g-serve-")  # noqa: SIM115 (until stop)
        self.process = subprocess.Popen(command, stderr=self._said)
        said, found = "", None
        while found is None:
            if self.process.poll() is not None:
                raise SystemExit(f"the server did not start: {said}")
            time.sleep(0.05)
            said = Path(self._said.name).read_text()
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)\n", said)
        self.port = int(found[1])

    def memory(self) -> int:
        """Bytes that are its own."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * sum(int(size) for size in re.findall(r"RssAnon:\s+(\d+)", status))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self._said.close()
        return status


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100)
    return {name: round(1000 * cuts[i - 1], 2) for name, i in (("p50", 50), ("p95", 95), ("p99", 99))}


def report(name: str, tally: Tally) -> dict[str, Any]:
    found = {
        "what": name,
        "tokens_per_second": round(tally.n_tokens / tally.seconds, 1),
        "first_token_ms": percentiles(tally.first_token),
        "per_token_ms": percentiles(tally.per_token),
        **tally.counts,
        "wrong": len(tally.wrong),
    }
    print(json.dumps(found), flush=True)
    for wrong in tally.wrong[:5]:
        print(f"  {wrong}")
    return found


def timed_load(served: Served, name: str, jobs: list[Job], clients: int, seconds: float, rude: bool) -> dict[str, Any]:
    return report(name, asyncio.run(load(served.port, jobs, clients, seconds, rude=rude)))


def soak(served: Served, jobs: list[Job], clients: int, seconds: float) -> list[dict[str, Any]]:
    """Rounds of load; after the first two, memory may grow by an eighth at most."""
    rounds, sizes = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rounds.append(timed_load(served, f"round {len(rounds) + 1}", jobs, clients, min(30.0, seconds / 4), rude=True))
        sizes.append(served.memory())
        rounds[-1]["memory_mb"] = round(sizes[-1] / 2**20, 1)
        print(f"  memory {rounds[-1]['memory_mb']} MB", flush=True)
    settled = max(sizes[:2])
    if max(sizes[2:], default=0) > settled * 1.125 + (16 << 20):
        raise SystemExit(f"the server's memory grows: {[size >> 20 for size in sizes]} MB")
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="default: the bundled one")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60, help="of each measurement")
    parser.add_argument("--soak", type=float, default=0, help="seconds; instead of the measurements")
    parser.add_argument("--jobs", type=int, default=48, help="different requests")
    parser.add_argument("--tokens", type=int, default=128, help="of an answer at most")
    parser.add_argument("--longest", type=int, default=200, help="words of a source")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()

    import t5g

    with t5g.Model(arguments.model) as model:
        vocab_size = model.config.encoder.vocab_size if model.tokenizer.is_placeholder else None
        jobs = make_jobs(arguments.jobs, arguments.longest, arguments.tokens, vocab_size)
        answer_alone(model, jobs)
    served = Served([*([arguments.model] if arguments.model else []), "--batch-size", str(arguments.batch_size)])
    try:
        timed_load(served, "warm-up", jobs, 4, 3, rude=False)
        if arguments.soak:
            figures = soak(served, jobs, arguments.clients, arguments.soak)
        else:
            one = timed_load(served, "one client", jobs, 1, arguments.seconds, rude=False)
            many = timed_load(
                served, f"{arguments.clients} clients", jobs, arguments.clients, arguments.seconds, rude=False
            )
            rude = timed_load(served, "a third hangs up", jobs, arguments.clients, arguments.seconds, rude=True)
            many["times_one_client"] = round(many["tokens_per_second"] / one["tokens_per_second"], 2)
            print(f"throughput of {arguments.clients} clients: {many['times_one_client']} x that of one")
            figures = [one, many, rude]
    finally:
        status = served.stop()
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    if status != 0 or any(figure["wrong"] for figure in figures):
        raise SystemExit(f"something was wrong (the server ended with {status})")


if __name__ == "__main__":
    main()
