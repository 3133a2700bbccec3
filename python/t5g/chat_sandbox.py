"""jinja2's sandbox for chat templates of files that nobody has vetted, with what transformers gives to templates.

The sandbox keeps templates from Python's inside, and a budget keeps them from the machine's time and memory. All that
can be repeated, or makes something larger, spends some of it: a turn of a loop or macro, a call, a filter, an operator,
a text that is put together. What could grow by much at once (a text times a number, a field a million wide) is looked
at before it happens.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes, sandbox
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension

_UNITS = 300_000  # of a rendering: a second or two. A conversation of a million characters spends a tenth of them.
_CHARACTERS, _ITEMS = 512, 64  # for a unit
_LARGEST_GROWTH = 20_000_000  # characters or items at once
_LARGEST_BITS = 4096  # of the product of two integers
_WIDE_FIELD = re.compile(r"\d{6}|%[^a-zA-Z%]*\*|:[^}]*\{")  # in a format


class Refusal(Exception):
    """What `raise_exception` of a template raises."""


class TooMuch(Exception):
    """The budget is spent."""


# ---- The budget ----

_state = threading.local()


@contextlib.contextmanager
def budget() -> Iterator[None]:
    """Give templates a new budget, for what is rendered within."""
    before = getattr(_state, "left", None)
    _state.left = _UNITS
    try:
        yield
    finally:
        _state.left = before


def _spend(units: int) -> None:
    left = getattr(_state, "left", None)
    if left is None:  # while it is compiled, where constants would be computed
        raise TooMuch("nothing is computed before it is rendered")
    _state.left = left - units
    if left < units:
        raise TooMuch("it takes more work than any conversation needs")


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | dict) else 1


def _spend_on(value: Any) -> None:
    """Spend what handling a value costs, without what it holds."""
    _spend(1 + _size(value) // (_CHARACTERS if isinstance(value, str) else _ITEMS))


def _spend_on_all(value: Any, depth: int = 0) -> int:
    """Spend what it costs to write a value with all that it holds -> its size."""
    _spend_on(value)
    if depth > 50:
        raise TooMuch("something is nested too deeply")
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        return sum((_spend_on_all(item, depth + 1) for item in value), len(value))
    return _size(value)


def _check_growth(*values: Any, numbers_count: bool = True) -> None:
    """Refuse what could become as large as the product of the two largest of these; numbers may stand for sizes."""
    sizes = [1 + _spend_on_all(value) for value in values]
    if numbers_count:
        sizes += [abs(int(value)) for value in values if isinstance(value, int | float)]
    *_, second, first = [0, *sorted(sizes)]
    if first * second > _LARGEST_GROWTH:
        raise TooMuch("something in it would become too large")


def _check_format(form: str) -> None:
    if _WIDE_FIELD.search(form):
        raise TooMuch("a field in it is too wide")


# ---- What spends ----


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Filters that look at a value as a whole, and not at what is in its items.
_SHALLOW = _words(
    "abs attr batch count d default dictsort first float groupby int items last length list map max min random reject "
    "rejectattr reverse round select selectattr slice sort sum unique"
)
# Those whose result may be much larger than what they are given, and methods of texts of this kind.
_GROWING_FILTERS = _words("batch center format indent join replace slice wordwrap")
_GROWING_METHODS = _words("center expandtabs format format_map join ljust replace rjust translate zfill")


def _paid(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that spends."""
    n_own = 1 if hasattr(function, "jinja_pass_arg") else 0
    spend = _spend_on if name in _SHALLOW else _spend_on_all

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = [*args[n_own:], *kwargs.values()]
        for value in given:
            spend(value)
        if name == "format":
            _check_format(str(given[0]))
        if name in _GROWING_FILTERS:
            _check_growth(*given, numbers_count=name != "format")
        if name == "sum" and any(isinstance(value, list | tuple) for value in given[1:]):
            raise TooMuch("it adds up lists")
        return function(*args, **kwargs)

    return call


