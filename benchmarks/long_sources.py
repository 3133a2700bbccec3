"""Time, memory and speed of decoding against the length of a source, for what docs/long-sources.md shows.

    python benchmarks/long_sources.py MODEL.gguf [--lengths 512,2048,8192,32768] [--threads 2] [--json F] [--plot F]
    python benchmarks/long_sources.py --from F [--plot F]

Every length and every way of keeping a source gets a process of its own, and another for its peak of memory. The
shares of the peak are those of the multiplications that the machine does on registers (peaks.cc, compiled by $CXX or
c++): of bfloat16, or of floats where these are faster, for attention, and of bytes for the rest. A quiet machine,
please: up to 32,768 tokens it takes a quarter of an hour on two cores, with 131072 an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "compare"))
from machine import machine
from work import source_ids

# (kv_type, source_cache) of each line.
KEPT = (("f16", "keys"), ("q8_0", "keys"), ("f16", "latent"), ("q8_0", "latent"))
N_TOKENS = 64
N_TIMED = 16  # tokens of a generation that is timed again


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(path: str, length: int, threads: int, kv_type: str, kept: str, folder: Path) -> dict[str, Any]:
    """In a process of its own: encode (once for all ways: the file is left for the others), decode, save and open."""
    import t5g

    model = t5g.Model(path, n_threads=threads, kv_type=kv_type, source_cache=kept, max_source_tokens=max(length, 4096))
    model.generate([5] * 16, max_new_tokens=2, draft="off")  # weights are packed when they are first used
    row: dict[str, Any] = {"length": length, "threads": threads, "kv_type": kv_type, "source_cache": kept}
    file = folder / f"{length}-{kv_type}-{kept}.source"
    start = time.perf_counter()
    source = model.encode(source_ids(length))
    row["encode_seconds"] = time.perf_counter() - start
    source.save(file)
    del source
    start = time.perf_counter()
    source = t5g.EncodedSource.load(model, file)
    row["open_seconds"] = time.perf_counter() - start
    model.generate(source, max_new_tokens=1, draft="off")
    row["open_to_first_token_seconds"] = time.perf_counter() - start
    row["file_bytes"] = file.stat().st_size
    file.unlink()
    options: dict[str, Any] = {"max_new_tokens": N_TOKENS, "min_new_tokens": N_TOKENS, "draft": "off"}
    timed = options | {"max_new_tokens": N_TIMED, "min_new_tokens": N_TIMED}
    runs = [model.generate(source, **(options if i == 0 else timed)).timings for i in range(4)]
    row["decode_tokens_per_second"] = max(t.n_new_tokens / t.decode_seconds for t in runs)
    row["config"] = {
        key: getattr(model.config.encoder, key)
        for key in (
            "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
            "sliding_window", "layer_types",
        )
    }  # fmt: skip
    return row


def peak(path: str, length: int, threads: int, kv_type: str, kept: str) -> dict[str, Any]:
    """In a process of its own that does nothing else: memory after encoding, and after some tokens."""
    import t5g

    model = t5g.Model(path, n_threads=threads, kv_type=kv_type, source_cache=kept, max_source_tokens=max(length, 4096))
    source = model.encode(source_ids(length))
    row = {"encode_peak_bytes": peak_bytes()}
    model.generate(source, max_new_tokens=N_TOKENS, min_new_tokens=N_TOKENS, draft="off")
    return row | {"peak_bytes": peak_bytes()}


def in_process(*command: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *command], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def operations(config: dict[str, Any], n: int) -> tuple[float, float]:
    """Multiplications and additions of attention and of everything else, for a source of n tokens."""
    d, width = config["hidden_size"], config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    linear = d * (2 * width + 2 * kv + 3 * config["intermediate_size"])
    attention = 0.0
    for kind in config["layer_types"]:
        seen = n if kind == "full_attention" else min(n, config["sliding_window"])
        attention += 2 * width * seen
    return 2 * n * attention, 2.0 * n * linear * len(config["layer_types"])


def peaks(threads: int) -> dict[str, float]:
    """GOP/s of bf16 and int8, where the compiler is there and the machine has them."""
    compiler, source = os.environ.get("CXX", "c++"), Path(__file__).with_name("peaks.cc")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peaks"
        compile_it = [compiler, "-O2", "-std=c++20", "-pthread", str(source), "-o", str(program)]
        try:
            subprocess.run(compile_it, check=True, capture_output=True)
            run = subprocess.run([program, str(threads)], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            return {}
    found: dict[str, float] = json.loads(run.stdout).get(str(threads), {})
    return found


def share_of_peak(row: dict[str, Any], of: dict[str, float]) -> float | None:
    """Time that the peaks allow, of the time that encoding took."""
    if "bf16" not in of or "int8" not in of:
        return None
    attention, linear = operations(row["config"], row["length"])
    pairs = max(of["bf16"], of.get("fp32", 0.0))  # of bfloat16: by the instruction for them, or as floats
    return (attention / pairs + linear / of["int8"]) / 1e9 / float(row["encode_seconds"])


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| source tokens | kept | encode, tokens/s | share of peak | decode, tokens/s | peak memory, MB | open, ms "
        "| to its first token, s | file, MB |",
        "| ---: | --- |" + " ---: |" * 7,
    ]
    for row in rows:
        share = row.get("share_of_peak")
        cells = [
            f"{row['length']:,}",
            f"{row['source_cache']}, {row['kv_type']}",
            f"{row['length'] / row['encode_seconds']:,.0f}",
            "" if share is None else f"{share:.0%}",
            f"{row['decode_tokens_per_second']:.1f}",
            f"{row['peak_bytes'] / 1e6:,.0f}",
            f"{row['open_seconds'] * 1e3:.0f}",
            f"{row['open_to_first_token_seconds']:.2f}",
            f"{row['file_bytes'] / 1e6:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Time to read, memory and speed of decoding by length, each way a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    panels = (
        ("seconds to read", lambda row: row["encode_seconds"]),
        ("peak memory, MB", lambda row: row["peak_bytes"] / 1e6),
        ("decode, tokens/s", lambda row: row["decode_tokens_per_second"]),
    )
    for (title, value), ax in zip(panels, axes, strict=True):
        for kv_type, kept in KEPT:
            own = [row for row in rows if (row["kv_type"], row["source_cache"]) == (kv_type, kept)]
            ax.plot([row["length"] for row in own], [value(row) for row in own], "o-", label=f"{kept}, {kv_type}")
        ax.set(xscale="log", xlabel="source tokens", title=title, ylim=(0, None))
        ax.grid(alpha=0.3)
    axes[0].set(yscale="log", ylim=(None, None))
    axes[1].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--lengths", default="512,2048,8192,32768")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kept", help="only these of keys-f16, keys-q8_0, latent-f16, latent-q8_0")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--from", dest="earlier", type=Path, help="rows of an earlier run")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        length, kv_type, kept, folder = options.worker
        print(json.dumps(measure(options.model, int(length), options.threads, kv_type, kept, Path(folder))))
        return
    if options.peak:
        length, kv_type, kept = options.peak
        print(json.dumps(peak(options.model, int(length), options.threads, kv_type, kept)))
        return
    if options.earlier:
        facts = json.loads(options.earlier.read_text(encoding="utf-8"))
    else:
        facts = {**machine(), "model": Path(options.model).name, "peaks": peaks(options.threads), "rows": []}
        with tempfile.TemporaryDirectory() as folder:
            for length in map(int, options.lengths.split(",")):
                for kv_type, kept in KEPT:
                    if options.kept and f"{kept}-{kv_type}" not in options.kept.split(","):
                        continue
                    common = (options.model, "--threads", str(options.threads))
                    what = (str(length), kv_type, kept)
                    row = in_process(*common, "--worker", *what, folder) | in_process(*common, "--peak", *what)
                    row["share_of_peak"] = share_of_peak(row, facts["peaks"])
                    facts["rows"].append(row)
                    print(markdown([row]).splitlines()[-1], file=sys.stderr, flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(facts["rows"], options.plot)
    print(markdown(facts["rows"]))


if __name__ == "__main__":
    main()
