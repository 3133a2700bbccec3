"""Speed of the CPU kernels by type, level and number of rows, on one thread: GOP/s, GB/s of weights and their share.

    python benchmarks/kernels.py [--levels avx512_vnni,avx2] [--types q8_0,q4_0] [--rows 1,8,512] [--json FILE]

Weights are 2048 x 640 for several rows of activations, which is where arithmetic counts, and a matrix larger than the
caches for one row, which is where memory counts; there the share is that of the read bandwidth measured beside it.
Times are CPU times of the calling thread, the best of several, so that other load on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from t5g._core import kernels

TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
WIDTH = 640
SMALL, LARGE = 2048, 131072  # outputs: a feed-forward matrix of the 270M; half of its vocabulary
SAMPLE_S = 0.02
SAMPLES = 7

Row = dict[str, Any]


def seconds(run: Callable[[int], object]) -> float:
    """Best time of one repetition of run(repeat)."""

    def measure(repeat: int) -> float:
        start = time.thread_time()
        run(repeat)
        return time.thread_time() - start

    once = min(measure(1) for _ in range(2))
    repeat = max(1, int(SAMPLE_S / max(once, 1e-7)))
    return min(measure(repeat) for _ in range(SAMPLES)) / repeat


def read_bandwidth(level: str) -> float:
    """GB/s at which one thread reads memory (NumPy puts large arrays on huge pages, as t5g does weights)."""
    x = np.ones(64 << 20, np.float32)
    return x.nbytes / seconds(lambda repeat: [kernels.argmax(level, x) for _ in range(repeat)]) / 1e9


def packed(type_name: str, n: int) -> kernels.PackedMatrix:
    """A random matrix [n, WIDTH]; its rows repeat, which no kernel notices."""
    some = np.random.default_rng(0).standard_normal((256, WIDTH)).astype(np.float32)
    rows = np.ascontiguousarray(gguf.quants.quantize(some, gguf.GGMLQuantizationType[type_name.upper()]))
    return kernels.PackedMatrix(type_name, np.tile(rows.view(np.uint8).ravel(), n // 256), n, WIDTH)


def bench_matmul(level: str, type_name: str, m: int, bandwidth: float) -> Row:
    """One line of the table."""
    n = LARGE if m == 1 else SMALL
    matrix = packed(type_name, n)
    x = np.random.default_rng(1).standard_normal((m, WIDTH)).astype(np.float32)
    s = seconds(lambda repeat: matrix.matmul(level, x, repeat=repeat))
    row: Row = {"op": "matmul", "level": level, "type": type_name, "m": m, "n": n, "k": WIDTH, "seconds": s}
    row |= {"gops": 2 * m * n * WIDTH / s / 1e9, "gb_per_s": matrix.size_bytes / s / 1e9}
    if m == 1:
        row["share_of_bandwidth"] = row["gb_per_s"] / bandwidth
    return row


def bench_attend(level: str, rows: int, head_dim: int) -> Row:
    """Rows of queries over one chunk of 64 keys, all visible."""
    rng = np.random.default_rng(2)
    q = (rng.standard_normal((rows, head_dim)) * head_dim**-0.5).astype(np.float32)
    keys, values = (rng.standard_normal((64, head_dim)).astype(np.float32) for _ in range(2))
    begin, end = np.zeros(rows, np.int32), np.full(rows, 64, np.int32)
    s = seconds(lambda repeat: kernels.attend(level, q, keys, values, begin, end, repeat=repeat))
    row: Row = {"op": "attend", "level": level, "type": "f32", "m": rows, "n": 64, "k": head_dim, "seconds": s}
    return row | {"gops": 4 * rows * 64 * head_dim / s / 1e9, "gb_per_s": 8 * 64 * head_dim / s / 1e9}


def show(row: Row) -> None:
    share = f"{row['share_of_bandwidth']:7.0%}" if "share_of_bandwidth" in row else ""
    print(
        f"{row['op']:7} {row['level']:12} {row['type']:5} {row['m']:4} {row['n']:7} {row['k']:4} "
        f"{row['seconds'] * 1e6:11.1f} {row['gops']:8.1f} {row['gb_per_s']:7.1f} {share}",
        flush=True,
    )


def main() -> None:
    runnable = [name for name, runs in kernels.levels() if runs]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--levels", default=",".join(runnable[1:] or runnable), help="default: all but generic")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--rows", default="1,8,512")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    args = parser.parse_args()
    levels, types = args.levels.split(","), args.types.lower().split(",")
    bandwidth = read_bandwidth(runnable[-1])
    print(f"read bandwidth, one thread: {bandwidth:.1f} GB/s")
    print("op      level        type     m       n    k        us    GOP/s    GB/s  share")
    results = []
    for level in levels:
        for type_name in types:
            for m in map(int, args.rows.split(",")):
                results.append(bench_matmul(level, type_name, m, bandwidth))
                show(results[-1])
        for rows in (4, 64):
            results.append(bench_attend(level, rows, 256))
            show(results[-1])
    if args.json:
        args.json.write_text(json.dumps({"read_gb_per_s": bandwidth, "results": results}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
