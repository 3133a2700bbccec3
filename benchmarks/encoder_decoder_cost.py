"""What an encoder-decoder costs beside decoder-only models, for docs/encoder-decoder-cost.md.

    python benchmarks/encoder_decoder_cost.py --dir SCRATCH [--threads 2] [--json F] [--plot F]
                                              [--llama-bench PATH/llama-bench --llama-model NAME=FILE]
    python benchmarks/encoder_decoder_cost.py --from F [--plot F]

Three models with random weights in q8_0: the 270M-270M; a decoder-only model of one side's shape, which is its decoder
with an empty source and the whole text as a prefix; and one of twice the layers, as many parameters as both sides
together. For each source : target it measures the time to the first token, the time of each further one, the total,
peak memory, and energy where the machine says it (RAPL). Then ten questions about one document. --llama-bench adds
llama.cpp's Gemma 3 of the same shapes: GGUFs that it reads are given with --llama-model NAME=FILE.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "compare"))
from machine import machine
from work import source_ids

MODELS = {
    "encoder-decoder": "T5Gemma 2 270M-270M",
    "decoder-only": "decoder-only, one side's shape",
    "decoder-only x2": "decoder-only, twice the layers",
}
SHAPES = ((128, 128), (2048, 128), (16384, 256), (128, 2048))
N_QUESTIONS, QUESTION_TOKENS, ANSWER_TOKENS, DOCUMENT_TOKENS = 10, 32, 64, 8192
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


def model_file(folder: Path, name: str) -> Path:
    """Make it, once. Decoder-only models are pairs whose encoder is never used."""
    path = folder / f"cost-{name.replace(' ', '-')}.gguf"
    if not path.exists():
        import make_random

        if name == "decoder-only x2":
            layers, *rest = make_random.T5GEMMA2_SIDES["270m"]
            make_random.T5GEMMA2_SIDES["270m"] = (2 * layers, *rest)
            try:
                make_random.make_random("t5gemma-2-270m-270m", path, "q8_0", pure=False, vision=False)
            finally:
                make_random.T5GEMMA2_SIDES["270m"] = (layers, *rest)
        else:
            make_random.make_random("t5gemma-2-270m-270m", path, "q8_0", pure=False, vision=False)
    return path


def energy_joules() -> float | None:
    try:
        return int(RAPL.read_text()) / 1e6
    except (OSError, ValueError):
        return None


def measure(path: str, name: str, n_source: int, n_target: int, threads: int) -> dict[str, Any]:
    """In a process of its own."""
    import t5g

    limit = n_source + n_target + 64
    model = t5g.Model(path, n_threads=threads, max_source_tokens=limit, max_target_tokens=limit)
    text = source_ids(n_source)
    reads = name == "encoder-decoder"
    source, prefix = (text, None) if reads else ([], text)
    options: dict[str, Any] = {"decoder_prefix": prefix, "draft": "off"}
    model.generate(
        text[:64] if reads else [], decoder_prefix=None if reads else text[:64], max_new_tokens=2, draft="off"
    )
    start, energy = time.perf_counter(), energy_joules()
    model.generate(source, max_new_tokens=1, **options)
    first = time.perf_counter() - start
    start = time.perf_counter()
    model.generate(source, max_new_tokens=n_target, min_new_tokens=n_target, **options)
    total, spent = time.perf_counter() - start, energy_joules()
    return {
        "model": name,
        "source": n_source,
        "target": n_target,
        "first_token_seconds": first,
        "per_token_seconds": (total - first) / (n_target - 1),
        "total_seconds": total,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "joules": None if energy is None or spent is None else spent - energy,
    }


def ask_again(path: str, name: str, threads: int) -> dict[str, Any]:
    """Ten questions about one document: the encoder-decoder reads it once, and questions are decoder prefixes.

    A decoder-only model is given the document again for each question, as a server does that keeps no cache.
    """
    import t5g

    limit = DOCUMENT_TOKENS + QUESTION_TOKENS + ANSWER_TOKENS + 8
    model = t5g.Model(path, n_threads=threads, max_source_tokens=limit, max_target_tokens=limit)
    document = source_ids(DOCUMENT_TOKENS)
    questions = [source_ids(QUESTION_TOKENS, i + 1) for i in range(N_QUESTIONS)]
    options: dict[str, Any] = {"max_new_tokens": ANSWER_TOKENS, "min_new_tokens": ANSWER_TOKENS, "draft": "off"}
    model.generate([5] * 8, max_new_tokens=2, draft="off")
    start = time.perf_counter()
    times = []
    if name == "encoder-decoder":
        source = model.encode(document)
        for question in questions:
            model.generate(source, decoder_prefix=question, **options)
            times.append(time.perf_counter() - start)
    else:
        for question in questions:
            model.generate([], decoder_prefix=[*document, *question], **options)
            times.append(time.perf_counter() - start)
    return {"model": name, "questions": N_QUESTIONS, "document": DOCUMENT_TOKENS, "seconds": times}


def llama(bench: str, file: str, name: str, threads: int) -> list[dict[str, Any]]:
    """llama.cpp's prefill and generation of the same lengths."""
    rows = []
    for n_source, n_target in SHAPES:
        command = [bench, "-m", file, "-t", str(threads), "-p", "0", "-n", "0", "-r", "1", "-o", "json"]
        done = subprocess.run([*command, "-pg", f"{n_source},1"], check=True, stdout=subprocess.PIPE, text=True)
        first = json.loads(done.stdout)[-1]["avg_ns"] / 1e9
        done = subprocess.run(
            [*command, "-pg", f"{n_source},{n_target}"], check=True, stdout=subprocess.PIPE, text=True
        )
        total = json.loads(done.stdout)[-1]["avg_ns"] / 1e9
        rows.append(
            {
                "model": f"llama.cpp, {name}", "source": n_source, "target": n_target, "first_token_seconds": first,
                "per_token_seconds": (total - first) / (n_target - 1), "total_seconds": total, "peak_bytes": None,
                "joules": None,
            }
        )  # fmt: skip
    return rows


