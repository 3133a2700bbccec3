"""Who may come in, how much they may send, and what is left of a request: nothing of its text."""

from __future__ import annotations

import json
import logging
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import t5g
from support.serving import Running, running, wait_until
from t5g.server.settings import Settings

SECRET = "the text of a user"


def test_a_key_is_asked_for_where_there_is_one(model: t5g.Model) -> None:
    with running(model, api_key="right") as server:
        for given in (
            None,
            "Bearer wrong",
            "Bearer right2",
            "Bearer righ",
            "Bearer ",
            "right",
            "Basic right",
            "Bearer \xff",
        ):
            server.headers = {} if given is None else {"Authorization": given}
            for answer in (
                server.get("/v1/models"),
                server.get("/metrics"),
                server.post("/v1/completions", {"prompt": "a"}),
            ):
                assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
                assert answer.headers["www-authenticate"] == "Bearer"
            assert server.get("/health").status == server.get("/").status == 200
        server.headers = {"Authorization": "bearer right"}
        assert server.get("/v1/models").status == 200
        assert server.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200


def test_other_names_of_this_machine_are_refused_without_a_key(server: Running, model: t5g.Model) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost.evil:80"):
        answer = server.send("GET", "/v1/models", headers={"Host": host})
        assert (answer.status, answer.error["code"]) == (403, "wrong_host")
    for host in ("localhost", "LOCALHOST:8080", "127.0.0.1", "[::1]:80"):
        assert server.send("GET", "/v1/models", headers={"Host": host}).status == 200
    with running(model, allowed_hosts=("box.lan",)) as other:
        assert other.send("GET", "/v1/models", headers={"Host": "box.lan:80"}).status == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert Settings("m", host=host).is_loopback is expected


def test_bodies_have_a_limit(model: t5g.Model) -> None:
    with running(model, max_body_bytes=1000) as server:
        answer = server.post("/v1/completions", {"prompt": "a" * 2000})
        assert (answer.status, answer.error["code"]) == (413, "body_too_large")
        # In chunks, without a length.
        connection = server.connect()
        connection.request(
            "POST", "/tokenize", iter([b"a" * 600] * 3), {"Content-Type": "application/json"}, encode_chunked=True
        )
        assert connection.getresponse().status == 413
        connection.close()
        assert server.post("/tokenize", {"content": "a"}).status == 200


def test_no_other_origin_unless_it_is_asked_for(server: Running, model: t5g.Model) -> None:
    origin = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
    assert not [h for h in server.send("GET", "/v1/models", headers=origin).headers if h.startswith("access-control")]
    assert server.send("OPTIONS", "/v1/completions", headers=origin).status == 405
    with running(model, cors_origins=("http://page.example",), api_key="k") as other:
        assert other.send("OPTIONS", "/v1/completions", headers=origin).headers["access-control-allow-origin"]
        refused = other.send("GET", "/v1/models", headers=origin)
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "http://page.example")
        assert "access-control-allow-origin" not in other.send("GET", "/health", headers={"Origin": "http://x"}).headers


def test_request_ids(server: Running) -> None:
    assert server.send("GET", "/health", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for odd in ("a b", "x" * 65, "\xe9", '"'):
        given = server.send("GET", "/health", headers={"X-Request-Id": odd}).headers["x-request-id"]
        assert given != odd
        assert len(given) == 32


def test_the_log_has_a_line_of_each_request_and_no_text_of_users(
    server: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    bodies: list[Any] = [
        {"prompt": SECRET, "max_tokens": 2},
        {"prompt": SECRET, SECRET: 1},
        {"prompt": SECRET, "stop": 7},
    ]
    server = Running(server.url, server.server, {"X-Request-Id": "this-test"})
    for body in bodies:
        server.post("/v1/completions", body)
    monkeypatch.setattr("t5g.server.endpoints.prompt_requests", lambda *_: 1 / len(SECRET[:0]))
    answer = server.post("/v1/embeddings", {"input": SECRET})
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    server.get(f"/v1/models/{SECRET.replace(' ', '-')}")

    def records(name: str) -> list[dict[str, Any]]:
        found = [json.loads(r.getMessage()) for r in list(caplog.records) if r.name == name]
        return [line for line in found if line["request_id"] == "this-test"]

    wait_until(lambda: len(records("t5g.server.access")) == 5)
    lines = records("t5g.server.access")
    assert [line["status"] for line in lines] == [200, 400, 400, 500, 404]
    assert [line["path"] for line in lines] == ["/v1/completions"] * 3 + ["/v1/embeddings", "/v1/models/{id:path}"]
    assert all(line["request_id"] and line["seconds"] >= 0 for line in lines)
    (failure,) = records("t5g.server")
    assert failure["error"] == "ZeroDivisionError"
    ours = " ".join(r.getMessage() for r in caplog.records if r.name.startswith("t5g"))
    assert SECRET not in ours
    assert SECRET.replace(" ", "-") not in ours


def test_a_client_that_is_gone_before_it_has_asked_is_no_error_of_the_server(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), 10) as connection:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: gone\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b'{"prompt"')

    def lines(name: str) -> list[dict[str, Any]]:
        found = [json.loads(r.getMessage()) for r in list(caplog.records) if r.name == name]
        return [line for line in found if line["request_id"] == "gone"]

    wait_until(lambda: bool(lines("t5g.server.access")))
    assert [line["status"] for line in lines("t5g.server.access")] == [499]
    assert not lines("t5g.server")


def test_metrics(server: Running) -> None:
    before, gaps = server.gauge("t5g_generated_tokens_total"), server.gauge("t5g_token_seconds_count")
    body = {"prompt": "a tool", "max_tokens": 3, "min_new_tokens": 3, "stream": True, "draft": "off"}
    server.post("/v1/completions", body)
    assert server.gauge("t5g_generated_tokens_total") == before + 3
    assert server.gauge("t5g_token_seconds_count") == gaps + 2
    assert server.gauge("t5g_running") == server.gauge("t5g_waiting") == 0
    text = server.get("/metrics").content.decode()
    assert 't5g_requests_total{route="/v1/completions",status="200"}' in text
    assert 't5g_first_token_seconds_bucket{le="+Inf"}' in text


def test_what_is_no_http_harms_nobody(server: Running) -> None:
    for garbage in (
        b"\x00\xff\x16\x03\x01",
        b"GET / HTTP/9\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ):
        parts = urlsplit(server.url)
        with socket.create_connection((parts.hostname, parts.port), 10) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert server.get("/health").status == 200
