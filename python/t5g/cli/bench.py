"""t5g-bench: how fast a model runs here, and how near that is to what the machine's memory allows."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from t5g.cli import _common, _model, _output

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from t5g import Model

_PROG = "t5g-bench"
_IMAGE_SECONDS = 60.0  # no further image is begun after them


def _parser() -> _common.Parser:
    parser = _common.Parser(_PROG, "Measure image, encode and decode speed, and the share of memory bandwidth.")
    parser.add_argument("model", metavar="MODEL.gguf", nargs="?", help="the model (default: the bundled one)")
    parser.add_argument("--source-tokens", metavar="N", default="128,512", help="source lengths (default: 128,512)")
    parser.add_argument("--new-tokens", metavar="N", type=int, default=64, help="tokens to decode (default: 64)")
    parser.add_argument("--batch", metavar="N", default="1", help="batch sizes to decode with (default: 1)")
    parser.add_argument("--image", metavar="PATH", help="an image to read (default: random pixels)")
    parser.add_argument("--repeat", metavar="N", type=int, default=5, help="runs; the median counts (default: 5)")
    parser.add_argument(
        "--check", action="store_true", help="compare the device's results with the CPU's instead: a report to paste"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    _model.add_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), _bench, argv)


def _numbers(text: str, flag: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise _common.UsageError(f"{flag} is {text!r}, expected positive numbers with commas between them")
    return numbers


def _bench(arguments: argparse.Namespace) -> int | None:
    if arguments.check:
        flags = ["--source-tokens", "--new-tokens", "--batch", "--image", "--repeat", "--json", "--lora"]
        _common.refuse(arguments, flags, "does not go with --check, which compares what it chooses and prints a text")
        from t5g.cli._check import check

        _model.check(arguments)
        return check(arguments)
    lengths = _numbers(arguments.source_tokens, "--source-tokens")
    batches = _numbers(arguments.batch, "--batch")
    if min(arguments.new_tokens, arguments.repeat) < 1:
        raise _common.UsageError("--new-tokens and --repeat must be 1 or more")
    from t5g import _core

    with _model.opened(arguments) as model:
        _check_limits(model, lengths, arguments)
        facts: dict[str, Any] = {
            "model": str(model.path),
            "device": model.device,
            "threads": model.n_threads,
            "kv_type": model.kv_type,
            "kernels": _core.system_info()["kernels"],
            "load_seconds": model.load_seconds,
            # Of the host's memory, which says nothing about another device.
            "memory_bandwidth_gb_per_s": _core.read_bandwidth(model.n_threads) / 1e9 if model.device == "cpu" else None,
            "results": [],
        }
        if arguments.image is not None or model.config.vision is not None:
            facts["results"].append(_image(model, arguments.image, arguments.repeat))
        for length in lengths:
            facts["results"].append(_encode(model, length, arguments.repeat))
            for batch in batches if model.config.decoder is not None else ():
                facts["results"].append(_decode(model, length, batch, arguments, facts["memory_bandwidth_gb_per_s"]))
    if arguments.json:
        print(_output.as_json(facts, ensure_ascii=True, indent=2))
    else:
        _print(facts)
    return None


def _check_limits(model: Model, lengths: Sequence[int], arguments: argparse.Namespace) -> None:
    """Raise InputTooLongError for more tokens than the model takes, and tell what has no decoder to measure."""
    from t5g.errors import InputTooLongError

    asked = [("--source-tokens", max(lengths), "source", model.max_source_tokens)]
    if model.config.decoder is not None:
        asked.append(("--new-tokens", arguments.new_tokens, "target", model.max_target_tokens))
    else:
        for flag in ("--new-tokens", "--batch"):
            if arguments.parser.has_been_given(flag):
                _common.report(_PROG, f"{flag} has no effect: the file has no decoder", "warning")
    for flag, n, side, limit in asked:
        if n > limit:
            raise InputTooLongError(
                f"{flag}: {n:,} tokens, but the model's limit is {limit:,}. Ask for fewer, or raise the limit with "
                f"--max-{side}-tokens."
            )


def _median_seconds(run: Callable[[], object], repeat: int) -> float:
    run()  # packs weights, fills caches
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _ids(model: Model, n: int) -> list[int]:
    """N different tokens: the speed does not depend on which."""
    return [1 + i % (model.config.vocab_size - 1) for i in range(n)]


def _image(model: Model, path: str | None, repeat: int) -> dict[str, Any]:
    """Read one image, with another corner each time: images seen before would come from the model's cache."""
    import numpy as np

    from t5g.image_prompt import vision_config
    from t5g.images import preprocess

    vision = vision_config(model.config)
    shape = (vision.image_size, vision.image_size, 3)
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    if path is not None:
        pixels = preprocess([path], vision.image_size)[0][0]
    seconds: list[float] = []
    while len(seconds) < repeat + 1 and sum(seconds) < _IMAGE_SECONDS:
        changed = pixels.copy()
        changed[0, 0] = len(seconds)
        seconds.append(_image_seconds(model, changed))
    median = statistics.median(seconds[1:] or seconds)  # the first packs weights
    tokens = vision.mm_tokens_per_image
    return {"test": "image", "image_tokens": tokens, "seconds": median, "tokens_per_second": tokens / median}


