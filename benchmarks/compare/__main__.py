"""t5g and its peers side by side on this machine: the same work in turns, A B A B, and the ratios of the medians.

    python benchmarks/compare --dir SCRATCH [--llama-bench PATH] [--shapes 270m,1b,image] [--threads 2] [--rounds 3]
    python benchmarks/compare --from RESULTS.json [--plot PNG]

Makes random checkpoints of the released shapes in SCRATCH (speed does not depend on weights) and what each peer makes
of them. All peers of a variant are loaded first; then each piece of work goes round, one peer at a time, so that all
meet the same disturbances. Peers that are not installed are left out, and stderr says so. Needs torch, transformers and
t5g[convert,vision]; ctranslate2, a llama-bench with llama-quantize beside it, and matplotlib for the rest. --from shows
what was measured before, as docs/performance.md has it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import models
from machine import machine
from report import markdown, plot
from t5g._files import write_text
from work import N_NEW_TOKENS, VARIANTS, Variant, Work, can

LLAMA_REPEATS = 3


class Worker:
    """A peer that stays loaded and answers questions."""

    def __init__(self, peer: str, model: Path, n_threads: int) -> None:
        script = Path(__file__).with_name("worker.py")
        self._process = subprocess.Popen(
            [sys.executable, script, peer, model, str(n_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.load_seconds = self._answer()["load_seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self._process.args))} ended with {self._process.wait()}")
        return json.loads(line)

    def ask(self, work: Work) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps(work), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class LlamaBench:
    """llama-bench: a process for every question."""

    load_seconds = 0.0

    def __init__(self, binary: Path, model: Path, n_threads: int) -> None:
        self._command = [
            binary,
            "-m",
            model,
            "-t",
            str(n_threads),
            "-r",
            str(LLAMA_REPEATS),
            "-o",
            "jsonl",
            "-ngl",
            "0",
        ]

    def ask(self, work: Work) -> dict[str, Any]:
        n = str(work.source_tokens)
        more = ["-p", n, "-n", "0"] if work.kind == "encode" else ["-p", "0", "-n", str(N_NEW_TOKENS), "-d", n]
        done = subprocess.run(
            [*self._command, *more], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        rates = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))["samples_ts"]
        return {"seconds": [(work.source_tokens if work.kind == "encode" else 1) / rate for rate in rates]}

    def close(self) -> None:
        pass


def open_peers(options: argparse.Namespace, shape: str, variant: Variant) -> dict[str, Worker | LlamaBench]:
    """Start t5g and the variant's peers that are installed."""
    folder, n = options.dir, options.threads
    vision = shape == "image"
    size = "270m" if vision else shape
    peers: dict[str, Worker | LlamaBench] = {}
    peers["t5g"] = Worker("t5g", models.t5g_file(folder, size, variant.name, vision=vision), n)
    for peer, kind in variant.peers.items():
        if peer not in options.peers:
            continue
        if peer == "llama.cpp":
            quantize = options.llama_bench.with_name("llama-quantize")
            peers[peer] = LlamaBench(options.llama_bench, models.llama_file(folder, size, kind, quantize), n)
        elif peer == "ctranslate2":
            peers[peer] = Worker(peer, models.ctranslate2_folder(folder, size, kind), n)
        else:
            peers[peer] = Worker(peer, models.checkpoint(folder, size), n)
    return peers


def compare(options: argparse.Namespace, shape: str, variant: Variant) -> list[dict[str, Any]]:
    """Let the peers of one variant do its works in turns."""
    peers = open_peers(options, shape, variant)
    rows = []
    try:
        for work in variant.works:
            samples: dict[str, list[float]] = {peer: [] for peer in peers if can(peer, work)}
            for _ in range(options.rounds):
                for peer, found in samples.items():
                    found.extend(peers[peer].ask(work)["seconds"])
            row = {"shape": shape, "type": variant.name, **work._asdict(), "samples": samples}
            row["medians"] = {peer: statistics.median(found) for peer, found in samples.items()}
            rows.append(row)
            print(shape, variant.name, work.label(), row["medians"], file=sys.stderr, flush=True)
    finally:
        for worker in peers.values():
            worker.close()
    return rows


def installed_peers(options: argparse.Namespace) -> list[str]:
    """Those of the wanted peers that are here; says which are not."""
    here = {"transformers": importlib.util.find_spec("transformers") is not None}
    here["ctranslate2"] = importlib.util.find_spec("ctranslate2") is not None
    here["llama.cpp"] = options.llama_bench is not None
    for peer, found in here.items():
        if not found:
            print(f"{peer} is not here: left out", file=sys.stderr)
    return [peer for peer, found in here.items() if found]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Compare all that the options ask for."""
    options.dir.mkdir(parents=True, exist_ok=True)
    options.peers = installed_peers(options)
    facts: dict[str, Any] = machine() | {"threads": options.threads, "rows": []}
    for shape in options.shapes.split(","):
        for variant in VARIANTS[shape]:
            if options.types is None or variant.name in options.types.split(","):
                facts["rows"] += compare(options, shape, variant)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dir", type=Path, help="scratch folder: all models stay there")
    source.add_argument("--from", dest="results", type=Path, help="measure nothing: show what --json has written")
    parser.add_argument("--llama-bench", type=Path, help="llama.cpp's llama-bench, with llama-quantize beside it")
    parser.add_argument("--shapes", default="270m,1b,image", help="default: 270m,1b,image")
    parser.add_argument("--types", help="only these variants, with commas between them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer, three runs each (default: 3)")
    parser.add_argument("--json", type=Path, help="write machine, samples and medians here")
    parser.add_argument("--plot", type=Path, help="write a PNG image of the ratios here")
    options = parser.parse_args()
    facts = json.loads(options.results.read_text(encoding="utf-8")) if options.results else measure(options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.json, json.dumps(facts, indent=1) + "\n")
    print(markdown(facts))
    if options.plot:
        plot(facts, options.plot)


if __name__ == "__main__":
    main()