def markdown(facts: dict[str, Any]) -> str:
    lines = [
        "| source : target | model | first token, s | each further one, ms | total, s | peak memory, MB | energy, J |",
        "| --- | --- |" + " ---: |" * 5,
    ]
    for row in facts["rows"]:
        peak, joules = row["peak_bytes"], row["joules"]
        lines.append(
            f"| {row['source']:,} : {row['target']:,} | {MODELS.get(row['model'], row['model'])} "
            f"| {row['first_token_seconds']:.3f} | {row['per_token_seconds'] * 1e3:.1f} | {row['total_seconds']:.2f} "
            f"| {'' if peak is None else f'{peak / 1e6:,.0f}'} | {'' if joules is None else f'{joules:.0f}'} |"
        )
    lines += ["", f"| {N_QUESTIONS} questions about {DOCUMENT_TOKENS:,} tokens | first answer, s | all, s |"]
    lines.append("| --- | ---: | ---: |")
    for row in facts["again"]:
        lines.append(f"| {MODELS[row['model']]} | {row['seconds'][0]:.1f} | {row['seconds'][-1]:.1f} |")
    return "\n".join(lines)


def plot(facts: dict[str, Any], path: Path) -> None:
    """Bars of reading and writing for each source : target, and the questions one after the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.8), layout="constrained")
    *bars, again = figure.subplots(1, len(SHAPES) + 1)
    for (n_source, n_target), axes in zip(SHAPES, bars, strict=True):
        rows = [row for row in facts["rows"] if (row["source"], row["target"]) == (n_source, n_target)]
        first = [row["first_token_seconds"] for row in rows]
        rest = [row["total_seconds"] - row["first_token_seconds"] for row in rows]
        places = range(len(rows))
        axes.bar(places, first, label="to the first token")
        axes.bar(places, rest, bottom=first, label="the others")
        axes.set_xticks(places, [row["model"] for row in rows], rotation=30, ha="right", fontsize=7)
        axes.set(title=f"{n_source:,} : {n_target:,}", ylabel="seconds")
    bars[0].legend(fontsize=7)
    for row in facts["again"]:
        again.plot(range(1, len(row["seconds"]) + 1), row["seconds"], "o-", label=row["model"])
    again.set(title="ask again", xlabel="questions answered", ylabel="seconds", xticks=range(1, N_QUESTIONS + 1))
    again.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    facts: dict[str, Any] = {**machine(), "threads": options.threads, "rows": [], "again": []}
    options.dir.mkdir(parents=True, exist_ok=True)
    files = {name: model_file(options.dir, name) for name in MODELS}

    def worker(*words: object) -> dict[str, Any]:
        command = [sys.executable, __file__, "--threads", str(options.threads), "--worker", *map(str, words)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row: dict[str, Any] = json.loads(done.stdout)
        print(row, file=sys.stderr, flush=True)
        return row

    for n_source, n_target in SHAPES:
        for name, file in files.items():
            facts["rows"].append(worker(file, name, n_source, n_target))
    facts["again"] = [worker(file, name) for name, file in files.items()]
    for given in options.llama_model:
        name, _, file = given.partition("=")
        facts["rows"] += llama(options.llama_bench, file, name, options.threads)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, help="scratch folder: the files stay there")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--llama-bench", help="llama.cpp's program")
    parser.add_argument("--llama-model", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--from", dest="earlier", type=Path, help="an earlier run")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        path, name, *lengths = options.worker
        found = (
            measure(path, name, *map(int, lengths), options.threads)
            if lengths
            else ask_again(path, name, options.threads)
        )
        print(json.dumps(found))
        return
    facts = json.loads(options.earlier.read_text(encoding="utf-8")) if options.earlier else run_all(options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(facts, options.plot)
    print(markdown(facts))


if __name__ == "__main__":
    main()
