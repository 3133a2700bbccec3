"""jinja2's sandbox for chat templates of files that nobody has vetted, with what transformers gives to templates.

The sandbox keeps templates from Python's inside, and a budget keeps them from the machine's time and memory:

* Only the methods and filters listed here exist. Values are texts, numbers, lists, tuples and dicts, never bytes.
* What goes through a value spends for all that the value holds, as often as it holds it: forty lists of which each
  holds the one before twice are few to keep, and too many to compare, hash, sort or write.
* A turn of a loop or macro spends for all that stands in its body.
* What could grow by much at once (a text times a number, a field a million wide) is looked at before it happens.
* Only texts and numbers are keys, and numbers are as wide as the machine's, so neither takes long to hash.
"""

from __future__ import annotations

import contextlib
import functools
import json
import operator
import re
import threading
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Set, ValuesView
from typing import Any

import jinja2
from jinja2 import filters, nodes, sandbox
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.runtime import BlockReference, LoopContext, Macro
from jinja2.visitor import NodeTransformer

_UNITS = 300_000  # of a rendering: a second or two. A conversation of a million characters spends a tenth of them.
_CHARACTERS, _ITEMS = 512, 64  # for a unit
_HELD_CHARACTERS = 128  # for a unit, of a text in a list: as part of the list's text it may be written with escapes
_NEW_ITEMS = 8  # for a unit: what makes a list makes what is in it
_NODES = 64  # for a unit: parts of the program that a turn goes through
_STEP, _HANDLING = 1 / 8, 1 / 2  # units for the least that can be done, and for a value that a filter or call is given
_DEEPEST = 50  # lists in lists
_LARGEST_TEXT = 20_000_000  # characters, of what is looked through, and of what is made at once
_MOST_ITEMS = 1_000_000  # at once
_LARGEST_BITS = 4096  # of an integer that is computed ...
_WIDEST_BITS = 64  # ... and that is kept
_MOST_DIGITS = 300  # that are rounded to
_LONGEST_NUMBER = 4000  # characters that are read as one
_WIDEST_INDENT = 1000  # of JSON
_FEW = 16  # characters to look for, however long the text
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


def _spend(units: float) -> None:
    left = getattr(_state, "left", None)
    if left is None:  # while it is compiled, where constants would be computed
        raise TooMuch("nothing is computed before it is rendered")
    _state.left = left - units
    if left < units:
        raise TooMuch("it takes more work than any conversation needs")


_VIEWS = (KeysView, ValuesView, ItemsView)
_CONTAINERS = (list, tuple, Mapping, Set, *_VIEWS)
_SIZED = (str, range, *_CONTAINERS)


def _spend_on(value: Any) -> None:
    """Spend what handling a value costs, without what it holds."""
    _spend(_HANDLING + _size(value) / (_CHARACTERS if isinstance(value, str) else _ITEMS))


def _size(value: Any) -> int:
    return len(value) if isinstance(value, _SIZED) else 0


def _spend_on_new(value: Any) -> None:
    """Spend what it costs to have made a value."""
    _check_number(value)
    _spend(_size(value) / (_NEW_ITEMS if isinstance(value, list | tuple) else _CHARACTERS))


def _spend_on_all(value: Any, depth: int = 0) -> int:
    """Spend what it costs to go through a value with all that it holds -> its size."""
    if isinstance(value, str):
        _spend(_STEP + len(value) / _HELD_CHARACTERS if depth else 1 + len(value) / _CHARACTERS)
        return len(value)
    if not isinstance(value, _SIZED):
        _spend(_STEP if depth else 1)
        return value.bit_length() if isinstance(value, int) else 1
    if depth > _DEEPEST:
        raise TooMuch("something is nested too deeply")
    _spend_on(value)
    if isinstance(value, range):
        _spend(len(value) * _STEP)
        return len(value)
    held = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
    return len(held) + sum(_spend_on_all(item, depth + 1) for item in held)


