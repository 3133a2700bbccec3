"""Summarise or embed a corpus of JSONL or Parquet files with Ray, on this machine or a cluster; resumable.

    pip install 't5g[ray]'
    python examples/ray_corpus.py corpus/ results/ --model t5gemma-2-270m.gguf --workers 4 --cpus-per-worker 4
    python examples/ray_corpus.py corpus.parquet vectors/ --task embed

Results are Parquet files in the output folder, each complete or not there. Run it again after an interruption, or with
more input: rows whose key is in the results are not done again. The key is the column --key, or the text's hash. A row
that cannot be done has its reason in the column "error" (--retry-errors does those again).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> int:
    arguments = parse()
    import ray
    from t5g.integrations import ray as t5g_ray

    # Reading takes little, and gets a share of its own: workers may have all cores of this machine.
    local = {"num_cpus": max(os.cpu_count() or 1, arguments.workers * arguments.cpus_per_worker + 1)}
    where = {"address": arguments.address} if arguments.address else local
    ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    arguments.output.mkdir(parents=True, exist_ok=True)
    done = ray.put(frozenset(keys_done(arguments.output, arguments.retry_errors)))
    column, key = arguments.column, arguments.key

    def left(batch: Any) -> Any:
        """Give rows their keys, and drop those that are done."""
        import numpy as np

        keys = [str(value) for value in batch[key]] if key else [key_of(text) for text in batch[column]]
        known = ray.get(done)
        new = np.array([one not in known for one in keys], bool)
        return {name: values[new] for name, values in (batch | {"key": np.array(keys, object)}).items()}

    rows = read(arguments.input).map_batches(left, batch_format="numpy", batch_size=1024)
    work = {
        "model": arguments.model,
        "column": column,
        "workers": arguments.workers,
        "cpus_per_worker": arguments.cpus_per_worker,
        "batch_size": arguments.batch_size,
    }
    if arguments.task == "embed":
        results = t5g_ray.embed(rows, **work)
    else:
        results = t5g_ray.generate(rows, **work, max_new_tokens=arguments.max_new_tokens, temperature=0.0)
    tally = write(results, arguments.output, arguments.part_rows)
    report(tally, arguments.price_per_hour)
    ray.shutdown()
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, help="a JSONL or Parquet file, or a folder of them")
    parser.add_argument("output", type=Path, help="a folder")
    parser.add_argument("--model", help="the GGUF file (default: the bundled one)")
    parser.add_argument("--task", choices=["generate", "embed"], default="generate")
    parser.add_argument("--column", default="text", help="with the sources")
    parser.add_argument("--key", help="column that tells rows apart (default: the text itself)")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cpus-per-worker", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=256, help="rows that a worker gets at a time")
    parser.add_argument("--part-rows", type=int, default=5000, help="rows of a file of results")
    parser.add_argument("--retry-errors", action="store_true")
    parser.add_argument("--price-per-hour", type=float, help="of the machines: says what a million tokens cost")
    parser.add_argument("--address", help="of a running Ray cluster (default: Ray on this machine)")
    return parser.parse_args()


def read(path: Path) -> Any:
    """Read files of one kind as a dataset."""
    import ray

    files = sorted(str(p) for p in path.rglob("*") if p.is_file()) if path.is_dir() else [str(path)]
    if files and all(file.endswith(".parquet") for file in files):
        return ray.data.read_parquet(files)
    if files and all(file.endswith((".jsonl", ".json", ".ndjson")) for file in files):
        return ray.data.read_json(files)
    sys.exit(f"{path}: expected .parquet files or .jsonl files, of one kind")


def key_of(text: Any) -> str:
    """The key of a row that has none of its own."""
    return hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).hexdigest()


# ---- Results ----


def keys_done(folder: Path, retry_errors: bool) -> Iterator[str]:
    """Keys of the rows in the results."""
    import pyarrow.parquet as parquet

    for part in sorted(folder.glob("part-*.parquet")):
        table = parquet.read_table(part, columns=["key", "error"])
        for key, error in zip(table["key"].to_pylist(), table["error"].to_pylist(), strict=True):
            if not (retry_errors and error):
                yield key


def write(results: Any, folder: Path, part_rows: int) -> dict[str, float]:
    """Write results in files of so many rows, each complete before it has its name."""
    import pyarrow.parquet as parquet

    tally = {"rows": 0.0, "errors": 0.0, "source_tokens": 0.0, "new_tokens": 0.0}
    start = time.monotonic()
    for table in results.iter_batches(batch_size=part_rows, batch_format="pyarrow"):
        if not len(table):
            continue
        name = f"part-{uuid.uuid4().hex}.parquet"
        unfinished = folder / f".{name}"
        parquet.write_table(table, unfinished)
        unfinished.rename(folder / name)
        tally["rows"] += len(table)
        tally["errors"] += sum(map(bool, table["error"].to_pylist()))
        for column, name in (("n_source_tokens", "source_tokens"), ("n_new_tokens", "new_tokens")):
            if column in table.column_names:
                tally[name] += sum(table[column].to_pylist())
        tally["seconds"] = time.monotonic() - start
        print(json.dumps(tally), file=sys.stderr, flush=True)
    return tally | {"seconds": time.monotonic() - start}


def report(tally: dict[str, float], price_per_hour: float | None) -> None:
    """Print what was done, and what it has cost."""
    seconds = max(tally["seconds"], 1e-9)
    found = tally | {"rows_per_second": tally["rows"] / seconds}
    tokens = tally["source_tokens"] + tally["new_tokens"]
    if price_per_hour is not None and tokens:
        found["cost_per_million_tokens"] = price_per_hour * seconds / 3600 / tokens * 1e6
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


if __name__ == "__main__":
    sys.exit(main())
