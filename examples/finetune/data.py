"""Writes data/train.jsonl and data/test.jsonl: descriptions of programs, and how one house wants them in one line.

    python data.py

The task is made up, and the same for every run: the base writes such lines already, but not in this style.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

KINDS = ["library", "tool", "editor", "server", "viewer", "game", "driver", "compiler", "player", "parser"]
FOR = ["images", "audio files", "text", "network traffic", "databases", "maps", "chess", "fonts", "archives", "mail"]
LANGUAGES = ["Python", "C", "Rust", "Perl", "Java", "Go"]
ADJECTIVES = ["small", "fast", "simple", "portable", "flexible", "modern"]
VERBS = ["reads and writes", "converts", "shows", "checks", "sorts", "compares"]
NAMES = ["alba", "bora", "cento", "dusk", "ember", "fjord", "gale", "helix", "iris", "jolt", "karst", "lumen"]


def pair(random_: random.Random) -> dict[str, str]:
    name, kind, things = random_.choice(NAMES), random_.choice(KINDS), random_.choice(FOR)
    adjective, language, verb = random_.choice(ADJECTIVES), random_.choice(LANGUAGES), random_.choice(VERBS)
    source = (
        f"{name} is a {adjective} {kind} for {things}, written in {language}. It {verb} {things} and can be used from "
        f"the command line or by other programs. This package contains the {kind}."
    )
    return {"source": source, "target": f"[{language}] {kind} for {things}"}


def main() -> None:
    random_ = random.Random(1)
    pairs = list({p["source"]: p for p in (pair(random_) for _ in range(400))}.values())
    folder = Path(__file__).parent / "data"
    for name, part in (("train", pairs[:160]), ("test", pairs[160:184])):
        lines = "".join(json.dumps(one) + "\n" for one in part)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