def _paid_items(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _spend(_STEP)
        yield item


# ---- What is looked at before it happens ----


def _check_growth(*values: Any, numbers_count: bool = True) -> None:
    """Refuse what could become as large as the product of the two largest of these; numbers may stand for sizes."""
    sizes = [1 + _spend_on_all(value) for value in values]
    if numbers_count:
        sizes += [abs(int(value)) for value in values if isinstance(value, int | float)]
    *_, second, first = [0, *sorted(sizes)]
    _check_text(first * second)


def _check_text(n_characters: int) -> None:
    if n_characters > _LARGEST_TEXT:
        raise TooMuch("something in it would become too large")


def _check_items(n: float) -> None:
    if n > _MOST_ITEMS:
        raise TooMuch("a list in it would become too large")


def _check_replacing(text: str, old: str, new: str) -> None:
    _check_text(len(text) + text.count(old) * len(new))


def _check_search(text: str, parts: Any) -> None:
    """Refuse what may look at every character of the one for every character of the other."""
    if isinstance(parts, str) and len(parts) > _FEW:
        _check_text(len(text) * len(parts))


def _check_format(form: str) -> None:
    if _WIDE_FIELD.search(form):
        raise TooMuch("a field in it is too wide")
    _check_text(sum(int(width) for width in re.findall("[0-9]+", form)))


def _check_number(value: Any) -> None:
    if isinstance(value, int) and value.bit_length() > _WIDEST_BITS:
        raise TooMuch("a number in it is too large")


def _check_key(value: Any) -> None:
    """Refuse what takes long to hash, or to write in the message that there is no such key."""
    if isinstance(value, _CONTAINERS):
        raise SecurityError("a key can only be a text or a number")


# ---- Comparisons ----

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
}


def _compare(name: str, left: Any, right: Any) -> Any:
    _spend(_STEP)
    if name in ("in", "notin"):
        return _contains(right, left) == (name == "in")
    if isinstance(left, str) and isinstance(right, str):
        _spend(min(len(left), len(right)) / _CHARACTERS)
    elif isinstance(left, _CONTAINERS) and isinstance(right, _CONTAINERS):
        ends_at_once = len(left) != len(right) and name in ("eq", "ne")
        if not ends_at_once:
            _spend_on_all(left)  # no more is compared than one of them holds
    return _OPERATORS[name](left, right)


def _contains(container: Any, item: Any) -> bool:
    if isinstance(container, Mapping | KeysView):
        _check_key(item)
    elif isinstance(container, str | range):
        _spend(len(container) / _CHARACTERS)
    elif isinstance(container, _CONTAINERS):
        _spend_on_all(container)
        if isinstance(container, ItemsView):
            container = list(container)  # which looks for it without a hash
    elif isinstance(container, Iterator):
        return any(item is other or _compare("eq", item, other) for other in container)
    return item in container


# ---- Filters ----


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What chat templates use, and what else takes no longer than its result is long.
_FILTERS = _words(
    "abs attr batch capitalize center count d default dictsort e escape first float forceescape format groupby indent "
    "int items join last length list lower map max min reject rejectattr replace reverse round safe select selectattr "
    "slice sort string sum title tojson trim truncate unique upper"
)
# Those that look at a value as a whole, and not at what is in its items.
_SHALLOW = _words(
    "abs attr batch count d default first float int items last length list map reject rejectattr reverse round select "
    "selectattr slice sum unique"
)
_LAZY = _words("map reject rejectattr select selectattr")  # go through the items when they are asked for
_LISTING = _words("batch groupby join list max min slice sort sum title")  # have all items before them at once
# Those whose result may be much larger than what they are given.
_GROWING_FILTERS = _words("batch center format indent join slice")