class _Work(Extension):
    """Puts what spends into a template: at every turn of its loops and macros, and around texts that are joined."""

    def turn(self) -> bool:
        _spend(1)
        return True

    def whole(self, value: Any) -> Any:
        _spend_on_all(value)
        return value

    def put_into(self, template: nodes.Template) -> None:
        for node in template.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
            turn = self.call_method("turn", lineno=node.lineno)
            if isinstance(node, nodes.For) and node.test is not None:
                node.test = nodes.And(turn, node.test, lineno=node.lineno)
            else:
                body: list[nodes.Node] = node.body  # type: ignore[attr-defined]
                body.insert(0, nodes.ExprStmt(turn, lineno=node.lineno))
        for joined in template.find_all(nodes.Concat):
            joined.nodes = [self._paid(node) for node in joined.nodes]
        for item in template.find_all(nodes.Getitem):
            if isinstance(item.arg, nodes.Slice):
                item.node = self._paid(item.node)
        template.set_environment(self.environment)

    def _paid(self, node: nodes.Expr) -> nodes.Expr:
        return self.call_method("whole", [node], lineno=node.lineno)


class _Generation(Extension):
    """`{% generation %}`, with which templates tell the model's own text: nothing to this end."""

    tags = {"generation"}  # noqa: RUF012  jinja2 wants a set

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Environment(sandbox.ImmutableSandboxedEnvironment):
    """The sandbox, whose operators and calls spend."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        work = self.extensions[_Work.identifier]
        assert isinstance(work, _Work)
        work.put_into(source)
        return super()._generate(source, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            _check_format(left)
            _check_growth(left, right, numbers_count=False)
        elif isinstance(left, int | float) and isinstance(right, int | float):
            _check_bits(operator, left, right)
        elif operator == "*":
            _check_growth(left, right)
        result = super().call_binop(context, operator, left, right)
        _spend_on(result)
        return result

    # The first two have names that no argument of a template's can have.
    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)  # the sandbox wraps str.format
        if isinstance(owner, _Work):
            return super().call(__context, __obj, *args, **kwargs)
        _spend_on(owner)
        if isinstance(owner, str):
            _check_method(owner, __obj.__name__, [*args, *kwargs.values()])
        result = super().call(__context, __obj, *args, **kwargs)
        _spend_on(result)
        return result


def _check_method(text: str, name: str, given: list[Any]) -> None:
    is_format = name in ("format", "format_map")
    if is_format:
        _check_format(text)
    if name in _GROWING_METHODS:
        _check_growth(text, *given, numbers_count=not is_format)


def _check_bits(operator: str, left: float, right: float) -> None:
    if isinstance(left, int) and isinstance(right, int):
        n_bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
        if n_bits > _LARGEST_BITS:
            raise TooMuch("a number in it is too large")


@jinja2.pass_context
def _write(context: Any, value: Any) -> Any:
    """Whatever a template writes passes here."""
    _spend_on_all(value)
    return value


# ---- What templates are given ----


class _Namespace(jinja2.utils.Namespace):
    """Holds no names that begin with an underscore: what Python itself looks up stays out of reach."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        for name in dict(*args[1:], **kwargs):
            _check_name(name)
        jinja2.utils.Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}")


def _raise_exception(message: object) -> None:
    raise Refusal(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)  # not the type, which could be looked into


@functools.cache
def environment() -> jinja2.Environment:
    """What templates are compiled for."""
    made = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, _Work, "jinja2.ext.loopcontrols"],
        finalize=_write,
    )
    filters = made.filters | {"tojson": _tojson}
    made.filters = {name: _paid(name, function) for name, function in filters.items()}
    made.globals |= {"raise_exception": _raise_exception, "namespace": _Namespace, "dict": _dict}
    made.globals.pop("lipsum", None)  # texts of any length
    return made
