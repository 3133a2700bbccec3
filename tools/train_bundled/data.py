"""Debian package descriptions as (long text, synopsis) pairs; families of near-duplicates stay in one split.

Needs Debian's apt and lz4, no root: the package lists of several suites are fetched into a folder of their own.

    python data.py OUT_FOLDER      writes train.jsonl, valid.jsonl, test.jsonl and text.jsonl
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SUITES = ("sid", "trixie", "bookworm", "bullseye")  # newest first: the newest wording of a description wins
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCE_CHARS = range(150, 4001)
MIN_TARGET_CHARS = 15


class Description(NamedTuple):
    """One package: the source package it is built from, its one-line synopsis and its long text."""

    origin: str
    synopsis: str
    text: str


def fetch(lists: Path) -> None:
    """Let apt download the package and translation lists of all suites into ``lists``, from the mirror in use here."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, check=True, text=True
    ).stdout.split()
    mirror = next(uri for uri in targets if uri.rstrip("/").endswith("/debian"))
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    sources = lists / "sources.list"
    sources.write_text("".join(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite in SUITES))
    options = {
        "Acquire::Languages": "en",
        "Dir::State::Lists": lists.resolve(),
        "Dir::Etc::SourceList": sources.resolve(),
        "Dir::Etc::SourceParts": "-",
    }
    subprocess.run(["apt-get", "update", *(f"-o{key}={value}" for key, value in options.items())], check=True)


def stanzas(path: Path) -> Iterator[dict[str, str]]:
    """Yield the control-file stanzas of an lz4 file; continuation lines stay joined by newlines."""
    text = subprocess.run(["lz4", "-dc", str(path)], capture_output=True, check=True).stdout.decode("utf-8")
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in block.split("\n"):
            if line[:1] in (" ", "\t") and key:
                fields[key] += "\n" + line
            elif ":" in line:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        if fields:
            yield fields


def split_description(value: str) -> tuple[str, str]:
    """Return the synopsis and the long text, one paragraph or verbatim line per line."""
    synopsis, *lines = value.split("\n")
    paragraphs: list[str] = []
    current: list[str] = []
    for line in [*lines, " ."]:
        verbatim = line.startswith("  ")
        if line.strip() == "." or verbatim:
            if current:
                paragraphs.append(" ".join(current))
            current = []
            if verbatim:
                paragraphs.append(line.strip())
        else:
            current.append(line.strip())
    return synopsis, "\n".join(paragraphs)


def descriptions(lists: Path) -> list[Description]:
    """Read every description once (they are keyed by their MD5), newest suite first."""
    found: dict[str, Description] = {}
    for suite in SUITES:
        packages, translation = (
            next(lists.glob(f"*_dists_{suite}_main_{name}.lz4"))
            for name in ("binary-*_Packages", "i18n_Translation-en")
        )
        origins = {
            d["Package"]: d.get("Source", d["Package"]).split(" ")[0] for d in stanzas(packages) if "Package" in d
        }
        for d in stanzas(translation):
            if "Package" in d and "Description-en" in d:
                origin = origins.get(d["Package"], d["Package"])
                found.setdefault(d["Description-md5"], Description(origin, *split_description(d["Description-en"])))
    return [d for d in found.values() if d.text]


def letters(text: str) -> str:
    """Fold a text to lower-case letters and blanks, so that version numbers and punctuation do not tell two apart."""
    return " ".join(re.sub(r"[^a-z ]", "", text.lower()).split())


def paragraph_key(d: Description) -> str:
    """Equal for descriptions whose first paragraphs say the same."""
    return "paragraph " + letters(d.text.split("\n")[0])


def synopsis_key(d: Description) -> str:
    """Equal for synopses that differ only in a bracketed or dashed addition such as "(documentation)"."""
    return "synopsis " + letters(re.sub(r"\s*[(\[].*?[)\]]|\s+-\s+.*$", "", d.synopsis))


def family_splits(items: list[Description]) -> list[str]:
    """Give each description its split: those linked by source package, first paragraph or synopsis share one."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    families = ["origin " + re.sub(r"[\d.]+", "", d.origin) for d in items]
    for d, family in zip(items, families, strict=True):
        for key in (paragraph_key(d), synopsis_key(d)):
            low, high = sorted((root(family), root(key)))
            parent[high] = low
    buckets = [int(hashlib.sha256(root(family).encode()).hexdigest(), 16) % 20 for family in families]
    return [{0: "test", 1: "valid"}.get(bucket, "train") for bucket in buckets]


def first_of_each(items: list[Description], key_of) -> list[Description]:  # type: ignore[no-untyped-def]
    """Drop the items whose key was seen before."""
    return list({key_of(d): d for d in reversed(items)}.values())[::-1]


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    """Write one JSON object per line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows)} rows")


def main() -> None:
    """Fetch, pair, split and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--lists", type=Path, help="package lists that are already there (default: fetch into OUT/lists)"
    )
    args = parser.parse_args()
    lists = args.lists or args.out / "lists"
    if args.lists is None:
        fetch(lists)

    items = descriptions(lists)
    by_split: dict[str, list[Description]] = {"train": [], "valid": [], "test": []}
    for d, split in zip(items, family_splits(items), strict=True):
        by_split[split].append(d)
    for split, members in by_split.items():
        distinct = first_of_each(first_of_each(members, paragraph_key), synopsis_key)
        pairs = [d for d in distinct if len(d.text) in SOURCE_CHARS and len(d.synopsis) >= MIN_TARGET_CHARS]
        random.Random(0).shuffle(pairs)
        write_jsonl(args.out / f"{split}.jsonl", [{"source": d.text, "target": d.synopsis} for d in pairs])
    paragraphs = {letters(p): p for d in by_split["train"] for p in d.text.split("\n") if len(p) >= 40}
    write_jsonl(args.out / "text.jsonl", [{"text": p} for p in sorted(paragraphs.values())])


if __name__ == "__main__":
    main()
