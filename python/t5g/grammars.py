"""Regular expressions, JSON schemas and Lark grammars, through llguidance (extra ``grammar``).

llguidance knows the model's vocabulary and walks a grammar token by token. Its masks take a while, so the native module
asks for them on another thread while the model works; the methods here run wherever the native module calls them.
"""

from __future__ import annotations

import ctypes
import json
import threading
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from t5g import arguments
from t5g.errors import InvalidArgumentError
from t5g.messages import about

if TYPE_CHECKING:
    import llguidance

    from t5g.model import Model

_LONGEST_MESSAGE = 400


def compiled(name: str, value: Any, model: Model) -> Grammar:
    """Compile the value of the argument of this name for a model's vocabulary, or find it among the last ones."""
    llguidance = _library(name)
    model.tokenizer._core.require_text()
    source = _source(name, value, llguidance)
    vocabulary = _vocabulary(model)
    if (found := vocabulary.find(name, source)) is not None:
        return found
    if message := llguidance.LLMatcher.validate_grammar(source, vocabulary.tokens):
        raise _refused(name, message)
    matcher = llguidance.LLMatcher(vocabulary.tokens, source, log_level=0)
    if matcher.is_error():
        raise _refused(name, matcher.get_error())
    return vocabulary.keep(source, Grammar(name, matcher, vocabulary.tokens.eos_token))


def _library(name: str) -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise ImportError(
            f"{name}: needs the package llguidance. Install it with: pip install 't5g[grammar]'"
        ) from error
    return llguidance


def _refused(name: str, message: str) -> InvalidArgumentError:
    # What comes next is the library's own state.
    text = " ".join(message.partition("<state>")[0].split()).rstrip(".")
    if text == "NoExtensionBias":
        text = "no text fits it, however long"
    return about(InvalidArgumentError, name, f"cannot be used: {text[:_LONGEST_MESSAGE]}.")


def _source(name: str, value: Any, llguidance: Any) -> str:
    matcher = llguidance.LLMatcher
    if name == "regex":
        if not arguments.text(name, value):
            raise arguments.wrong_value(name, "a pattern of one character or more", value, "It allows no text at all.")
        return str(matcher.grammar_from_regex(value))
    if name == "grammar":
        return str(matcher.grammar_from_lark(arguments.text(name, value)))
    schema = _schema(value)
    try:
        # Compact, unless the schema's own "x-guidance" says otherwise: a model asked for JSON need not write spaces.
        return str(matcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False}))
    except ValueError as error:
        raise _refused(name, str(error)) from error


def _schema(value: Any) -> str:
    if isinstance(value, str):
        try:
            json.loads(arguments.text("json_schema", value))
        except ValueError as error:
            raise about(InvalidArgumentError, "json_schema", f"is not JSON: {error}.") from None
        return value
    if callable(getattr(value, "model_json_schema", None)):  # a class of pydantic's
        value = value.model_json_schema()
    if not isinstance(value, Mapping | bool):
        raise arguments.wrong_type("json_schema", "a dict, or a str of JSON", value)
    try:
        return json.dumps(value if isinstance(value, bool) else dict(value))
    except (TypeError, ValueError) as error:
        raise about(InvalidArgumentError, "json_schema", f"is not JSON: {error}.") from None


# ---- The vocabulary ----

# Sets of tokens whose masks are kept: where a grammar allows all of one, the rest alone is walked through. llguidance
# has such sets for strings of JSON; these make masks for words three to six times faster (262,144 tokens).
_WORDS = ("[a-z]{1,10}", "[a-z ]{1,10}", "[a-z ]{1,30}", "[a-zA-Z ]{1,10}", "[a-zA-Z ]{1,30}")
_MOST_KEPT = 64  # compiled grammars of one model: servers are asked for the same ones again and again


class _Vocabulary:
    """A model's tokens as llguidance has them, and the grammars that were compiled for them last."""

    def __init__(self, tokens: llguidance.LLTokenizer) -> None:
        self.tokens = tokens
        self._kept: dict[tuple[str, str], Grammar] = {}

    def find(self, name: str, source: str) -> Grammar | None:
        with _lock:
            found = self._kept.pop((name, source), None)
            if found is not None:
                self._kept[name, source] = found  # used last
            return found

    def keep(self, source: str, grammar: Grammar) -> Grammar:
        with _lock:
            self._kept[grammar.name, source] = grammar
            if len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return grammar


_vocabularies: weakref.WeakKeyDictionary[Model, _Vocabulary] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


class _Tokens:
    """A tokenizer as llguidance asks for it."""

    def __init__(self, model: Model) -> None:
        self._core = core = model.tokenizer._core
        size = min(core.vocab_size, model.config.vocab_size)
        self.tokens: list[bytes] = core.token_bytes()[:size]
        self.special_token_ids = [i for i in range(size) if core.is_control(i) or core.is_special(i)]
        for i in self.special_token_ids:
            self.tokens[i] = core.piece(i).encode()
        self.eos_token_id = model.config.eos_token_id[0]
        self.bos_token_id = core.bos_id if core.bos_id >= 0 else None

    def __call__(self, text: bytes | str) -> list[int]:
        return self._core.encode(text, add_special_tokens=False)


