"""Speed of the CPU kernels by type, level, rows and threads: GOP/s, GB/s of weights, shares of the peaks.

    python benchmarks/kernels.py [--levels avx512,avx2] [--types q8_0,q4_0] [--rows 1,512] [--threads 1,2] [--json F]

The peaks are measured first: read bandwidth, and what the widest multiply-adds of floats, bfloat16 and bytes do on
registers (peaks.cc, compiled by $CXX or c++; without a compiler there are no shares of arithmetic).

Weights are 2048 x 640 for several rows of activations, which is where arithmetic counts, and a matrix larger than the
caches for one row, which is where memory counts. Threads share its outputs. Times are CPU times of the threads, the
best of many short samples, so that other load on the machine disturbs little.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from t5g._core import kernels
from t5g._files import write_text

sys.path.insert(0, str(Path(__file__).parent / "compare"))
from machine import machine

TYPES = [name.lower() for name, *_ in kernels.types()]
KV_TYPES = ("f32", "f16", "bf16", "q8_0")
PEAK_OF = {"f32": "fp32", "f16": "fp32", "bf16": "bf16"}  # of the others: "int8"
WIDTH = 640
SMALL, LARGE = 2048, 131072  # outputs: a feed-forward matrix of the 270M; half of its vocabulary
SAMPLE_S = 0.006
SAMPLES = 20
MIN_REPEAT = 8  # of a call: it also quantises the activations and makes the result, once

Row = dict[str, Any]
Peaks = dict[str, float]


def seconds(run: Callable[[int, int], object], n_threads: int = 1) -> float:
    """Time of one repetition of run(thread, repeat) by all threads at once: the best of each, the slowest of these."""

    def measure(thread: int, repeat: int) -> float:
        start = time.thread_time()
        run(thread, repeat)
        return time.thread_time() - start

    once = min(measure(0, 1) for _ in range(2))
    repeat = max(MIN_REPEAT, int(SAMPLE_S / max(once, 1e-7)))
    best = [float("inf")] * n_threads
    barrier = threading.Barrier(n_threads)

    def work(thread: int) -> None:
        barrier.wait()
        for _ in range(SAMPLES):
            best[thread] = min(best[thread], measure(thread, repeat) / repeat)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(best)


def read_bandwidth(level: str, n_threads: int) -> float:
    """GB/s at which the threads read memory together (NumPy puts large arrays on huge pages, as t5g does weights)."""
    parts = np.array_split(np.ones(64 << 20, np.float32), n_threads)

    def read(thread: int, repeat: int) -> None:
        for _ in range(repeat):
            kernels.argmax(level, parts[thread])

    return sum(part.nbytes for part in parts) / seconds(read, n_threads) / 1e9


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


def packed(type_name: str, n: int) -> kernels.PackedMatrix:
    """A random matrix [n, WIDTH]; its rows repeat, which no kernel notices."""
    some = np.random.default_rng(0).standard_normal((256, WIDTH)).astype(np.float32)
    rows = np.ascontiguousarray(gguf.quants.quantize(some, gguf.GGMLQuantizationType[type_name.upper()]))
    return kernels.PackedMatrix(type_name, np.tile(rows.view(np.uint8).ravel(), n // 256), n, WIDTH)


def bench_matmul(level: str, type_name: str, m: int, n_threads: int, peaks: Peaks) -> Row:
    """One line of the table."""
    n = LARGE if m == 1 else SMALL
    matrix = packed(type_name, n)
    x = np.random.default_rng(1).standard_normal((m, WIDTH)).astype(np.float32)
    cuts = [matrix.n_groups * thread // n_threads for thread in range(n_threads + 1)]
    s = seconds(
        lambda thread, repeat: matrix.matmul(level, x, cuts[thread], cuts[thread + 1], repeat=repeat), n_threads
    )
    row: Row = {"op": "matmul", "level": level, "type": type_name, "threads": n_threads, "m": m, "n": n, "k": WIDTH}
    row |= {"seconds": s, "gops": 2 * m * n * WIDTH / s / 1e9, "gb_per_s": matrix.size_bytes / s / 1e9}
    limit = peaks.get(PEAK_OF.get(type_name, "int8"))
    row["share_of_arithmetic"] = row["gops"] / limit if limit else None
    row["share_of_bandwidth"] = row["gb_per_s"] / peaks["read"] if m == 1 else None
    return row


def bench_attend(level: str, type_name: str, rows: int, head_dim: int, peaks: Peaks) -> Row:
    """Rows of queries over one part of keys (1024 in bf16, else 64) stored in a type, all visible, on one thread."""
    n_keys = 1024 if type_name == "bf16" else 64
    rng = np.random.default_rng(2)
    q = (rng.standard_normal((rows, head_dim)) * head_dim**-0.5).astype(np.float32)
    keys, values = (rng.standard_normal((n_keys, head_dim)).astype(np.float32) for _ in range(2))
    begin, end = np.zeros(rows, np.int32), np.full(rows, n_keys, np.int32)
    often = 32  # a call also stores all keys and values
    s = seconds(lambda _, n: kernels.attend(level, q, keys, values, begin, end, repeat=often * n, kv_type=type_name))
    s /= often
    row: Row = {"op": "attend", "level": level, "type": type_name, "threads": 1, "m": rows, "n": n_keys, "k": head_dim}
    value_bytes = {"f32": 4.0, "q8_0": 1 + 4 / 32}.get(type_name, 2.0)
    row |= {"seconds": s, "gops": 4 * rows * n_keys * head_dim / s / 1e9}
    row["gb_per_s"] = 2 * value_bytes * n_keys * head_dim / s / 1e9
    limit = peaks.get("bf16" if type_name == "bf16" else "fp32")
    return row | {"share_of_arithmetic": row["gops"] / limit if limit else None, "share_of_bandwidth": None}


def show(row: Row) -> None:
    shares = [row["share_of_arithmetic"], row["share_of_bandwidth"]]
    print(
        f"{row['op']:6} {row['level']:12} {row['type']:5} {row['threads']:7} {row['m']:4} {row['n']:7} {row['k']:4} "
        f"{row['seconds'] * 1e6:11.1f} {row['gops']:8.1f} {row['gb_per_s']:7.1f}",
        *("         -" if share is None else f"{share:10.0%}" for share in shares),
        flush=True,
    )


def main() -> None:
    runnable = [name for name, runs in kernels.levels() if runs]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--levels", default=",".join(runnable[1:] or runnable), help="default: all but generic")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--rows", default="1,8,512")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--json", type=Path, help="also write machine, peaks and results to this file")
    args = parser.parse_args()
    rows, thread_counts = ([int(n) for n in text.split(",")] for text in (args.rows, args.threads))
    peaks = measure_peaks(runnable[-1], sorted({1, *thread_counts}))
    for n_threads, of_threads in peaks.items():
        print(f"peaks, {n_threads} threads:", ", ".join(f"{name} {value:.1f}" for name, value in of_threads.items()))
    print("op     level        type  threads    m       n    k          us    GOP/s    GB/s of GOP/s of GB/s read")
    results = []
    for level in args.levels.split(","):
        for type_name in args.types.lower().split(","):
            for n_threads in thread_counts:
                for m in rows:
                    results.append(bench_matmul(level, type_name, m, n_threads, peaks[n_threads]))
                    show(results[-1])
        for type_name in KV_TYPES:
            for m, head_dim in ((4, 256), (64, 256), (64, 72)):
                results.append(bench_attend(level, type_name, m, head_dim, peaks[1]))
                show(results[-1])
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        facts = {**machine(), "peaks": peaks, "rows": results}
        write_text(args.json, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
