"""A server in this process, on a port of its own, and the plainest of clients."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import t5g
import uvicorn
from t5g.server.app import Server
from t5g.server.settings import Settings

PATIENCE = 60.0
"""Seconds after which a test gives up waiting."""


@dataclass
class Answer:
    """What a server has answered."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> dict[str, Any]:
        """The error, checked to be in OpenAI's form."""
        assert set(self.json) == {"error"}, self.content
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        return error

    @property
    def events(self) -> list[dict[str, Any]]:
        """Server-sent events, checked to end as they have to: with [DONE], those of responses with their last."""
        blocks = [block for block in self.content.decode().split("\n\n") if block and not block.startswith(":")]
        if blocks[0].startswith("event: "):
            return self._named_events(blocks)
        assert all(block.startswith("data: ") for block in blocks), blocks
        assert blocks[-1] == "data: [DONE]"
        return [json.loads(block[6:]) for block in blocks[:-1]]

    @staticmethod
    def _named_events(blocks: list[str]) -> list[dict[str, Any]]:
        events = []
        for block in blocks:
            name, data = block.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
        assert events[-1]["type"] in ("response.completed", "response.incomplete", "response.failed", "error")
        return events


@dataclass
class Running:
    """A running server."""

    url: str
    server: Server
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)

    def send(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Send anything."""
        connection = self.connect()
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def post(self, path: str, body: Any) -> Answer:
        return self.send("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def gauge(self, name: str) -> float:
        """A number of /metrics."""
        for line in self.get("/metrics").content.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise KeyError(name)

    def wait_until(self, name: str, value: float) -> None:
        """Wait until a number of /metrics is this one."""
        wait_until(lambda: self.gauge(name) == value)


def wait_until(true: Any) -> None:
    """Wait until something is true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@contextlib.contextmanager
def running(model: t5g.Model, **settings: Any) -> Iterator[Running]:
    """Run a server on a free port for as long as the block lasts."""
    server = Server(model, Settings(**({"model_name": "tiny"} | settings)))
    config = uvicorn.Config(server.app, host="127.0.0.1", port=0, log_config=None, access_log=False, ws="none")
    listener = uvicorn.Server(config)
    thread = threading.Thread(target=listener.run)
    thread.start()
    try:
        wait_until(lambda: listener.started or not thread.is_alive())
        port = listener.servers[0].sockets[0].getsockname()[1]
        yield Running(f"http://127.0.0.1:{port}", server)
    finally:
        listener.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


# ---- Files ----


def pdf(text: str) -> bytes:
    """Make the smallest PDF with a line of text."""
    content = f"BT /F1 12 Tf 40 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources 6 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Font << /F1 5 0 R >> >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for i, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (i, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"xref\n0 7\n0000000000 65535 f \n%strailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        table,
        len(out),
    )


def as_uri(kind: str, data: bytes) -> str:
    """Make a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
