"""What is asked: needles, where they lie, the question, and the answer among wrong ones. Ids, of an exact length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from t5g.errors import InvalidArgumentError
from t5g.messages import about
from t5g.recall.haystack import Haystack

if TYPE_CHECKING:
    from t5g.model import Model

TASKS = ("single", "multikey", "multivalue", "words")
N_CHOICES = 8  # the answer and wrong ones
_N_KEYS, _N_VALUES, _N_FREQUENT = 8, 4, 3

# Everyday nouns, none of which is the beginning of another.
_NOUNS = (
    "acorn anchor apple arrow badge bakery banner barrel basket beacon bell blanket boat bottle bridge bucket butter "
    "button cabin camera candle canyon carpet castle cedar chain cherry circus clock cloud coffee comet copper cotton "
    "cradle crayon crystal curtain daisy desert diamond dolphin donkey dragon drawer drum eagle elbow engine falcon "
    "feather ferry fiddle finger forest fossil fountain garden ginger glacier glove goblin guitar hammer harbor helmet "
    "honey island ivory jacket jungle kettle kitten ladder lantern lemon lizard lobster magnet mango marble market "
    "meadow melon mirror monkey mountain mushroom needle nephew ocean olive orange orchid oyster paddle palace panda "
    "paper parrot peach pebble pencil pepper piano pillow planet pocket potato prairie pumpkin puzzle rabbit ribbon "
    "river rocket saddle sailor salmon scarf shadow shovel silver spider spoon squirrel statue stone sugar summer "
    "table temple thunder ticket tiger timber tomato trumpet tulip tunnel turtle umbrella valley velvet village violin "
    "volcano wagon walnut whistle willow window winter wizard yogurt zebra"
)
NOUNS = tuple(_NOUNS.split())


@dataclass(frozen=True)
class Example:
    """One source and what is asked about it.

    Attributes
    ----------
    source_ids
        The haystack with its needles, and the question in words at the end.
    prefix
        How the answer begins.
    answers
        What is right: one word, or several in any order.
    choices
        Right and wrong ones, all of as many tokens where the vocabulary allows that.
    """

    source_ids: list[int]
    prefix: str
    answers: tuple[str, ...]
    choices: tuple[str, ...]


class Maker:
    """Makes examples of one task for a model's tokenizer.

    Parameters
    ----------
    model
        Whose tokenizer it is.
    haystack
        The prose.
    task
        One of ``TASKS``.
    """

    def __init__(self, model: Model, haystack: Haystack, task: str) -> None:
        self._tokenizer, self._haystack, self._task = model.tokenizer, haystack, task
        core = model.tokenizer._core
        self._before, self._after = list(core.prefix_ids), list(core.suffix_ids)
        by_size: dict[int, list[str]] = {}
        for noun in NOUNS:
            by_size.setdefault(len(self._ids(" " + noun)), []).append(noun)
        # Those of the commonest number of tokens: no wrong answer is likelier because it is shorter.
        self._words = max(by_size.values(), key=len)
        if len(self._words) < 4 * N_CHOICES:
            self._words = list(NOUNS)

    def make(self, length: int, depth: float, seed: str) -> Example:
        """An example of `length` tokens whose needle lies at `depth` (0: the beginning, 1: the end).

        A list of words may be a few tokens shorter: it ends with a whole word.
        """
        rng = random.Random(seed)
        if self._task == "words":
            return self._frequent_words(length, rng)
        keys = rng.sample(self._words, _N_KEYS)
        values = rng.sample([word for word in self._words if word not in keys], N_CHOICES + _N_VALUES)
        n_keys, n_values = {"single": (1, 1), "multikey": (_N_KEYS, 1), "multivalue": (1, _N_VALUES)}[self._task]
        pairs = [(keys[i], values[i * n_values + j]) for i in range(n_keys) for j in range(n_values)]
        right = tuple(value for key, value in pairs if key == keys[0])
        # Wrong answers that are in the source too, as far as there are any.
        wrong = [value for value in values if value not in right][: N_CHOICES - 1]
        needles = [f"The secret word of the {key} is {value}." for key, value in pairs]
        question, prefix = f"What is the secret word of the {keys[0]}?", f"The secret word of the {keys[0]} is"
        if n_values > 1:
            question = f"What are all {n_values} secret words of the {keys[0]}?"
        places = [depth, *(rng.random() for _ in needles[1:])]
        ids = self._hide([self._ids(" " + needle) for needle in needles], places, length, question, rng)
        return Example(ids, prefix, right, tuple(sorted([*right, *wrong])))

    def _frequent_words(self, length: int, rng: random.Random) -> Example:
        """Ten times as often as the others: three words."""
        chosen = rng.sample(self._words, min(len(self._words), 40))
        right, others = chosen[:_N_FREQUENT], chosen[_N_FREQUENT:]
        question, prefix = f"What are the {_N_FREQUENT} most frequent words?", "The most frequent words are"
        tail = self._ids("\n\n" + question)
        room = length - len(self._before) - len(self._after) - len(tail)
        words: list[int] = []
        while True:
            word = self._ids(" " + rng.choice(right if rng.random() < 0.45 else others))
            if len(words) + len(word) > room:
                break
            words += word
        wrong = rng.sample(others, N_CHOICES - _N_FREQUENT)
        ids = [*self._before, *words, *tail, *self._after]
        return Example(ids, prefix, tuple(right), tuple(sorted([*right, *wrong])))

    def _hide(
        self, needles: Sequence[list[int]], places: Sequence[float], length: int, question: str, rng: random.Random
    ) -> list[int]:
        tail = self._ids("\n\n" + question)
        room = length - len(self._before) - len(self._after) - len(tail) - sum(map(len, needles))
        if room < 0:
            raise about(
                InvalidArgumentError,
                "lengths",
                f"{length} tokens are too few for the needles and the question of {self._task!r}. "
                f"Give at least {length - room}.",
            )
        sentences = self._haystack.draw(room, rng)
        ends = [0]
        for sentence in sentences:
            ends.append(ends[-1] + len(sentence))
        # Each needle behind the sentence that ends nearest to its place.
        behind: dict[int, list[int]] = {}
        for needle, place in zip(needles, places, strict=True):
            nearest = min(range(len(ends)), key=lambda i, at=place * ends[-1]: abs(ends[i] - at))  # type: ignore[misc]
            behind.setdefault(nearest, []).extend(needle)
        body = list(behind.get(0, []))
        for i, sentence in enumerate(sentences, 1):
            body += sentence
            body += behind.get(i, [])
        return [*self._before, *body, *tail, *self._after]

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)
