"""Counts of what the server does, as Prometheus reads them."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Histogram:
    """How many values lie below each of some bounds, their number and sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float, n: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += n
        self._sum += value * n

    @property
    def mean(self) -> float:
        n = sum(self._counts)
        return self._sum / n if n else 0.0

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.9g}"
        yield f"{name}_count {total}"


class Metrics:
    """All that the server counts. Used by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = {}
        self._counters = dict.fromkeys(_COUNTERS, 0)
        self._histograms = {
            "t5g_request_seconds": Histogram(_SECONDS),
            "t5g_first_token_seconds": Histogram(_SECONDS),
            "t5g_token_seconds": Histogram(_TOKEN_SECONDS),
        }
        self.gauges: dict[str, Callable[[], float]] = {}
        """By name: what is asked when somebody looks."""

    def count_request(self, route: str, status: int, seconds: float) -> None:
        with self._lock:
            self._requests[route, status] = self._requests.get((route, status), 0) + 1
            self._histograms["t5g_request_seconds"].add(seconds)

    def count(self, name: str, n: int = 1) -> None:
        with self._lock:
            self._counters[name] += n

    def observe(self, name: str, seconds: float, n: int = 1) -> None:
        with self._lock:
            self._histograms[name].add(seconds, n)

    @property
    def mean_request_seconds(self) -> float:
        with self._lock:
            return self._histograms["t5g_request_seconds"].mean

    def text(self) -> str:
        """Prometheus's text format."""
        gauges = {name: ask() for name, ask in self.gauges.items()}
        lines = ["# TYPE t5g_requests_total counter"]
        with self._lock:
            for (route, status), n in sorted(self._requests.items()):
                lines.append(f't5g_requests_total{{route="{route}",status="{status}"}} {n}')
            for name, value in self._counters.items():
                lines += [f"# HELP {name} {_COUNTERS[name]}", f"# TYPE {name} counter", f"{name} {value}"]
            for name, histogram in self._histograms.items():
                lines += [f"# TYPE {name} histogram", *histogram.lines(name)]
        for name, gauge in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {gauge:g}"]
        return "\n".join(lines) + "\n"


_COUNTERS = {
    "t5g_source_tokens_total": "Tokens of the sources that were read.",
    "t5g_generated_tokens_total": "Tokens that were generated.",
    "t5g_cancelled_total": "Sources that were stopped before their end.",
    "t5g_timeouts_total": "Requests that took too long.",
    "t5g_refused_total": "Requests refused because too many waited.",
}
