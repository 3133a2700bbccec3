"""t5g-run --jsonl: one source a line in, one result a line out, in order, in one continuous batch.

A line that is wrong gets a result that says so, and the others go on. A file of results is written in place, line by
line, so that an interrupted run leaves what it has done, and --resume goes on after it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t5g.cli import _common, _output, _source, _stdin
from t5g.cli._source import PROG

if TYPE_CHECKING:
    from t5g import Generation, Model
    from t5g.batch import Item, NextItem, Nothing
    from t5g.cli._jsonl_input import Row, Rows

HELP = """With --jsonl, every line is a JSON object with "text", and if need be "images" (paths), "decoder_prefix" and
"id"; TEXT of -p goes in front of every text. Every result is one too, with that "id", or the line's number:
  {"id": 1, "text": "...", "token_ids": [...], "finish_reason": "stop"}     or     {"id": 2, "error": "..."}
--json adds what it has of a single result. --resume continues FILE of --output where it was interrupted."""

_DEFAULT_BATCH_SIZE = 32


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add --jsonl, --batch-size and --resume."""
    group.add_argument("--jsonl", action="store_true", help="one source a line in, one result a line out")
    group.add_argument(
        "--batch-size", metavar="N", type=int, help=f"of --jsonl: sequences at once (default: {_DEFAULT_BATCH_SIZE})"
    )
    group.add_argument("--resume", action="store_true", help="of --jsonl: go on after the results in --output FILE")


def check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for options that contradict each other."""
    if not arguments.jsonl:
        for flag, given in (("--batch-size", arguments.batch_size is not None), ("--resume", arguments.resume)):
            if given:
                raise _common.UsageError(f"{flag} needs --jsonl")
        return
    if arguments.resume and arguments.output is None:
        raise _common.UsageError("--resume needs --output FILE, after whose results it goes on")
    if arguments.image or arguments.no_source:
        flag = "--image" if arguments.image else "--no-source"
        raise _common.UsageError(f"{flag} does not go with --jsonl: each line has its own source")
    if not arguments.file and (arguments.no_stdin or _stdin.is_closed()):
        raise _common.UsageError("--jsonl needs lines: give -f FILE, or lines on standard input")


def run(
    model: Model,
    arguments: argparse.Namespace,
    options: dict[str, Any],
    all_fields: Callable[[Generation], dict[str, Any]],
) -> int:
    """Generate for every line.

    Parameters
    ----------
    model, arguments
        The model and what the command line says.
    options
        Of `Model.generate_batch`, for all lines.
    all_fields
        Gives those of a result that --json shows.

    Returns
    -------
    int
        The exit status.
    """
    from t5g.batch import Batch
    from t5g.cli._jsonl_input import Rows
    from t5g.cli._jsonl_results import Results, opened

    paths = arguments.file or ["-"]
    _check_inputs(paths)
    if "-" in paths:
        _stdin.tell_if_typed(lambda message: _common.report(PROG, message, "note"))
    if arguments.logprobs is not None and not arguments.json:
        _common.report(PROG, "--json shows the log-probabilities that --logprobs asks for", "note")
    rows = Rows(
        paths,
        encoding=arguments.encoding,
        errors=arguments.errors,
        tell=lambda message: _common.report(PROG, message, "warning"),
    )
    size = _DEFAULT_BATCH_SIZE if arguments.batch_size is None else arguments.batch_size
    batch = Batch(model, max_batch_size=size, **options)
    next_item = _items(model, rows, arguments)
    fields = all_fields if arguments.json else _fields
    inputs = _output.files([arguments.model, *paths])
    with opened(arguments.output, inputs=inputs, done=rows if arguments.resume else None) as file:
        results = Results(file, PROG)
        try:
            for row, result in batch.results(next_item):
                results.put(row, {"error": _why(row, result)} if isinstance(result, Exception) else fields(result))
        except KeyboardInterrupt:
            how = "; --resume goes on after the results that are there" if arguments.output is not None else ""
            raise KeyboardInterrupt(how) from None
        finally:
            results.clear()
    return results.report(verbose=arguments.verbose)


def _check_inputs(paths: Iterable[str]) -> None:
    """Raise OSError for a file that cannot be read, before old results go. A FIFO can be opened once only."""
    for path in paths:
        if path != "-" and not Path(path).is_fifo():
            Path(path).open("rb").close()


def _items(model: Model, rows: Rows, arguments: argparse.Namespace) -> NextItem:
    """Rows as items of a batch, with the instruction of -p in front of each text."""
    from t5g.batch import Item, Nothing

    instruction = _source.argument_text(arguments, "-p", arguments.prompt or "")

    def next_item(wait: bool) -> Item | Nothing:
        row = rows.next(wait)
        if isinstance(row, Nothing):
            return row
        if row.error is not None:
            return Item(row, error=row.error)
        try:
            text = _source.joined([instruction, row.text])
            source = _source.prompt(model, text, len(row.images or ()), raw=arguments.raw, system=arguments.system)
            prefix = row.decoder_prefix
            if arguments.special_in_prefix and isinstance(prefix, str):
                prefix = model.tokenizer.encode(prefix, add_special_tokens=False, parse_special=True)
        except Exception as error:  # this row's, as those of the batch
            return Item(row, error=error)
        return Item(row, source, row.images, prefix)

    return next_item


def _why(row: Row, error: Exception) -> str:
    message = _common.describe(error)
    return message if message.startswith(row.where) else f"{row.where}: {message}"


def _fields(result: Generation) -> dict[str, Any]:
    """What costs nothing more: a log-probability would have to be computed."""
    found = {name: getattr(result, name) for name in ("text", "token_ids", "finish_reason")}
    if len(result.sequences) > 1:
        found["sequences"] = [{name: getattr(sequence, name) for name in found} for sequence in result.sequences]
    if result.n_truncated:
        found["n_truncated"] = result.n_truncated
    return found
