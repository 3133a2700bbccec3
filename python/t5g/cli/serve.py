"""t5g-serve: a model behind OpenAI's HTTP interface, and a page to use it from."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from t5g.cli import _common, _model

if TYPE_CHECKING:
    from t5g.server.settings import Settings

PROG = "t5g-serve"

_EPILOG = """\
http://127.0.0.1:8080/ is a page to try the model; programs use http://127.0.0.1:8080/v1 as they use OpenAI's.
The server listens to this machine alone unless --host says otherwise; then give it a key, in T5G_API_KEY rather than
with --api-key, which other users of this machine can see. It needs the extra "server": pip install 't5g[server]'.
SIGTERM and Ctrl-C stop it when the requests under way have ended.

examples:
  t5g-serve model.gguf
  curl http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' -d '{"prompt": "A text."}'
  T5G_API_KEY=secret t5g-serve model.gguf --host 0.0.0.0"""


def _parser() -> _common.Parser:
    parser = _common.Parser(PROG, "Serve a T5Gemma or T5Gemma 2 model over HTTP, as OpenAI's interface.", _EPILOG)
    parser.add_argument("model", metavar="MODEL.gguf", nargs="?", help="the model (default: the bundled one)")

    network = parser.add_argument_group("network")
    network.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="to listen on (default: 127.0.0.1)")
    network.add_argument("--port", metavar="N", type=int, default=8080, help="default: 8080; 0: any that is free")
    network.add_argument("--api-key", metavar="KEY", help="that requests must have (default: T5G_API_KEY, or none)")
    network.add_argument(
        "--allowed-host", metavar="NAME", action="append", default=[], help="a name of this server; repeatable"
    )
    network.add_argument(
        "--cors-origin", metavar="URL", action="append", default=[], help="of pages that may use it; repeatable; *: all"
    )
    network.add_argument("--served-name", metavar="NAME", help="of the model (default: its file's name)")

    limits = parser.add_argument_group("limits")
    limits.add_argument("--batch-size", metavar="N", type=int, default=16, help="texts that run together (default: 16)")
    limits.add_argument("--queue", metavar="N", type=int, default=256, help="that may wait beside (default: 256)")
    limits.add_argument("--timeout", metavar="S", type=float, default=600, help="of a request, seconds (default: 600)")
    limits.add_argument("--max-body", metavar="MB", type=float, default=32, help="of a request (default: 32)")
    limits.add_argument("--max-images", metavar="N", type=int, default=8, help="of a request (default: 8)")
    limits.add_argument("--source-ttl", metavar="S", type=float, default=3600, help="sources are kept (default: 3600)")
    limits.add_argument("--source-memory", metavar="MB", type=float, default=2048, help="for them (default: 2048)")
    limits.add_argument(
        "--shutdown-timeout", metavar="S", type=float, default=30, help="for requests to end in (default: 30)"
    )

    _model.add_options(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no line for each request on standard error")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), _run, argv)


def _settings(arguments: argparse.Namespace, name: str) -> Settings:
    from t5g.server.settings import Settings, check_key

    for flag in ("batch_size", "timeout", "max_body", "source_ttl", "source_memory", "shutdown_timeout"):
        value = getattr(arguments, flag)
        if not 0 < value < 1e9:
            raise _common.UsageError(f"--{flag.replace('_', '-')} must be a number above 0, got {value:g}")
    for flag in ("queue", "max_images"):
        if getattr(arguments, flag) < 0:
            raise _common.UsageError(f"--{flag.replace('_', '-')} must not be negative")
    if not 0 <= arguments.port < 65536:
        raise _common.UsageError(f"--port must be a number from 0 to 65535, got {arguments.port}")
    key, where = arguments.api_key, "api_key"
    if key is None:
        key, where = os.environ.get("T5G_API_KEY") or None, "T5G_API_KEY"
    return Settings(
        arguments.served_name or name,
        api_key=None if key is None else check_key(key, where),
        host=arguments.host,
        allowed_hosts=tuple(arguments.allowed_host),
        cors_origins=tuple(arguments.cors_origin),
        max_batch_size=arguments.batch_size,
        max_queue=arguments.queue,
        timeout_seconds=arguments.timeout,
        max_body_bytes=int(arguments.max_body * 2**20),
        max_images=arguments.max_images,
        source_seconds=arguments.source_ttl,
        source_bytes=int(arguments.source_memory * 2**20),
        shutdown_seconds=arguments.shutdown_timeout,
    )


def _run(arguments: argparse.Namespace) -> None:
    try:
        import starlette
        import uvicorn

        del starlette, uvicorn
    except ImportError as error:
        raise ImportError(
            f"serving needs the package {error.name}. Install it with: pip install 't5g[server]'"
        ) from None
    settings = _settings(arguments, "")  # before the model: wrong usage should not wait for it
    with _model.opened(arguments) as model:
        from pathlib import Path

        settings = _settings(arguments, Path(model.path).stem)
        if not settings.is_loopback and settings.api_key is None:
            message = f"listens on {settings.host} without a key: everybody who reaches it may use it. Set T5G_API_KEY"
            _common.report(PROG, message, "warning")
        from t5g.server.listen import serve

        serve(model, settings, arguments.port, log_requests=not arguments.quiet, tell=_tell)


def _tell(message: str) -> None:
    sys.stderr.write(f"{PROG}: {message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
