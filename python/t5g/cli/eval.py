"""t5g-eval: how good a model file is on pairs of source and target, and at finding things in long sources."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t5g.cli import _common, _model, _output, _progress, _recall

if TYPE_CHECKING:
    from t5g.evaluation import Evaluation, Pair

_PROG = "t5g-eval"
_EPILOG = """PAIRS.jsonl has one JSON object a line: {"source": "...", "target": "..."}.
t5g-eval recall measures how far into a source a model still finds things: see t5g-eval recall --help.
t5g-eval pairs is what t5g-eval does without a word in front.

examples:
  t5g-eval pairs model-q4_0.gguf test.jsonl --reference model-f32.gguf --limit 200
  t5g-eval recall model-q4_0.gguf --lengths 1k,4k,16k --plot recall.png"""


class _Parser(_common.Parser):
    """With a word in front that says what is measured; pairs where there is none."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        if words[:1] == ["recall"]:
            recall = _recall.parser()
            self.prog = recall.prog  # which errors name
            return recall.parse_args(words[1:], namespace)
        return super().parse_args(words[1:] if words[:1] == ["pairs"] else words, namespace)


def _parser() -> _common.Parser:
    parser = _Parser(_PROG, "Measure a model: ROUGE, exact match, loss; KL divergence to a reference.", _EPILOG)
    parser.set_defaults(body=_eval)
    parser.add_argument("model", metavar="MODEL.gguf", help="the model")
    parser.add_argument("pairs", metavar="PAIRS.jsonl", help="sources and targets")
    parser.add_argument("--reference", metavar="REF.gguf", help="the same model in a wider type, to compare with")
    parser.add_argument("--limit", metavar="N", type=int, help="only so many pairs, drawn at random")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of that draw (default: 0)")
    parser.add_argument("-n", "--max-new-tokens", metavar="N", type=int, default=256, help="default: 256")
    parser.add_argument("--num-beams", metavar="N", type=int, default=1, help="default: 1")
    parser.add_argument("--no-generate", action="store_true", help="teacher-forced numbers only, much faster")
    parser.add_argument("--outputs", metavar="FILE", help="write sources, targets and outputs as JSONL")
    _common.add_truncation(parser)
    _common.add_text_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    _model.add_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), lambda arguments: arguments.body(arguments), argv)


def _eval(arguments: argparse.Namespace) -> None:
    from contextlib import ExitStack

    _check(arguments)
    from t5g import Model
    from t5g._files import check_output
    from t5g.evaluation import evaluate, read_pairs

    pairs = read_pairs(
        arguments.pairs,
        limit=arguments.limit,
        seed=arguments.seed,
        encoding=arguments.encoding,
        errors=arguments.errors,
    )
    if arguments.outputs is not None:  # before hours of work for it
        inputs = [Path(path) for path in (arguments.model, arguments.pairs, arguments.reference) if path is not None]
        check_output(arguments.outputs, inputs, streams=True)
    with ExitStack() as stack:
        model = stack.enter_context(_model.opened(arguments))
        reference = None
        if arguments.reference is not None:
            reference = stack.enter_context(Model(arguments.reference, **_model.options(arguments)))
        advance = stack.enter_context(_progress.counting_bar(len(pairs), "pair"))
        result = evaluate(
            model,
            pairs,
            reference=reference,
            generate=not arguments.no_generate,
            max_new_tokens=arguments.max_new_tokens,
            num_beams=arguments.num_beams,
            truncation=arguments.truncation,
            progress=advance,
        )
        limit = model.max_source_tokens
    if arguments.outputs is not None:
        _write_outputs(arguments.outputs, pairs, result)
    if n := result.n_truncated_sources:
        part = _common.CUT_PARTS[arguments.truncation]
        cut = f"{result.n_truncated_tokens:,} tokens were cut from the {part} of {n:,} of {len(pairs):,} sources"
        _common.report(_PROG, f"{cut}, which are longer than {limit:,}", "warning")
    _print(result, as_json=arguments.json)


def _check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for wrong values, and for options that contradict each other."""
    if arguments.limit is None:
        _common.refuse(arguments, ["--seed"], "needs --limit N: it is of the draw of so many pairs")
    elif arguments.limit < 1:
        raise _common.UsageError(f"--limit is {arguments.limit}, expected 1 or more")
    if arguments.no_generate:
        flags = ["--outputs", "--max-new-tokens", "--num-beams"]
        _common.refuse(arguments, flags, "does not go with --no-generate: no text is generated")
    _model.check(arguments)


def _write_outputs(path: str, pairs: Sequence[Pair], result: Evaluation) -> None:
    from t5g._files import write_text

    rows = ({**asdict(pair), "output": output} for pair, output in zip(pairs, result.outputs, strict=False))
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _print(result: Evaluation, *, as_json: bool) -> None:
    numbers = {name: value for name, value in asdict(result).items() if name != "outputs"}
    if as_json:
        print(_output.as_json(numbers, ensure_ascii=True, indent=2))
        return
    for name, value in numbers.items():
        if value is not None and not (name.startswith("n_truncated") and value == 0):
            print(f"{name:<19} {value:>12,}" if isinstance(value, int) else f"{name:<19} {value:>12.4f}")


if __name__ == "__main__":
    sys.exit(main())
