"""Speed of every kernel of the CPU by level, type, rows and threads: GOP/s, GB/s, shares of the peaks.

    python benchmarks/kernels.py [--kernels matmul,attend] [--levels avx512,avx2] [--types q8_0,q4_0] [--rows 1,512]
                                 [--shapes 2048x640,640x2048] [--threads 1,2] [--json F]

It needs t5g._testing, which wheels do not have.

The list of kernels is that of csrc/kernels/cpu/kernels.inc. Those on plain numbers are timed by what their rows say
about them; for each of the others there is a function below, found by its name.

The peaks are measured first: read bandwidth, and what the widest multiply-adds of floats, bfloat16 and bytes do on
registers (peaks.cc, compiled by $CXX or c++; without a compiler there are no shares of arithmetic).

Weights are 2048 x 640 (or --shapes) for several rows of activations, which is where arithmetic counts, and a matrix
larger than the caches for one row, which is where memory counts. Threads share its outputs. Times are CPU times of the
threads in many short samples, in which the levels take turns; speeds are those of the best one, so that other load on
the machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from t5g._files import write_text

try:
    from t5g._testing import kernels
except ModuleNotFoundError:
    sys.exit("There is no t5g._testing: pip install . --config-settings=cmake.define.T5G_TESTING=ON")

sys.path.insert(0, str(Path(__file__).parent / "compare"))
from machine import machine

TYPES = [name.lower() for name, *_ in kernels.types()]
KV_TYPES = ("f32", "f16", "bf16", "q8_0")
VALUE_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 1 + 4 / 32}
PEAK_OF = {"f32": "fp32", "f16": "fp32", "bf16": "bf16"}  # of the others: "int8"
WIDTH = 640
LARGE = 131072  # outputs: half of the 270M's vocabulary
HEADS = ((4, 256), (64, 256), (64, 72))  # query rows and head_dim: a decode step's, an encoder's, the image tower's
ROW_SIZES = (640, 2048)
SAMPLE_S = 0.006
SAMPLES = 20
MIN_REPEAT = 8  # of a call: it also quantises the activations and makes the result, once

Row = dict[str, Any]
Peaks = dict[str, float]


def seconds(runs: Sequence[Callable[[int, int], object]], n_threads: int = 1) -> list[np.ndarray]:
    """Times [samples] of one repetition of each run(thread, repeat), by the slowest of all threads at once.

    The runs take turns, so that what disturbs the machine for a while disturbs all of them.
    """

    def measure(run: Callable[[int, int], object], thread: int, repeat: int) -> float:
        start = time.thread_time()
        run(thread, repeat)
        return (time.thread_time() - start) / repeat

    once = [min(measure(run, 0, 1) for _ in range(2)) for run in runs]
    repeats = [max(MIN_REPEAT, int(SAMPLE_S / max(s, 1e-7))) for s in once]
    times = np.zeros((len(runs), SAMPLES, n_threads))
    barrier = threading.Barrier(n_threads)

    def work(thread: int) -> None:
        for sample in range(SAMPLES):
            for i, (run, repeat) in enumerate(zip(runs, repeats, strict=True)):
                barrier.wait()
                times[i, sample, thread] = measure(run, thread, repeat)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(times.max(axis=2))


def read_bandwidth(level: str, n_threads: int) -> float:
    """GB/s at which the threads read memory together (NumPy puts large arrays on huge pages, as t5g does weights)."""
    parts = np.array_split(np.ones(64 << 20, np.float32), n_threads)

    def read(thread: int, repeat: int) -> None:
        for _ in range(repeat):
            kernels.argmax(level, parts[thread])

    return sum(part.nbytes for part in parts) / float(seconds([read], n_threads)[0].min()) / 1e9


def measure_peaks(level: str, thread_counts: list[int]) -> dict[int, Peaks]:
    """By number of threads: "read" in GB/s; "fp32", "bf16" and "int8" in GOP/s, those that there are."""
    compiler, source = os.environ.get("CXX", "c++"), Path(__file__).with_name("peaks.cc")
    arithmetic: dict[str, Peaks] = {}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peaks"
        try:
            compile_it = [compiler, "-O2", "-std=c++20", "-pthread", str(source), "-o", str(program)]
            subprocess.run(compile_it, check=True, capture_output=True, text=True)
            run = subprocess.run([program, *map(str, thread_counts)], check=True, capture_output=True, text=True)
            arithmetic = json.loads(run.stdout)
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"peaks of arithmetic not measured: {getattr(e, 'stderr', None) or e}")
    return {n: {"read": read_bandwidth(level, n), **arithmetic.get(str(n), {})} for n in thread_counts}


Run = Callable[[str, int, int], object]  # of a level, a thread and the number of repetitions


@dataclass
class Work:
    """One line of the table for each level."""

    type: str
    m: int
    n: int
    k: int
    run: Run
    bytes: float
    ops: float = 0  # 0: not counted
    peak: str = "fp32"
    from_memory: bool = False  # the bytes come from beyond the caches
    threads: int = 1
    often: int = 1  # what run() repeats for one repetition, where its own work would show


def call(kernel: Callable[..., object], *given: object, often: int = 1, **named: object) -> Run:
    """Run a kernel on one thread."""
    return lambda level, _, repeat: kernel(level, *given, repeat=often * repeat, **named)


def normal(*shape: int) -> np.ndarray:
    """Random numbers."""
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def encoded(type_name: str, n: int, k: int = WIDTH) -> np.ndarray:
    """The bytes of a random matrix [n, k]; its rows repeat, which no kernel notices."""
    rows = np.ascontiguousarray(gguf.quants.quantize(normal(256, k), gguf.GGMLQuantizationType[type_name.upper()]))
    return np.resize(rows.view(np.uint8).reshape(256, -1), (n, rows.nbytes // 256)).ravel()


def shared_product(matrix: kernels.PackedMatrix, x: np.ndarray, n_threads: int) -> Run:
    """Run a product whose outputs the threads share."""
    cuts = [matrix.n_groups * thread // n_threads for thread in range(n_threads + 1)]
    return lambda level, thread, repeat: kernels.matmul(level, matrix, x, cuts[thread], cuts[thread + 1], repeat=repeat)


def matmul(args: argparse.Namespace) -> Iterator[Work]:
    """Of every type, for few and many rows and threads."""
    for type_name in args.types:
        for m in args.rows:
            for n, k in [(LARGE, WIDTH)] if m == 1 else args.shapes:
                matrix = kernels.PackedMatrix(type_name, encoded(type_name, n, k), n, k)
                size, ops, peak = matrix.size_bytes, 2 * m * n * k, PEAK_OF.get(type_name, "int8")
                for threads in args.threads:
                    run = shared_product(matrix, normal(m, k), threads)
                    yield Work(type_name, m, n, k, run, size, ops, peak, m == 1, threads)


def bound_groups(_: argparse.Namespace) -> Iterator[Work]:
    """With a quarter of the blocks exact, as a search begins."""
    head = kernels.SplitHead(encoded("q8_0", LARGE), LARGE, WIDTH)
    exact = (np.arange(WIDTH // 32) % 4 == 0).astype(np.uint8)
    size = LARGE * WIDTH * (9 / 16 + exact.mean() / 2)
    for m in (1, 8):
        run = call(kernels.bound_groups, head, normal(m, WIDTH), exact)
        yield Work("q8_0", m, LARGE, WIDTH, run, size, 2 * m * LARGE * WIDTH, "int8", m == 1)


def score_groups(_: argparse.Namespace) -> Iterator[Work]:
    """All of a head's."""
    head, groups = kernels.SplitHead(encoded("q8_0", LARGE), LARGE, WIDTH), np.arange(LARGE // 16, dtype=np.int32)
    for m in (1, 8):
        run = call(kernels.score_groups, head, normal(m, WIDTH), groups)
        yield Work("q8_0", m, LARGE, WIDTH, run, LARGE * WIDTH * 34 / 32, 2 * m * LARGE * WIDTH, "int8", m == 1)


def prepare_query(_: argparse.Namespace) -> Iterator[Work]:
    """Of one head."""
    for type_name in KV_TYPES:
        yield Work(type_name, 1, 1, 256, call(kernels.prepare_query, type_name, normal(256)), 2 * 4 * 256)


def store_token(_: argparse.Namespace) -> Iterator[Work]:
    """A chunk of tokens."""
    for type_name in KV_TYPES:
        keys, values = normal(64, 256), normal(64, 256)
        size = keys.nbytes + values.nbytes + 2 * VALUE_BYTES[type_name] * keys.size
        yield Work(type_name, 64, 64, 256, call(kernels.store_token, type_name, keys, values), size)


def attend(_: argparse.Namespace) -> Iterator[Work]:
    """Rows of queries over one part of keys (1024 in bf16, else 64) stored in a type, all visible."""
    often = 32  # a call also stores all keys and values
    for type_name in (*KV_TYPES, "int8"):  # of queries and keys, beside values in bf16
        stored = "bf16" if type_name == "int8" else type_name
        n_keys, peak = (1024, "bf16") if stored == "bf16" else (64, "fp32")
        for rows, head_dim in HEADS:
            q, keys, values = (
                normal(rows, head_dim) * head_dim**-0.5,
                normal(n_keys, head_dim),
                normal(n_keys, head_dim),
            )
            begin, end = np.zeros(rows, np.int32), np.full(rows, n_keys, np.int32)
            int8 = {"int8": True} if type_name == "int8" else {}
            run = call(kernels.attend, q, keys, values, begin, end, kv_type=stored, often=often, **int8)
            size, ops = 2 * VALUE_BYTES[stored] * keys.size, 4 * rows * n_keys * head_dim
            yield Work(type_name, rows, n_keys, head_dim, run, size, ops, peak, often=often)


def attend_latent(_: argparse.Namespace) -> Iterator[Work]:
    """Absorbed queries over a chunk of rows of the encoder's output."""
    for type_name in ("f32", "f16", "q8_0"):
        for rows in (4, 64):
            q, keys, scales = normal(rows, WIDTH) * WIDTH**-0.5, normal(64, WIDTH), abs(normal(rows, 64))
            run = call(kernels.attend_latent, type_name, q, keys, scales, often=32)
            size, ops = VALUE_BYTES[type_name] * keys.size, 4 * rows * keys.size
            yield Work(type_name, rows, 64, WIDTH, run, size, ops, "fp32", often=32)


def merge(_: argparse.Namespace) -> Iterator[Work]:
    """A part's result into an equal one."""
    for rows, head_dim in HEADS:
        part = (normal(rows), np.ones(rows, np.float32), normal(rows, head_dim))
        yield Work("f32", rows, 1, head_dim, call(kernels.merge, part, part), 3 * part[2].nbytes)


# Kernels that are called with structs; a test fails while one of kernels.inc is missing.
BENCHMARKS = {
    f.__name__: f
    for f in (matmul, bound_groups, score_groups, prepare_query, store_token, attend, attend_latent, merge)
}  # fmt: skip


def rows_of(kernel: str) -> Iterator[Work]:
    """A kernel on plain numbers: one row of each size."""
    for n in ROW_SIZES:
        granule = kernels.inputs(kernel, 1)[0][1]
        # Away from zero: what a kernel writes in place again and again must not shrink to subnormal numbers.
        given = [
            1 + abs(normal(size)) if size is not None else x for _, size, x in kernels.inputs(kernel, n // granule)
        ]
        results = getattr(kernels, kernel)(kernels.active(), *given)
        arrays = [*given, *(results if isinstance(results, tuple) else (results,))]
        size = sum(np.asarray(x).nbytes for x in arrays)
        yield Work("-", 1, n, 1, call(getattr(kernels, kernel), *given), size)


def works(kernel: str, args: argparse.Namespace) -> Iterator[Work]:
    """All that is measured of one kernel."""
    yield from BENCHMARKS[kernel](args) if kernel in BENCHMARKS else rows_of(kernel)


def measure(kernel: str, levels: list[str], work: Work, peaks: Peaks) -> Iterator[Row]:
    """One line of the table for each level; the speeds are those of the best time."""
    runs = [lambda thread, repeat, level=level: work.run(level, thread, repeat) for level in levels]
    for level, times in zip(levels, seconds(runs, work.threads), strict=True):
        best, median = float(times.min()) / work.often, float(np.median(times)) / work.often
        row: Row = {"op": kernel, "level": level, "type": work.type, "threads": work.threads}
        row |= {"m": work.m, "n": work.n, "k": work.k, "seconds": best, "median_seconds": median}
        row |= {"gb_per_s": work.bytes / best / 1e9, "gops": work.ops / best / 1e9 if work.ops else None}
        limit = peaks.get(work.peak)
        row["share_of_arithmetic"] = row["gops"] / limit if limit and work.ops else None
        row["share_of_bandwidth"] = row["gb_per_s"] / peaks["read"] if work.from_memory else None
        yield row


def show(row: Row) -> None:
    """Print one line of the table."""

    def text(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    columns = [
        f"{row['op']:13} {row['level']:12} {row['type']:5} {row['threads']:7} {row['m']:4} {row['n']:7} {row['k']:4}",
        f"{row['seconds'] * 1e6:11.3f} {row['median_seconds'] * 1e6:11.3f}",
        f"{text(row['gops'], '.1f'):>8} {row['gb_per_s']:7.1f}",
        f"{text(row['share_of_arithmetic'], '.0%'):>9} {text(row['share_of_bandwidth'], '.0%'):>10}",
    ]
    print(*columns, flush=True)


def parse_arguments() -> argparse.Namespace:
    """The command line, its lists taken apart."""

    def words(text: str) -> list[str]:
        return text.lower().split(",")

    def numbers(text: str) -> list[int]:
        return [int(n) for n in text.split(",")]

    def shapes(text: str) -> list[list[int]]:
        return [[int(n) for n in shape.split("x")] for shape in text.split(",")]

    runnable = [name for name, runs in kernels.levels() if runs]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kernels", type=words, default=kernels.rows(), help="default: all")
    parser.add_argument("--levels", type=words, default=runnable[1:] or runnable, help="default: all but generic")
    parser.add_argument("--types", type=words, default=TYPES, help="of matmul's weights")
    parser.add_argument("--rows", type=numbers, default=[1, 8, 512], help="of matmul's activations")
    parser.add_argument("--shapes", type=shapes, default=[[2048, WIDTH]], help="of its weights, for several rows")
    parser.add_argument("--threads", type=numbers, default=[1], help="of matmul")
    parser.add_argument("--json", type=Path, help="also write machine, peaks and results to this file")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_arguments()
    peaks = measure_peaks(args.levels[-1], sorted({1, *args.threads}))
    for n_threads, of_threads in peaks.items():
        print(f"peaks, {n_threads} threads:", ", ".join(f"{name} {value:.1f}" for name, value in of_threads.items()))
    print("kernel        level        type  threads    m       n    k", end="")
    print("    us, best      median    GOP/s    GB/s  of GOP/s of GB/s read")
    results = []
    for kernel in args.kernels:
        for work in works(kernel, args):
            for row in measure(kernel, args.levels, work, peaks[work.threads]):
                results.append(row)
                show(row)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        facts = {**machine(), "peaks": peaks, "rows": results}
        write_text(args.json, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