def _image_seconds(model: Model, pixels: npt.NDArray[np.uint8]) -> float:
    """Read an image, less what the encoder makes of its tokens, where the model tells that apart."""
    from t5g.image_prompt import vision_config
    from t5g.options import plain

    assert model.config.image_token_index is not None
    ids = [model.config.image_token_index] * vision_config(model.config).mm_tokens_per_image
    if model.config.decoder is None:
        start = time.perf_counter()
        model.encode(ids, images=pixels)
        return time.perf_counter() - start
    return model.generate(ids, images=pixels, **plain(max_new_tokens=1)).timings.image_seconds


def _encode(model: Model, length: int, repeat: int) -> dict[str, Any]:
    ids = _ids(model, length)
    seconds = _median_seconds(lambda: model.encode(ids), repeat)
    return {"test": "encode", "source_tokens": length, "seconds": seconds, "tokens_per_second": length / seconds}


def _decode(
    model: Model, length: int, batch: int, arguments: argparse.Namespace, bandwidth: float | None
) -> dict[str, Any]:
    from t5g.options import plain

    n = arguments.new_tokens
    sources = [model.encode(_ids(model, length)) for _ in range(batch)]
    rates = []

    def run() -> None:
        options = plain(max_new_tokens=n, min_new_tokens=n, draft="off")
        outs = model.generate_batch(sources, max_batch_size=batch, **options)
        rates.append(sum(out.timings.n_new_tokens for out in outs) / outs[0].timings.decode_seconds)

    _median_seconds(run, arguments.repeat)
    rate = statistics.median(rates[1:])
    memory = model.memory()
    read = memory.decode_weights_bytes + batch * length * memory.bytes_per_source_token
    gb_per_s = read * rate / batch / 1e9
    return {
        "test": "decode",
        "source_tokens": length,
        "batch": batch,
        "new_tokens": n,
        "tokens_per_second": rate,
        "gb_per_s": gb_per_s,
        "share_of_bandwidth": gb_per_s / bandwidth if bandwidth else None,
    }


def _print(facts: dict[str, Any]) -> None:
    bandwidth = facts["memory_bandwidth_gb_per_s"]
    where = f"{facts['threads']} threads, kernels {facts['kernels']}" if bandwidth else f"on {facts['device']}"
    print(
        f"{facts['model']}: {where}, keys and values {facts['kv_type']}, loaded in {facts['load_seconds']:.3f} s"
        + (f"; this machine reads {bandwidth:.1f} GB/s" if bandwidth else "")
    )
    print(f"{'test':<8} {'source':>7} {'batch':>6} {'tokens/s':>10} {'GB/s':>7} {'of bandwidth':>13}")
    for r in facts["results"]:
        source = r["source_tokens"] if "source_tokens" in r else r["image_tokens"]
        line = f"{r['test']:<8} {source:>7} {r.get('batch', 1):>6} {r['tokens_per_second']:>10.1f}"
        if r["test"] == "image":
            line += f"   {r['seconds']:.3g} s an image"
        if r["test"] == "decode":
            line += f" {r['gb_per_s']:>7.1f}"
            line += f" {100 * r['share_of_bandwidth']:>12.0f}%" if bandwidth else ""
        print(line)


if __name__ == "__main__":
    sys.exit(main())
