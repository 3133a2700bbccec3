"""A hub on 127.0.0.1 that speaks the few calls that downloads need, and can fail in the ways that hubs fail."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by name, each with its files; and what goes wrong.

    Attributes
    ----------
    gated
        Repositories whose licence nobody has accepted.
    closed
        Repositories that the server refuses to talk about (403).
    cut
        Files whose download ends after so many bytes, by name.
    requests
        Method and path of every request.
    """

    endpoint: str
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def downloads(self) -> list[str]:
        return [line.split("/")[-1] for line in self.requests if line.startswith("GET") and "/resolve/" in line]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        if is_api:
            parts = parts[2:]
        repo = "/".join(parts[:2])
        files = self.hub.repositories.get(repo)
        if files is None:
            return self._send(404, b"no such repository", {"X-Error-Code": "RepoNotFound"})
        if repo in self.hub.closed:
            return self._send(403, b"", {})
        revision = parts[3] if len(parts) > 3 else "main"
        if revision not in ("main", COMMIT):
            return self._send(404, b"no such revision", {"X-Error-Code": "RevisionNotFound"})
        if is_api:
            return self._api(repo, parts, files)
        if repo in self.hub.gated:
            message = "Access to this model is restricted. You must be authenticated to access it."
            return self._send(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
        return self._file("/".join(parts[4:]), files)

    def _api(self, repo: str, parts: list[str], files: dict[str, bytes]) -> None:
        answer: object = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
        if len(parts) > 2 and parts[2] == "tree":
            answer = [
                {"type": "file", "path": name, "size": len(data), "oid": _etag(data)} for name, data in files.items()
            ]
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, files: dict[str, bytes]) -> None:
        data = files.get(name)
        if data is None:
            return self._send(404, b"no such file", {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(data)}"', "Accept-Ranges": "bytes"}
        given = self.headers.get("Range", "")
        first = int(given.removeprefix("bytes=").split("-")[0]) if given else 0
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self._send(206 if first else 200, data[first:], headers, cut=self.hub.cut.get(name))

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None and cut < len(body):
            self.wfile.flush()
            self.close_connection = True


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def running() -> Iterator[Hub]:
    """Run one until the block ends."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    handler.hub = hub
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
