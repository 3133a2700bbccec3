"""Sources that were read before, each a file that EncodedSource.save wrote, with a list of what they are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import t5g


@dataclass(frozen=True)
class Entry:
    """One saved source: what it is called, for which model file, and how many tokens it has."""

    key: str
    title: str
    model: str
    n_tokens: int


class History:
    """The saved sources in a folder, the newest first."""

    def __init__(self, folder: Path, limit: int = 30) -> None:
        self._folder, self._limit = folder, limit
        self._list = folder / "sources.json"

    def entries(self) -> list[Entry]:
        """All of them; none where the list is missing or damaged."""
        try:
            return [Entry(**row) for row in json.loads(self._list.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return []

    def path(self, entry: Entry) -> Path:
        return self._folder / f"{entry.key}.source"

    def add(self, title: str, model: Path, source: t5g.EncodedSource) -> Entry:
        """Save a source, and forget the oldest ones beyond the limit. Raises OSError where nothing can be written."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = json.dumps([str(model), source.token_ids]).encode()
        entry = Entry(hashlib.sha256(name).hexdigest()[:16], title, str(model), source.n_tokens)
        source.save(self.path(entry))
        several = [entry, *(other for other in self.entries() if other.key != entry.key)]
        for old in several[self._limit :]:
            self.path(old).unlink(missing_ok=True)
        text = json.dumps([asdict(one) for one in several[: self._limit]], ensure_ascii=False, indent=1)
        self._list.write_text(text, encoding="utf-8")
        return entry