def _paid(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that spends."""
    n_own = 1 if hasattr(function, "jinja_pass_arg") else 0
    spend = _spend_on if name in _SHALLOW else _spend_on_all

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        own, given = args[:n_own], [*args[n_own:]]
        if name in _LISTING and isinstance(given[0], Iterator):
            given[0] = list(_paid_items(given[0]))
        named = [*given, *kwargs.values()]
        for i, value in enumerate(named):
            if isinstance(value, str):
                _check_text(len(value))
            if i == 0 or name in ("d", "default"):
                spend(value)
            else:  # an option, which may be written or hashed
                _spend_on_all(value)
        _check_filter(name, *named)
        if name in _GROWING_FILTERS:
            _check_growth(*named, numbers_count=name != "format")
        if name in _LAZY and isinstance(given[0], (*_SIZED, Iterator)) and given[0]:
            given[0] = _paid_items(given[0])
        result = function(*own, *given, **kwargs)
        if isinstance(result, Iterator):
            return result if name in _LAZY else _paid_items(result)
        _spend_on_new(result)
        return result

    return call


def _check_filter(name: str, value: Any, *options: Any) -> None:
    numbers = [abs(option) for option in options if isinstance(option, int | float)]
    if name in _LISTING:
        _check_items(_size(value))
    if name in ("batch", "slice"):
        _check_items(max(numbers, default=0))
    elif name == "format":
        _check_format(str(value))
    elif name == "sum" and any(isinstance(option, _CONTAINERS) for option in options):
        raise TooMuch("it adds up lists")
    elif name == "round" and max(numbers, default=0) > _MOST_DIGITS:
        raise TooMuch("a number in it would have too many digits")
    elif name in ("int", "float") and isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        raise TooMuch("a text in it is too long for a number")
    elif name == "replace":  # whichever it calls the old and the new
        text, texts = str(value), [str(option) for option in options]
        for old in texts:
            _check_replacing(text, old, max(texts, key=len))
    elif name == "trim":
        for option in options:
            _check_search(str(value), option)


@jinja2.pass_environment
def _unique(
    environment: jinja2.Environment, value: Iterable[Any], case_sensitive: bool = False, attribute: Any = None
) -> Iterator[Any]:
    """jinja2's, which would hash anything."""
    key_of = filters.make_attrgetter(environment, attribute, None if case_sensitive else filters.ignore_case)
    seen = set()
    for item in value:
        key = key_of(item)
        _check_key(key)
        _spend_on(key)
        if key not in seen:
            seen.add(key)
            yield item


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if indent is None and separators is None:
        return encoder.encode(value)
    widths = [indent, *(separators or ())]
    if any((len(w) if isinstance(w, str) else abs(w or 0)) > _WIDEST_INDENT for w in widths):
        raise TooMuch("something in it would become too large")
    parts, size = [], 0
    for part in encoder.iterencode(value):
        size += len(part)
        _check_text(size)
        parts.append(part)
    return "".join(parts)


# ---- Tests ----

_TEST_OPERATORS = {
    name: operation
    for names, operation in (
        ("== eq equalto", "eq"),
        ("!= ne", "ne"),
        ("> gt greaterthan", "gt"),
        (">= ge", "gteq"),
        ("< lt lessthan", "lt"),
        ("<= le", "lteq"),
        ("in", "in"),
    )
    for name in names.split()
}


def _paid_test(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A test that spends."""
    if name in _TEST_OPERATORS:
        return functools.partial(_compare, _TEST_OPERATORS[name])

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _spend(_STEP)
        given = [*args, *kwargs.values()]
        if name in ("divisibleby", "even", "odd") and any(isinstance(value, str) for value in given):
            raise TypeError(f"only a number is {name}, not a text")  # whose % would format it
        if name in ("filter", "test"):
            _check_key(args[-1])
        if name in ("lower", "upper"):
            _spend_on_all(args[0])
        return function(*args, **kwargs)

    return call


# ---- What is put into a template ----


class _Work(Extension):
    """What a template calls at every turn of its loops and macros, and around what would spend nothing of itself."""

    def turn(self, units: float) -> bool:
        _spend(units)
        return True

    def whole(self, value: Any) -> Any:
        _spend_on_all(value)
        return value

    def handled(self, value: Any) -> Any:
        _spend_on(value)
        return value

    def key(self, value: Any) -> Any:
        _check_key(value)
        return value

    def compare(self, value: Any, *others: Any) -> Any:
        """`value`, and an operator and a value for each of the others."""
        result: Any = True
        for name, other in zip(others[::2], others[1::2], strict=True):
            result = _compare(name, value, other)
            if not result:
                break
            value = other
        return result

    def put_into(self, template: nodes.Template) -> None:
        _Rewriting(self).visit(template)
        template.set_environment(self.environment)


class _Rewriting(NodeTransformer):
    """Puts the calls of `_Work` into a template."""

    def __init__(self, work: _Work) -> None:
        self._work = work

    def _call(self, node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Expr:
        return self._work.call_method(name, [*args], lineno=node.lineno)

    def _body(self, node: nodes.Node) -> nodes.Node:
        turn = self._call(node, "turn", nodes.Const(_cost(node)))
        self.generic_visit(node)
        if isinstance(node, nodes.For) and node.test is not None:
            node.test = nodes.And(turn, node.test, lineno=node.lineno)
        else:
            body: list[nodes.Node] = node.body  # type: ignore[attr-defined]
            body.insert(0, nodes.ExprStmt(turn, lineno=node.lineno))
        return node

    visit_For = visit_Macro = visit_CallBlock = visit_Block = _body

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [self._call(part, "whole", part) for part in node.nodes]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = self._call(node, "handled", node.node)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = self._call(node, "key", node.key)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        others = [part for other in node.ops for part in (nodes.Const(other.op), other.expr)]
        return self._call(node, "compare", node.expr, *others)


def _cost(node: nodes.Node) -> float:
    """Units for all that stands in a body, whether a turn comes to it or not."""
    n_nodes, n_characters = 0, 0
    waiting = [node]
    while waiting:
        node = waiting.pop()
        n_nodes += 1
        n_characters += len(node.data) if isinstance(node, nodes.TemplateData) else 0
        waiting += node.iter_child_nodes()
    return 1 + n_nodes / _NODES + n_characters / _CHARACTERS


class _Generation(Extension):
    """`{% generation %}`, with which templates tell the model's own text: nothing to this end."""

    tags = {"generation"}  # noqa: RUF012  jinja2 wants a set

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


# ---- The sandbox ----

# What values have of methods and the like. Whatever is not here is as if it were not there.
_ATTRIBUTES: tuple[tuple[type | tuple[type, ...], frozenset[str]], ...] = (
    (
        str,
        _words(
            "capitalize casefold center count endswith expandtabs find format format_map index isalnum isalpha isascii "
            "isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower "
            "lstrip partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split "
            "splitlines startswith strip swapcase title upper zfill"
        ),
    ),
    (Mapping, _words("copy get items keys values")),
    ((list, tuple), _words("copy count grouper index list")),  # two of the groups that `groupby` makes
    ((int, float), _words("is_integer")),
    (
        LoopContext,
        _words("changed cycle depth depth0 first index index0 last length nextitem previtem revindex revindex0"),
    ),
)
_GROWING_METHODS = _words("center expandtabs format format_map join ljust rjust zfill")
_SEARCHING_METHODS = _words("lstrip rfind rindex rpartition rsplit rstrip strip")
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_PLAIN = (str, int, float, complex, list, tuple, dict, type(None), jinja2.Undefined)


class _Environment(sandbox.ImmutableSandboxedEnvironment):
    """The sandbox, whose operators and calls spend."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        work = self.extensions[_Work.identifier]
        assert isinstance(work, _Work)
        work.put_into(source)
        return super()._generate(source, *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        known = isinstance(obj, _Namespace) or any(
            attr in names for kind, names in _ATTRIBUTES if isinstance(obj, kind)
        )
        return known and super().is_safe_attribute(obj, attr, value)

    def getitem(self, obj: Any, argument: Any) -> Any:
        _spend(_STEP)
        _check_key(argument)
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not (isinstance(left, _PLAIN) and isinstance(right, _PLAIN)):
            raise TypeError(f"{operator} cannot have {type(left).__name__} and {type(right).__name__}")
        if operator == "%" and isinstance(left, str):
            _check_format(left)
            _check_growth(left, right, numbers_count=False)
        elif isinstance(left, int | float) and isinstance(right, int | float):
            _check_bits(operator, left, right)
        elif operator == "*":
            _check_growth(left, right)
            for list_, n in ((left, right), (right, left)):
                if isinstance(list_, list | tuple) and isinstance(n, int):
                    _check_items(len(list_) * n)
        elif operator == "+":
            _spend_on(left)  # before it is there
            _spend_on(right)
        result = super().call_binop(context, operator, left, right)
        _check_number(result)
        _spend_on(result)
        return result

    # The first two have names that no argument of a template's can have.
    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(getattr(__obj, "__self__", None), _Work):
            return __obj(*args)
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)  # the sandbox wraps str.format
        if isinstance(__obj, _CONTAINERS):
            raise TypeError(f"a {type(__obj).__name__} cannot be called")  # where jinja2 may write all of it
        _spend_on(owner)
        given = [*args, *(value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars"))]
        if isinstance(owner, str):
            if __obj.__name__ == "join" and len(args) == 1:
                args = (list(_paid_items(args[0])),)
                given = [*args]
            _check_method(owner, __obj.__name__, given)
        elif isinstance(__obj, Macro | BlockReference | LoopContext):
            _spend(len(given) / _ITEMS)
        else:
            for value in given:
                _spend_on_all(value)
            if isinstance(owner, Mapping) and args:
                _check_key(args[0])
            if isinstance(owner, list | tuple) and args:  # looks for it
                _spend_on_all(owner)
        result = super().call(__context, __obj, *args, **kwargs)
        _spend_on_new(result)
        return result


def _check_method(text: str, name: str, given: list[Any]) -> None:
    _check_text(len(text))
    for value in given:
        _spend_on_all(value)
    is_format = name in ("format", "format_map")
    if is_format:
        _check_format(text)
    if name in _GROWING_METHODS:
        _check_growth(text, *given, numbers_count=not is_format)
    texts = [value for value in given if isinstance(value, str)]
    if name == "replace" and len(texts) == 2:
        _check_replacing(text, *texts)
    if name in _SEARCHING_METHODS:
        for value in texts:
            _check_search(text, value)
    if name in ("split", "rsplit"):
        separators = [value for value in texts if value]
        n_parts = text.count(separators[0]) if separators else len(text.split(None, _MOST_ITEMS))
        _check_items(n_parts)
    if name == "splitlines":
        _check_items(sum(text.count(end) for end in _LINE_ENDS))
    if name == "title":
        _check_items(len(text))


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
        held = _dict(*args[1:], **kwargs)
        for name in held:
            _check_name(name)
        jinja2.utils.Namespace.__init__(args[0], held)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"  # and not what it holds, which nobody has paid for


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}")


def _raise_exception(message: object) -> None:
    raise Refusal(str(message))


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:  # not the type, which could be looked into
    made: dict[Any, Any] = {}
    for value in args:
        for key, item in value.items() if isinstance(value, Mapping) else value:
            _check_key(key)
            made[key] = item
    return made | kwargs


@functools.cache
def environment() -> jinja2.Environment:
    """What templates are compiled for."""
    made = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, _Work, "jinja2.ext.loopcontrols"],
        finalize=_write,
    )
    all_filters = made.filters | {"tojson": _tojson, "unique": _unique}
    made.filters = {name: _paid(name, all_filters[name]) for name in _FILTERS}
    all_tests: dict[str, Any] = made.tests
    made.tests = {name: _paid_test(name, function) for name, function in all_tests.items()}
    made.globals = {
        "range": made.globals["range"],
        "raise_exception": _raise_exception,
        "namespace": _Namespace,
        "dict": _dict,
    }
    return made
