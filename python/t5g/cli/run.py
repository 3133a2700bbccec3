"""t5g-run: a source in, generated text out."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t5g.cli import _common

if TYPE_CHECKING:
    from t5g import Generation, Model

_PROG = "t5g-run"
_EPILOG = """The source is the text of -p, of -f, or of standard input; on a terminal without any of them, t5g-run asks
for one after the other. The generated text goes to standard output as it comes into being.
Pictures stand where the text says <start_of_image>, or in front of it where it does not say so.

examples:
  t5g-run model.gguf -p "Some text to summarise."
  t5g-run model.gguf -f report.txt -n 200 --num-beams 4 --json
  t5g-run model.gguf --image photo.jpg -p "What is in this picture?"
  man ls | t5g-run model.gguf -v"""

# Flags of options that warnings name.
_FLAGS = {
    "temperature": "--temp",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "min_p": "--min-p",
    "seed": "--seed",
    "num_beams": "--num-beams",
    "length_penalty": "--length-penalty",
    "early_stopping": "--early-stopping",
    "parse_special": "--special",
    "pan_and_scan": "--pan-and-scan",
}


def _parser() -> _common.Parser:
    parser = _common.Parser(_PROG, "Generate text with a T5Gemma or T5Gemma 2 model.", _EPILOG)
    parser.advice = "give the text with -p"
    parser.flags = _FLAGS
    parser.add_argument("model", metavar="MODEL.gguf", nargs="?", help="the model (default: the bundled one)")

    source = parser.add_argument_group("source")
    text = source.add_mutually_exclusive_group()
    text.add_argument("-p", "--prompt", metavar="TEXT", help="the source text")
    text.add_argument("-f", "--file", metavar="FILE", help="read the source text from a file")
    text.add_argument("--no-source", action="store_true", help="no source tokens at all, for a decoder on its own")
    source.add_argument("--image", metavar="PATH", action="append", help="a picture; may be given several times")
    source.add_argument("--pan-and-scan", action="store_true", help="add crops of long pictures")
    source.add_argument("--special", action="store_true", help="match special tokens such as <unused1> in the text")
    source.add_argument("--raw", action="store_true", help="take the text as it is, without the chat template")

    target = parser.add_argument_group("generation")
    target.add_argument("--decoder-prefix", metavar="TEXT", help="how the generated text begins")
    target.add_argument("-n", "--max-new-tokens", metavar="N", type=int, default=256, help="default: 256")
    target.add_argument("--min-new-tokens", metavar="N", type=int, default=0, help="default: 0")
    target.add_argument("--stop", metavar="TEXT", action="append", default=[], help="end before this text; repeatable")
    target.add_argument("--temp", metavar="T", type=float, default=0.0, help="temperature; 0 = most likely (default)")
    target.add_argument("--top-k", metavar="K", type=int, default=0, help="sample from the K most likely; 0 = all")
    target.add_argument("--top-p", metavar="P", type=float, default=1.0, help="sample from the most likely share P")
    target.add_argument("--min-p", metavar="P", type=float, default=0.0, help="drop tokens below P times the best")
    target.add_argument("--seed", metavar="N", type=int, help="of the random numbers")
    target.add_argument("--repeat-penalty", metavar="X", type=float, default=1.0, help="above 1: repeat less")
    target.add_argument("--no-repeat-ngram", metavar="N", type=int, default=0, help="no N tokens twice; 0 = off")
    target.add_argument("--num-beams", metavar="N", type=int, default=1, help="beam search with N beams")
    target.add_argument("--length-penalty", metavar="X", type=float, default=1.0, help="above 0: longer beams")
    target.add_argument("--early-stopping", choices=["true", "false", "never"], default="false", help="of beam search")
    target.add_argument("--num-return-sequences", metavar="N", type=int, default=1, help="all of them with --json")

    target.add_argument(
        "--draft", choices=["source", "off"], default="source", help="greedy: guess tokens from the source; same text"
    )

    machine = parser.add_argument_group("machine and output")
    _common.add_threads(machine)
    machine.add_argument("--device", choices=["auto", "cpu", "cuda", "metal"], default="auto")
    _common.add_kv_type(machine)
    _common.add_load(machine)
    machine.add_argument("--json", action="store_true", help="one JSON object with text, token ids and timings")
    machine.add_argument("-v", "--verbose", action="store_true", help="timings on standard error")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.image and arguments.no_source:
        raise _common.UsageError("--image is part of the source, which --no-source leaves out")
    text = _source_text(arguments)  # before the model: a missing file should not wait for it
    from t5g import Model

    with Model(arguments.model, **_common.model_options(arguments)) as model:
        if not arguments.json:
            model.tokenizer._core.require_text()
        if text is None and not arguments.no_source:
            _interactive(model, arguments)
        else:
            _generate(model, text, arguments)


def _source_text(arguments: argparse.Namespace) -> str | None:
    """The source from where the arguments say; None for --no-source and for a terminal that is to be asked."""
    if arguments.prompt is not None or arguments.no_source:
        prompt: str | None = arguments.prompt
        return prompt
    if arguments.file is not None:
        data = Path(arguments.file).read_bytes()
    elif sys.stdin.isatty():
        return None
    else:
        data = sys.stdin.buffer.read()
    # The newline that ends a text file's last line is not part of the text.
    return data.decode("utf-8", errors="replace").removesuffix("\n")


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "images": arguments.image,
        "pan_and_scan": arguments.pan_and_scan,
        "decoder_prefix": arguments.decoder_prefix,
        "stop": arguments.stop,
        "parse_special": arguments.special,
        "max_new_tokens": arguments.max_new_tokens,
        "min_new_tokens": arguments.min_new_tokens,
        "temperature": arguments.temp,
        "top_k": arguments.top_k,
        "top_p": arguments.top_p,
        "min_p": arguments.min_p,
        "seed": arguments.seed,
        "repetition_penalty": arguments.repeat_penalty,
        "no_repeat_ngram_size": arguments.no_repeat_ngram,
        "num_beams": arguments.num_beams,
        "length_penalty": arguments.length_penalty,
        "early_stopping": {"true": True, "false": False, "never": "never"}[arguments.early_stopping],
        "num_return_sequences": arguments.num_return_sequences,
        "draft": arguments.draft,
    }


def _generate(model: Model, text: str | None, arguments: argparse.Namespace) -> None:
    """Generate for one source (None: no source) and print the result."""
    source: str | list[int] = [] if text is None else text
    if text is not None and model.has_chat_template and not arguments.raw:
        source = model.apply_chat_template([{"role": "user", "content": text}])
    elif text is not None and arguments.image:
        source = _with_places(model, text, len(arguments.image))
    with model.stream(source, **_options(arguments)) as stream:
        with _common.patience(f"{_PROG}: reading pictures", shown=bool(arguments.image)):
            pieces = list(itertools.islice(stream, 1))
        for piece in itertools.chain(pieces, stream):
            if not arguments.json:
                sys.stdout.write(piece)
                sys.stdout.flush()
    result = stream.result
    if arguments.json:
        json.dump(_as_json(result), sys.stdout, ensure_ascii=False)
    print(flush=True)
    if arguments.verbose:
        _report_timings(result)


def _with_places(model: Model, text: str, n_images: int) -> str:
    """The text with the places of the pictures in front, unless it has its own."""
    from t5g.image_prompt import start_of_image, vision_config

    vision_config(model.config)
    marker = start_of_image(model.tokenizer, model.config)
    return text if marker in text else " ".join([marker] * n_images) + text


def _as_json(result: Generation) -> dict[str, Any]:
    """The fields of the result under their names in Python; `sequences` only where there are several."""
    from dataclasses import asdict

    fields = asdict(result)
    rates = ("encode_tokens_per_second", "decode_tokens_per_second")
    fields["timings"].update({name: getattr(result.timings, name) for name in rates})
    if len(result.sequences) == 1:
        del fields["sequences"]
    return fields


def _report_timings(result: Generation) -> None:
    t = result.timings
    pictures = f"pictures {t.image_seconds:.3f} s; " if t.image_seconds else ""
    sys.stderr.write(
        f"{_PROG}: load {t.load_seconds:.3f} s; {pictures}"
        f"encode {t.n_source_tokens} tokens in {t.encode_seconds:.3f} s ({t.encode_tokens_per_second:.1f}/s); "
        f"decode {t.n_new_tokens} tokens in {t.decode_seconds:.3f} s ({t.decode_tokens_per_second:.1f}/s); "
        f"finish reason: {result.finish_reason}\n"
    )


def _interactive(model: Model, arguments: argparse.Namespace) -> None:
    """Ask for sources until the end of input. Ctrl-C stops the text in hand; at the prompt it leaves."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  gives input() editing and history

    pictures = " about the pictures" if arguments.image else ""
    sys.stderr.write(f"{model!r}. One line is one source{pictures}; Ctrl-D ends.\n")
    while True:
        try:
            text = input("> ")
        except EOFError:
            print()
            return
        if not text.strip():
            continue
        try:
            _generate(model, text, arguments)
        except KeyboardInterrupt:
            print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
