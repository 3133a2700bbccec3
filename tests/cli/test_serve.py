"""t5g-serve as a process: it says where it listens, warns, stops when it is told to, and ends with what that means."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

MODULE = [sys.executable, "-m", "t5g.cli.serve"]


@contextlib.contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Run t5g-serve on a free port; give the process, its URL and what it had said before."""
    process = subprocess.Popen(
        [*MODULE, "--port", "0", *arguments], stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        assert process.stderr is not None
        lines: list[str] = []
        while True:
            line = process.stderr.readline()
            assert line, lines
            if found := re.search(r"listening on (http://\S+)", line):
                yield process, found[1].replace("0.0.0.0", "127.0.0.1"), lines
                break
            lines.append(line)
    finally:
        process.kill()
        process.communicate()


def ask(url: str, key: str | None = None, **body: object) -> str:
    """Ask for a completion."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = json.load(answer)["choices"][0]["text"]
        return text


def model_name(url: str, key: str | None = None) -> str:
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        name: str = json.load(answer)["data"][0]["id"]
        return name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_stops_when_it_is_told_to(number: signal.Signals) -> None:
    with serving() as (process, url, lines):
        assert lines == []
        assert model_name(url) == "bundled"
        text = ask(url, prompt="a tool that reads files", max_tokens=5)
        assert text
        answers: list[str] = []
        body = {"prompt": "a tool", "max_tokens": 200, "min_new_tokens": 200, "draft": "off"}
        thread = threading.Thread(target=lambda: answers.append(ask(url, **body)))
        thread.start()
        assert process.stderr is not None
        while "t5g_running 1" not in urllib.request.urlopen(f"{url}/metrics", timeout=60).read().decode():
            if answers:
                break
        process.send_signal(number)
        assert process.wait(60) == 0
        thread.join()
        assert answers  # it ended before the server did
        log = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert {line["path"] for line in log} <= {"/v1/models", "/v1/completions", "/metrics"}


def test_it_warns_when_everybody_may_use_it() -> None:
    with serving("--host", "0.0.0.0") as (_, _, lines):
        assert "without a key" in "".join(lines)
    with serving("--host", "0.0.0.0", T5G_API_KEY="right") as (_, url, lines):
        assert lines == []
        assert ask(url, "right", prompt="a", max_tokens=1) is not None
        assert model_name(url, "right") == "bundled"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(url, "wrong", prompt="a")


@pytest.mark.parametrize(
    "arguments",
    [["--batch-size", "0"], ["--timeout", "nan"], ["--port", "70000"], ["--queue", "-1"], ["--api-key", " "]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    result = subprocess.run([*MODULE, *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("t5g-serve: error: ")
    assert result.stderr.count("\n") == 1


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = subprocess.run(
            [*MODULE, "--port", str(taken.getsockname()[1])], capture_output=True, text=True, timeout=60
        )
    assert result.returncode == 1
    assert "Choose another --host or --port" in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_its_packages() -> None:
    hide = "import sys; sys.modules['uvicorn'] = None; from t5g.cli.serve import main; sys.exit(main([]))"
    result = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr
        == "t5g-serve: error: serving needs the package uvicorn. Install it with: pip install 't5g[server]'\n"
    )


def test_uvicorn_workers() -> None:
    """The application that docs/server.md gives to uvicorn."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", "t5g.server.app:from_environment", "--port", str(port)]
    process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        n_ready = 0
        while n_ready < 2:
            line = process.stderr.readline()
            assert line
            n_ready += "Application startup complete" in line
        threading.Thread(target=process.stderr.read, daemon=True).start()
        assert ask(f"http://127.0.0.1:{port}", prompt="a tool", max_tokens=3)
    finally:
        process.terminate()
        process.wait(60)
