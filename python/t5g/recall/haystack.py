"""Prose that needles are hidden in: token ids, cut where sentences end.

Without a text of the user's own it is the reference manual of the Python that runs t5g: prose that every installation
has. It begins again where it ends, after some 50,000 tokens.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from t5g.errors import InvalidArgumentError

if TYPE_CHECKING:
    from t5g.tokenizer import Tokenizer

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_FEWEST_SENTENCES = 20
_PLAIN = 0.93  # share of letters in a paragraph of prose


def manual() -> str:
    """Prose of Python's reference manual, without its tables and code."""
    from pydoc_data.topics import topics

    paragraphs = []
    for _, topic in sorted(topics.items()):
        for paragraph in topic.split("\n\n"):
            text = " ".join(paragraph.replace('"', "").replace("*", "").split())
            plain = sum(c.isalpha() or c in " ,.'" for c in text)
            if len(text) > 100 and text.endswith(".") and plain > _PLAIN * len(text):
                paragraphs.append(text)
    return " ".join(paragraphs)


class Haystack:
    """A text, sentence by sentence, as tokens."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        sentences = [" ".join(sentence.split()) for sentence in _SENTENCE.split(text)]
        self._sentences = [
            tokenizer.encode(" " + sentence, add_special_tokens=False) for sentence in sentences if sentence
        ]
        if len(self._sentences) < _FEWEST_SENTENCES:
            raise InvalidArgumentError(
                f"haystack: has {len(self._sentences)} sentences, expected {_FEWEST_SENTENCES} or more of prose. "
                "Give a longer text."
            )
        self.n_tokens = sum(map(len, self._sentences))

    def draw(self, n_tokens: int, rng: random.Random) -> list[list[int]]:
        """Take sentences from a random place on, as many as fit; from the beginning again where the text ends."""
        first, taken, n = rng.randrange(len(self._sentences)), [], 0
        for i in range(first, first + n_tokens):
            sentence = self._sentences[i % len(self._sentences)]
            if n + len(sentence) > n_tokens:
                break
            taken.append(sentence)
            n += len(sentence)
        return taken