def _vocabulary(model: Model) -> _Vocabulary:
    """Give the model's vocabulary to llguidance, once: a large one takes about a second."""
    import llguidance

    with _lock:
        found = _vocabularies.get(model)
        if found is None:
            tokens = llguidance.TokenizerWrapper(_Tokens(model))
            slices = [*llguidance.LLTokenizer.general_slices(), *_WORDS]
            found = _Vocabulary(llguidance.LLTokenizer(tokens, n_vocab=model.config.vocab_size, slices=slices))
            _vocabularies[model] = found
    return found


# ---- Walking a grammar ----


class Grammar:
    """A compiled grammar, of which every sequence gets a walk of its own."""

    def __init__(self, name: str, matcher: llguidance.LLMatcher, eos_token_id: int) -> None:
        self.name = name
        self.eos_token_id = eos_token_id  # for which llguidance's masks have a bit
        self._matcher = matcher

    def begin(self, eos_token_ids: list[int], several: bool) -> Walk | Walks:
        with _lock:  # two threads may begin at once
            matcher = self._matcher.deep_copy()
        walk = Walk(self, matcher, eos_token_ids)
        return Walks(walk) if several else walk


class Walk:
    """One sequence: a matcher that has consumed some tokens, and can go back."""

    def __init__(self, grammar: Grammar, matcher: llguidance.LLMatcher, eos_token_ids: list[int]) -> None:
        self._grammar = grammar
        self._matcher = matcher
        self._eos_token_ids = eos_token_ids
        self._ids: list[int] = []  # consumed
        self._forced: list[list[int] | None] = [None]  # after each number of them what must follow, where it is known

    def fork(self) -> Walk:
        walk = Walk(self._grammar, self._matcher.deep_copy(), self._eos_token_ids)
        walk._ids, walk._forced = self._ids.copy(), self._forced.copy()
        return walk

    def after(self, generated: list[int], address: int, n_bytes: int) -> list[int] | bool:
        self.go_to(generated)
        if forced := self._must_follow():
            return forced[:1]
        if self._matcher.is_stopped():
            self._check()
            return self._eos_token_ids
        self._matcher.unsafe_compute_mask_ptr(address, n_bytes)
        self._check()
        self._set_ends((ctypes.c_uint32 * (n_bytes // 4)).from_address(address))
        return True

    def forced(self, generated: list[int]) -> list[int]:
        self.go_to(generated)
        return self._must_follow()

    def n_allowed(self, generated: list[int], tokens: list[int]) -> int:
        self.go_to(generated)
        n = 0
        for token in tokens:
            forced = self._must_follow()
            if not (token == forced[0] if forced else self._matcher.validate_tokens([token]) == 1):
                break
            self._consume(token)
            n += 1
        return n

    def go_to(self, generated: list[int]) -> None:
        """Go back to where the ids agree, and on from there."""
        n = min(len(self._ids), len(generated))
        if self._ids[:n] != generated[:n]:
            n = next(i for i in range(n) if self._ids[i] != generated[i])
        if back := len(self._ids) - n:
            self._matcher.rollback(back)
            del self._ids[n:], self._forced[n + 1 :]
        for token in generated[n:]:
            self._consume(token)

    def _consume(self, token: int) -> None:
        rest = self._forced[-1]
        self._matcher.consume_token(token)
        self._check()
        self._ids.append(token)
        self._forced.append(rest[1:] if rest and len(rest) > 1 else None)

    def _must_follow(self) -> list[int]:
        found = self._forced[-1]
        if found is None:
            found = self._forced[-1] = [] if self._matcher.is_stopped() else self._matcher.compute_ff_tokens()
        return found

    def _set_ends(self, mask: ctypes.Array[ctypes.c_uint32]) -> None:
        """Whatever ends a text may follow where llguidance's own end token may."""
        own = self._grammar.eos_token_id
        may_end = mask[own // 32] >> (own % 32) & 1
        mask[own // 32] &= ~(1 << (own % 32)) & 0xFFFFFFFF
        for token in self._eos_token_ids if may_end else ():
            mask[token // 32] |= 1 << (token % 32)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise _refused(self._grammar.name, self._matcher.get_error())


class Walks:
    """The beams of a search: a walk for each, forked from that of the beam it continues."""

    def __init__(self, first: Walk) -> None:
        self._first = first
        self._length = 0
        self._last: dict[tuple[int, ...], Walk] = {}
        self._now: dict[tuple[int, ...], Walk] = {(): first}

    def after(self, generated: list[int], address: int, n_bytes: int) -> list[int] | bool:
        return self._walk(tuple(generated)).after(generated, address, n_bytes)

    def forced(self, generated: list[int]) -> list[int]:
        return self._walk(tuple(generated)).forced(generated)

    def n_allowed(self, generated: list[int], tokens: list[int]) -> int:
        return self._walk(tuple(generated)).fork().n_allowed(generated, tokens)

    def _walk(self, ids: tuple[int, ...]) -> Walk:
        if len(ids) > self._length:
            self._last, self._now, self._length = self._now, {}, len(ids)
        if ids not in self._now:
            self._now[ids] = self._last.get(ids[:-1], self._first).fork()
        return self._now[ids]
