"""Uses a model while its file changes, in a process of its own, which some ways of reading files do not survive.

Usage: python changing_file.py FOLDER MODEL LOAD MOMENT. For every change: copies the model into the folder, opens the
copy, changes it at that moment, and notes what a call after that gives: "same tokens", or the error's type and message
and that it comes again. Prints all of it as JSON: change -> lines.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import t5g

IDS = [5, 9, 200, 31, 77, 8, 120, 4, 66]


def overwrite(path: Path) -> None:
    """Other content of the same size."""
    path.write_bytes(bytes(path.stat().st_size))


def overwrite_without_cutting(path: Path) -> None:
    """The same without being empty for a moment."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def halve(path: Path) -> None:
    """The first half is left, embeddings among it."""
    os.truncate(path, path.stat().st_size // 2)


def cut(path: Path) -> None:
    """Nothing is left behind the header's first bytes."""
    os.truncate(path, 100)


def empty(path: Path) -> None:
    """Nothing is left at all."""
    os.truncate(path, 0)


def append(path: Path) -> None:
    """Longer, as a download that goes on."""
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    """Another file under the name."""
    other = path.with_name("other")
    other.write_bytes(b"no model")
    other.replace(path)


def remove(path: Path) -> None:
    """No file under the name."""
    path.unlink()


CHANGES: dict[str, Callable[[Path], None]] = {
    change.__name__: change
    for change in (overwrite, overwrite_without_cutting, halve, cut, empty, append, replace, remove)
}


OPTIONS: dict[str, Any] = {"max_new_tokens": 40, "min_new_tokens": 40, "no_repeat_ngram_size": 1, "draft": "off"}


def tokens(model: t5g.Model) -> list[int]:
    """What the model writes; all of its weights are used."""
    return model.generate(IDS, **OPTIONS).token_ids


def use(model: t5g.Model, moment: str, change: Callable[[], None]) -> list[int]:
    """What the model writes with the change at that moment."""
    if moment == "in use":
        stream = model.stream(IDS, **OPTIONS)
        next(stream)
        change()
        list(stream)
        return stream.result.token_ids
    if moment == "after use":
        tokens(model)
    change()
    return tokens(model)


def main() -> None:
    """See above."""
    folder, source, load, moment = sys.argv[1:]
    with t5g.Model(source) as model:
        expected = tokens(model)
    path = Path(folder, "model.gguf")
    seen: dict[str, list[str]] = {}
    for name, change in CHANGES.items():
        path.unlink(missing_ok=True)
        path.write_bytes(Path(source).read_bytes())
        with t5g.Model(path, load=load) as model:  # type: ignore[arg-type]
            try:
                found = use(model, moment, lambda change=change: change(path))
                seen[name] = ["same tokens" if found == expected else f"other tokens: {found}"]
            except t5g.T5gError as error:
                seen[name] = [f"{type(error).__name__}: {error}"]
                try:
                    model.encode(IDS)
                except t5g.ModelFormatError:
                    seen[name].append("and again")
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
