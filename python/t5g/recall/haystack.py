"""Prose that needles are hidden in: token ids, cut where sentences end.

Without a text of the user's own it is the reference manual of the Python that runs t5g: prose that every installation
has. It begins again where it ends, after some 50,000 tokens.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from t5g.errors import InvalidArgumentError
from t5g.messages import about

if TYPE_CHECKING:
    from t5g.tokenizer import Tokenizer

_END = re.compile(r"(?<=[.!?\u2026\u061f\u0964])\s+|(?<=[\u3002\uff01\uff1f])\s*|\n\s*\n")  # ... and full width
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


def sentences_of(text: str) -> list[str]:
    """Split a text where sentences and paragraphs end; what goes on with a small letter or a digit was no end."""
    sentences: list[str] = []
    for part in _END.split(text):
        words = " ".join(part.split())
        if words and sentences and (words[0].islower() or words[0].isdigit()):
            sentences[-1] += " " + words
        elif words:
            sentences.append(words)
    return sentences


class Haystack:
    """A text, sentence by sentence, as tokens."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        self._sentences = [
            tokenizer.encode(" " + sentence, add_special_tokens=False) for sentence in sentences_of(text)
        ]
        if len(self._sentences) < _FEWEST_SENTENCES:
            raise about(
                InvalidArgumentError,
                "haystack",
                f"has {len(self._sentences)} sentences, expected {_FEWEST_SENTENCES} or more of prose. "
                "Give a longer text.",
            )
        self.n_tokens = sum(map(len, self._sentences))

    def draw(self, n_tokens: int, rng: random.Random) -> list[list[int]]:
        """Take sentences from a random place on; from the beginning again where the text ends. The last one is cut."""
        i, taken, left = rng.randrange(len(self._sentences)), [], n_tokens
        while left > 0:
            sentence = self._sentences[i % len(self._sentences)][:left]
            taken.append(sentence)
            left -= len(sentence)
            i += 1
        return taken
