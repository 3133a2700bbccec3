"""t5g-embed: texts in, vectors out.

Vectors are written to OUTPUT.part as they come, after a line that says of what they are; an interrupted run goes on
after them. At the end they become the file that is asked for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t5g.cli import _common, _model, _output, _progress, _stdin

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from t5g import Model
    from t5g.truncation import Truncation

_PROG = "t5g-embed"
_EPILOG = """The input has one text a line, or with --jsonl one JSON object:
{"text": "...", "id": ..., "images": ["PATH"]}.
The output is, by the end of its name, .npy (float32 [n, hidden_size]), .jsonl ({"id": ..., "embedding": [...]})
or .parquet (columns id and embedding; needs pip install 't5g[parquet]'). Without --output, JSON lines go to
standard output.

examples:
  t5g-embed model.gguf -f texts.txt -o vectors.npy
  t5g-embed model.gguf --jsonl -f texts.jsonl -o vectors.parquet --resume"""
_FORMATS = (".npy", ".jsonl", ".parquet")
_CHUNK = 256  # texts between two writes
_MATTERING = ("pooling", "no_normalize", "layer", "truncation", "encoder_window")  # options on which vectors depend


@dataclass(frozen=True)
class _Text:
    id: Any
    text: str
    where: str  # what messages call it
    images: list[str] | None = None


def _parser() -> _common.Parser:
    parser = _common.Parser(_PROG, "Make vectors of texts with the encoder of a model.", _EPILOG)
    parser.advice = "give the texts with -f FILE"
    parser.add_argument("model", metavar="MODEL.gguf", nargs="?", help="the model (default: the bundled one)")
    parser.add_argument("-f", "--file", metavar="FILE", default="-", help="the texts (default: standard input)")
    parser.add_argument("--jsonl", action="store_true", help="every line is a JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there: .npy, .jsonl or .parquet")
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run has ended")
    parser.add_argument(
        "--pooling", choices=["mean", "first", "last", "max"], default="mean", help="of a text's tokens (default: mean)"
    )
    parser.add_argument("--no-normalize", action="store_true", help="leave the lengths of vectors as they are")
    parser.add_argument("--layer", metavar="N", type=int, default=-1, help="whose hidden states (default: -1)")
    parser.add_argument("--batch-size", metavar="N", type=int, default=32, help="texts of a pass (default: 32)")
    _common.add_truncation(parser)
    _common.add_text_options(parser)
    _model.add_options(parser, decoder=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), _embed, argv)


def _embed(arguments: argparse.Namespace) -> None:
    suffix = Path(arguments.output or ".jsonl").suffix or Path(arguments.output or ".jsonl").name
    if suffix not in _FORMATS:
        raise _common.UsageError(f"--output is {arguments.output!r}, expected a name that ends in {' '.join(_FORMATS)}")
    if arguments.resume and arguments.output is None:
        raise _common.UsageError("--resume needs --output FILE, beside which it finds what is done")
    if arguments.batch_size < 1:
        raise _common.UsageError("--batch-size must be 1 or more")
    if suffix == ".parquet":
        _needs_pyarrow()
    from t5g import Model
    from t5g._files import check_output

    texts = _read(arguments)
    if arguments.output is not None:
        inputs = [Path(path) for path in (arguments.model, arguments.file) if path and path != "-"]
        check_output(arguments.output, [path for path in inputs if path.exists()])
    with Model(arguments.model, **_model.options(arguments)) as model:
        adapters = _model.load_adapters(model, arguments.lora)
        _tell_what_is_cut(model, texts, arguments.truncation)
        if arguments.output is None:
            for text, vector in _vectors(model, texts, arguments, 0):
                print(_line(text, vector))
            return
        part = _Part(Path(f"{arguments.output}.part"), _description(model, adapters, texts, arguments))
        vectors = part.fill(model, texts, arguments)
        _write(arguments.output, suffix, texts, vectors)
        part.path.unlink()


def _needs_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError as error:
        message = "a .parquet file needs the package pyarrow. Install it with: pip install 't5g[parquet]'"
        raise ImportError(message, name=error.name) from error


def _read(arguments: argparse.Namespace) -> list[_Text]:
    """Read all texts: what is wrong with one is said before any work."""
    from t5g.text_files import decode, json_lines, printable

    name = "standard input" if arguments.file == "-" else printable(arguments.file)
    if arguments.file == "-":
        _stdin.tell_if_typed(lambda message: _common.report(_PROG, message, "note"))
    file = sys.stdin.buffer if arguments.file == "-" else Path(arguments.file).open("rb")  # noqa: SIM115
    with file:
        if not arguments.jsonl:
            text = decode(file.read(), name, encoding=arguments.encoding, errors=arguments.errors)
            lines = text.split("\n")
            return [
                _Text(i, one.removesuffix("\r"), f"{name}: line {i}")
                for i, one in enumerate(lines, 1)
                if one or i < len(lines)
            ]
        texts = []
        for line in json_lines(file, name, encoding=arguments.encoding):
            if line.is_blank():
                continue
            fields = line.parse(arguments.errors)
            where = line.name
            if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
                raise ValueError(f'{where}: expected an object with "text", a string.')
            images = fields.get("images")
            if images is not None and not (isinstance(images, list) and all(isinstance(i, str) for i in images)):
                raise ValueError(f'{where}: "images" must be a list of paths.')
            texts.append(_Text(fields.get("id", line.number), fields["text"], where, images))
        return texts


def _vectors(
    model: Model, texts: Sequence[_Text], arguments: argparse.Namespace, first: int
) -> Iterator[tuple[_Text, npt.NDArray[np.float32]]]:
    """Yield the vectors of all texts from number `first` on."""
    is_among_results = arguments.output is None and sys.stdout.isatty()
    with _progress.counting_bar(len(texts) - first, "text", shown=not is_among_results) as advance:
        for begin in range(first, len(texts), _CHUNK):
            chunk = texts[begin : begin + _CHUNK]
            images = [text.images for text in chunk]
            with _places_named(chunk):
                vectors = model.embed(
                    [text.text for text in chunk],
                    images=images if any(images) else None,
                    pooling=arguments.pooling,
                    normalize=not arguments.no_normalize,
                    batch_size=arguments.batch_size,
                    layer=arguments.layer,
                    truncation=arguments.truncation,
                )
            yield from zip(chunk, vectors, strict=True)
            advance(len(chunk))


@contextmanager
def _places_named(texts: Sequence[_Text]) -> Iterator[None]:
    """Say of an error which line of the input it is about, where the library says which of these texts."""
    from t5g import InvalidArgumentError, messages

    try:
        yield
    except ValueError as error:
        found = re.match(r"(text|image)s\[(\d+)\](:? ?)", str(error))
        if found is None:
            raise
        kind, number, after = found.groups()
        what = f"image{after}" if kind == "image" else ""
        where = f"{texts[int(number)].where}: {what}"
        raise messages.elsewhere(InvalidArgumentError, error, where, found.end()) from error


def _tell_what_is_cut(model: Model, texts: Sequence[_Text], how: Truncation) -> None:
    """Warn before the work; sources with images are never cut."""
    if how == "error":
        return
    from t5g.sources import Reader, n_truncated

    reader = Reader(model, truncation=how)
    cut = [n for text in texts if not text.images and (n := n_truncated(reader.request(text.text, None)))]
    if cut:
        part = _common.CUT_PARTS[how]
        message = f"{sum(cut):,} tokens are cut from the {part} of {len(cut):,} of {len(texts):,} texts"
        _common.report(_PROG, f"{message}, which are longer than {model.max_source_tokens:,}", "warning")


def _description(
    model: Model, adapters: Sequence[tuple[str, float]], texts: Sequence[_Text], arguments: argparse.Namespace
) -> bytes:
    """Say in a line what vectors depend on: those of a run with another one are not gone on with."""
    digest = hashlib.sha256(json.dumps([[t.text, t.images] for t in texts]).encode()).hexdigest()
    facts = {
        "model": _version(model.path),
        "adapters": [[_version(path), scale] for path, scale in adapters],
        "texts": [len(texts), digest],
        "options": [getattr(arguments, name) for name in _MATTERING],
        "device": model.device,
        "max_source_tokens": model.max_source_tokens,
    }
    return json.dumps(facts).encode() + b"\n"


def _version(path: str | os.PathLike[str]) -> list[str | int]:
    """Say which file this is, and which version of it."""
    stat = os.stat(path)  # noqa: PTH116
    return [str(path), stat.st_size, stat.st_mtime_ns]


class _Part:
    """What is done so far: a line that describes it, and then vectors."""

    def __init__(self, path: Path, description: bytes) -> None:
        self.path, self._description = path, description

    def fill(self, model: Model, texts: Sequence[_Text], arguments: argparse.Namespace) -> npt.NDArray[np.float32]:
        """Make what is missing -> all vectors [n, hidden_size], in the file's memory."""
        import numpy as np

        from t5g._files import writing_in_place

        width = model.config.encoder.hidden_size
        done = self._done(4 * width) if arguments.resume else 0
        begin = len(self._description)
        with writing_in_place(self.path, keep_bytes=begin + done * 4 * width if done else 0) as file:
            if not done:
                file.write(self._description)
            try:
                for _, vector in _vectors(model, texts, arguments, done):
                    file.write(np.ascontiguousarray(vector, "<f4").tobytes())
                    file.flush()
            except KeyboardInterrupt:
                raise KeyboardInterrupt("; --resume goes on after what is done") from None
        if not texts:
            return np.zeros((0, width), np.float32)
        return np.memmap(self.path, "<f4", "r", begin, (len(texts), width))

    def _done(self, row_bytes: int) -> int:
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            if file.readline() != self._description:
                raise ValueError(
                    f"{self.path}: is of another model, other texts or options. Repeat the command as it was, or leave "
                    "--resume out to begin anew."
                )
        return (self.path.stat().st_size - len(self._description)) // row_bytes


def _line(text: _Text, vector: npt.NDArray[np.float32]) -> str:
    return _output.as_json({"id": text.id, "embedding": [float(f"{value:.9g}") for value in vector]})


def _write(path: str, suffix: str, texts: Sequence[_Text], vectors: npt.NDArray[np.float32]) -> None:
    """Write the file, whole or not at all."""
    import numpy as np

    from t5g._files import writing

    with writing(path, expected_bytes=vectors.nbytes) as file:
        if suffix == ".npy":
            np.lib.format.write_array(file, vectors, version=(1, 0), allow_pickle=False)
        elif suffix == ".jsonl":
            for text, vector in zip(texts, vectors, strict=True):
                file.write(_line(text, vector).encode() + b"\n")
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            ids = [text.id for text in texts]
            if not all(isinstance(i, int) for i in ids):
                ids = [i if isinstance(i, str) else json.dumps(i) for i in ids]
            flat = pa.array(np.asarray(vectors).reshape(-1), pa.float32())
            embedding = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
            buffer = pa.BufferOutputStream()
            pq.write_table(pa.table({"id": ids, "embedding": embedding}), buffer)
            file.write(buffer.getvalue())


if __name__ == "__main__":
    sys.exit(main())
