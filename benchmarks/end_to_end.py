"""What t5g does on this machine from end to end: every kind of work, for shapes, types and numbers of threads.

    python benchmarks/end_to_end.py --dir SCRATCH [--shapes 270m,1b] [--types q8_0,...] [--threads 1,2]
                                    [--all] [--json OUT] [--markdown OUT]

Makes files with random weights in SCRATCH (6 GB each at most; they stay). Every file and number of threads gets a
process of its own. q8_0 does all work; the other types, unless there is --all, what shows how they differ. That takes
a quarter of an hour on two cores once the files are there. Needs t5g[convert].
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "compare"))
from machine import machine
from t5g._files import write_text
from work import Work

FOLDER = Path(__file__).parent
NAMES = {"270m": "t5gemma-2-270m-270m", "1b": "t5gemma-2-1b-1b"}
TYPES = ("f16", "bf16", "q8_0", "q5_0", "q4_0")
ENCODE, DECODE = Work("encode", 512), Work("decode", 512)
FEW_WORKS = (ENCODE, DECODE)
# In the order of the memory that they need: what is reported is the process's peak up to then.
WORKS = (
    Work("encode", 128),
    ENCODE,
    Work("decode", 0),
    DECODE,
    Work("decode", 512, beams=4),
    Work("decode", 512, batch=8),
    Work("encode", 2048),
    Work("decode", 4096),
    Work("encode", 8192),
    Work("decode", 512, batch=32),
)
IMAGE = Work("image")
# After which the peak of memory is told.
PEAKS = {"decode @ 512": "decode @ 512", "encode 8192": "encode 8192", "image, seconds": "an image"}
ENOUGH_SECONDS = 3  # for repeating one question


def model_file(folder: Path, shape: str, kind: str) -> Path:
    """Make a file of random weights, once; those of q8_0 with the image tower."""
    path = folder / f"random-{shape}-{kind}.gguf"
    if not path.exists():
        command = [sys.executable, FOLDER / "make_random.py", NAMES[shape], path, "--type", kind]
        subprocess.run(command + ["--vision"] * (kind == "q8_0"), check=True, stdout=subprocess.DEVNULL)
    return path


def measure(path: Path, n_threads: int, works: tuple[Work, ...]) -> list[dict[str, Any]]:
    """Ask a worker for all of them, one after the other."""
    questions = "".join(json.dumps(work) + "\n" for work in works)
    command = [sys.executable, FOLDER / "compare" / "worker.py", "t5g", path, str(n_threads), str(ENOUGH_SECONDS)]
    done = subprocess.run(command, input=questions, stdout=subprocess.PIPE, text=True, check=True)
    load, *answers = (json.loads(line) for line in done.stdout.splitlines())
    rows = [{"kind": "load", "seconds": load["load_seconds"], "peak_bytes": 0}]
    for work, answer in zip(works, answers, strict=True):
        seconds = statistics.median(answer["seconds"])
        rows.append({**work._asdict(), "seconds": seconds, "peak_bytes": answer["peak_bytes"]})
    return rows


def cell(row: dict[str, Any]) -> tuple[str, str]:
    """What a row measured, and the figure: tokens/s, or seconds for load and image."""
    if row["kind"] in ("load", "image"):
        return f"{row['kind']}, seconds", f"{row['seconds']:.3g}"
    work = Work(*(row[field] for field in Work._fields))
    tokens = work.source_tokens if work.kind == "encode" else work.batch
    return work.label(), f"{tokens / row['seconds']:,.0f}"


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return two tables: every file and number of threads by what all of them did, and the work that only some did."""
    found: dict[str, dict[str, str]] = {}  # of each file and number of threads
    for row in rows:
        n = row["threads"]
        cells = found.setdefault(f"{row['shape']} {row['type']}, {n} thread{'s' * (n > 1)}", {})
        label, figure = cell(row)
        cells[label] = figure
        if label in PEAKS:
            cells[f"peak memory up to {PEAKS[label]}, MB"] = f"{row['peak_bytes'] / 1e6:,.0f}"
    labels = list(dict.fromkeys(label for cells in found.values() for label in cells))
    common = [label for label in labels if all(label in cells for cells in found.values())]
    few = [label for label in labels if label not in common]
    lines = [f"| | {' | '.join(common)} |", "| --- |" + " ---: |" * len(common)]
    lines += [f"| {file} | {' | '.join(cells[label] for label in common)} |" for file, cells in found.items()]
    if few:
        files = [file for file, cells in found.items() if len(cells) > len(common)]
        lines += ["", f"| | {' | '.join(files)} |", "| --- |" + " ---: |" * len(files)]
        lines += [f"| {label} | {' | '.join(found[file].get(label, '') for file in files)} |" for label in few]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="scratch folder: the files stay there")
    parser.add_argument("--shapes", default="270m,1b")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--all", action="store_true", help="all work for every type, not for q8_0 alone")
    parser.add_argument("--json", type=Path, help="write machine and all rows here")
    parser.add_argument("--markdown", type=Path, help="write the table here, not to standard output")
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    rows = []
    for shape in options.shapes.split(","):
        for kind in options.types.split(","):
            path = model_file(options.dir, shape, kind)
            for n_threads in map(int, options.threads.split(",")):
                works = WORKS if options.all or kind == "q8_0" else FEW_WORKS
                if kind == "q8_0" and shape == "270m":
                    works = (*works, IMAGE)
                for row in measure(path, n_threads, works):
                    rows.append({"shape": shape, "type": kind, "threads": n_threads, **row})
                print(f"{shape} {kind}, {n_threads} threads: done", file=sys.stderr, flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.json, json.dumps({**machine(), "rows": rows}, indent=1) + "\n")
    if options.markdown:
        write_text(options.markdown, markdown(rows) + "\n")
    else:
        print(markdown(rows))


if __name__ == "__main__":
    main()
