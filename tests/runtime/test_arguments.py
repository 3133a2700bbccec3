"""A walk through the Python API with wrong and unusual values: every function, every parameter, every kind of object.

Whatever is given, a call works or raises one of the documented exceptions, with a message that names the argument. No
signature of a binding and no exception from deep inside reaches the caller.
"""

from __future__ import annotations

import array
import asyncio
import decimal
import fractions
import functools
import inspect
import io
import re
import warnings
from collections import UserDict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from t5g import options

GOLDENS = Path(__file__).parents[1] / "goldens"
MODEL = GOLDENS / "v2-images.gguf"
IDS = [5, 9, 200]
RED = np.full((9, 13, 3), (200, 0, 0), np.uint8)

# What the documentation promises: t5g's own, and the system's for files. ImportError tells of a missing extra.
DOCUMENTED = (t5g.T5gError, OSError)
# Signs of an exception that nobody wrote for the caller.
LEAKED = re.compile(
    r"incompatible (function|constructor) arguments|Invoked with|internal error|_core|std::|vector|basic_string|"
    r"object has no attribute|not (subscriptable|iterable|supported between)|unhashable|NoneType|codec can't|"
    r"Unable to cast|unexpected keyword|positional argument"
)


@dataclass
class Its:
    """What calls are made on and with."""

    model: t5g.Model
    source: t5g.EncodedSource
    folder: Path
    objects: list[Callable[[], Any]]


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Its]:
    folder = tmp_path_factory.mktemp("arguments")
    with t5g.Model(MODEL, n_threads=1) as model, pytest.MonkeyPatch.context() as here:
        here.chdir(folder)  # where names such as "text" lead
        source = model.encode(IDS)
        source.save(folder / "source")
        yield Its(model, source, folder, kinds(model, source))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Options without effect are told once per process: here nobody listens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", t5g.T5gWarning)
        yield


def check(call: Callable[[], object], value: object, *names: str) -> None:
    """Run a call that has this value as an argument.

    Its exception, if any, must be documented, and name the argument by one of these names, or the file that it is.
    """
    try:
        call()
    except DOCUMENTED as error:
        message = str(error)
        is_file = isinstance(error, OSError) and error.filename is not None
        if isinstance(value, str | bytes | Path):
            spelt = value.decode(errors="backslashreplace") if isinstance(value, bytes) else Path(value).name
            is_file = is_file or spelt in message
        if (is_file or any(name in message for name in names)) and not LEAKED.search(message):
            return
        what = f"{message!r} names none of {names}, or is not meant for users"
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"
    else:
        return
    shown = type(value).__name__ if isinstance(value, int) else f"{value!r:.100}"
    pytest.fail(f"{shown}: {what}"[:1000])


# ---- The walk ----


class Indexable:
    """An integer of somebody's own."""

    def __index__(self) -> int:
        return 5


def kinds(model: t5g.Model, source: t5g.EncodedSource) -> list[Callable[[], Any]]:
    """Objects of every kind, made anew for each call because some can be read once only."""
    generation = model.generate(IDS, max_new_tokens=1)
    return [
        lambda: None, lambda: ..., lambda: NotImplemented, lambda: slice(3), lambda: True, lambda: False, lambda: 0,
        lambda: 1, lambda: -1, lambda: 5, lambda: 2**31, lambda: 2**40, lambda: 2**63, lambda: 2**70, lambda: -(2**70),
        lambda: 10**5000,
        lambda: 0.5, lambda: 5.0, lambda: -0.0, lambda: float("nan"), lambda: float("inf"), lambda: float("-inf"),
        lambda: 1e300, lambda: 1j, lambda: decimal.Decimal("0.5"), lambda: fractions.Fraction(1, 2), Indexable,
        lambda: np.int64(5), lambda: np.uint8(1), lambda: np.float32(0.5), lambda: np.float64("nan"),
        lambda: np.bool_(True), lambda: np.str_("text"), lambda: np.bytes_(b"abc"), lambda: np.datetime64(0, "s"),
        lambda: "", lambda: " ", lambda: "text", lambda: "5", lambda: "\ud800", lambda: "a\0b", lambda: "no/such.file",
        lambda: "x" * 5000, lambda: "https://example.org/a.png", lambda: "data:image/png;base64,AAAA", lambda: "true",
        lambda: b"", lambda: b"abc", lambda: b"\xff\xfe", lambda: bytearray(b"abc"), lambda: memoryview(b"abc"),
        list, tuple, dict, set, frozenset, lambda: [None], lambda: [[]], lambda: [[], []], lambda: [5], lambda: (5, 6),
        lambda: [-1], lambda: [2**40], lambda: [10**5000], lambda: [1.5], lambda: [True], lambda: ["a"], lambda: [""],
        lambda: ["a", 5], lambda: [5, "a"], lambda: [b"a"], lambda: [["a"]], lambda: [[5, 6]], lambda: [[5], [6]],
        lambda: [[5], 6], lambda: [5, [6]], lambda: ["\ud800"], lambda: [object()], lambda: [RED], lambda: [[RED]],
        lambda: {"a": 1}, lambda: {5: 6}, lambda: {"input_ids": [5]}, lambda: UserDict(input_ids=[5]), lambda: {5, 6},
        lambda: {"role": "user", "content": "a"}, lambda: [{"role": "user", "content": "a"}], lambda: range(3, 6),
        lambda: iter([5, 6]), lambda: (i for i in ("a", "b")), lambda: map(int, "56"), lambda: array.array("i", [5, 6]),
        lambda: np.array(5), lambda: np.array([5, 6]), lambda: np.array([[5, 6]]), lambda: np.array([[5], [6]]),
        lambda: np.zeros((0,), int), lambda: np.zeros((1, 0), int), lambda: np.zeros((2, 2, 2), int),
        lambda: np.array([1.5]), lambda: np.array(["a", "b"]), lambda: np.array([None, 5], object), lambda: RED,
        lambda: np.array([True]), lambda: np.array([2**63], np.uint64), lambda: np.zeros((2, 9, 13, 3), np.uint8),
        object, lambda: int, lambda: len, lambda: warnings, lambda: Path("no/such.file"), lambda: Path("text"),
        lambda: io.StringIO("text"), lambda: io.BytesIO(b"abc"), io.BytesIO, lambda: model, lambda: source,
        lambda: [source], lambda: generation, lambda: model.tokenizer, lambda: model.config,
        lambda: Exception("x"), lambda: re.compile("a"), lambda: np, lambda: t5g.Model,
    ]  # fmt: skip


# Arguments with which every public function works, by its name in the documentation.
FEW = {"max_new_tokens": 1}
TURN = {"role": "user", "content": "a"}
FUNCTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "Model": lambda it: {"path": MODEL},
    "Model.encode": lambda it: {"source": IDS},
    "Model.source_memory": lambda it: {"n_tokens": 5},
    "Model.embed": lambda it: {"texts": ["a"]},
    "Model.apply_chat_template": lambda it: {"messages": [TURN]},
    "Model.conversation": lambda it: {},
    "Model.load_adapter": lambda it: {"path": it.folder / "none"},
    "Model.unload_adapter": lambda it: {"name": "none"},
    "Model.generate": lambda it: {"source": IDS, **FEW},
    "Model.generate_batch": lambda it: {"sources": [IDS, "a"], **FEW},
    "Model.generate_iter": lambda it: {"sources": [IDS, "a"], **FEW},
    "Model.stream": lambda it: {"source": IDS, **FEW},
    "Model.agenerate": lambda it: {"source": IDS, **FEW},
    "Model.astream": lambda it: {"source": IDS, **FEW},
    "Model.score_batch": lambda it: {"sources": [IDS], "targets": [[5]]},
    "Model.attention": lambda it: {"source": IDS, "target": [5]},
    "Model.score": lambda it: {"source": IDS, "target": [5]},
    "Model.logits": lambda it: {"source": IDS, "target_ids": [2]},
    "EncodedSource": lambda it: {"core": it.source._core},
    "EncodedSource.save": lambda it: {"path": it.folder / "saved"},
    "EncodedSource.load": lambda it: {"model": it.model, "path": it.folder / "source"},
    "Tokenizer": lambda it: {"core": it.model.tokenizer._core},
    "Tokenizer.encode": lambda it: {"text": "a"},
    "Tokenizer.decode": lambda it: {"ids": [5]},
    "convert": lambda it: {"hf_dir": it.folder / "none", "out_path": it.folder / "out.gguf"},
    "quantize": lambda it: {"in_path": MODEL, "out_path": it.folder / "out.gguf", "type": "q8_0", "dry_run": True},
}
# ... and those that have no arguments.
PLAIN = {"Model.close", "Model.memory", "Stream.cancel", "Stream.close", "system_info"}
# ... and what asks a network, of which tests/hub has one.
ABROAD = {"Model.from_pretrained"}
# What messages may call an argument beside its name.
ALSO = {
    "convert": ("Give the folder of a Hugging Face checkpoint",),  # where nothing else is wrong
    "Model.conversation": ("no chat template",),
    "Model.load_adapter": ("no such file",),
    "Model.unload_adapter": ("no adapter",),
    "images": ("image",),
    "vision_type": ("unknown type",),
    "core": ("must be made by", "must be that of"),
    "messages": ("no chat template",),
    "chat_template": ("no chat template",),
}


async def read_all(stream: AsyncIterator[str]) -> None:
    async for _ in stream:
        pass


def function(name: str, it: Its) -> Callable[..., object]:
    """Give a function as its user calls it; what is lazy is carried out."""
    owner, _, method = name.partition(".")
    if name == "Model":
        return lambda **given: t5g.Model(**given).close()
    if name == "Model.agenerate":
        return lambda **given: asyncio.run(it.model.agenerate(**given))
    if name == "Model.astream":
        return lambda **given: asyncio.run(read_all(it.model.astream(**given)))
    if name in ("Model.stream", "Model.generate_iter"):
        return lambda **given: list(getattr(it.model, method)(**given))
    if name == "EncodedSource.load":
        return t5g.EncodedSource.load
    objects = {"Model": it.model, "EncodedSource": it.source, "Tokenizer": it.model.tokenizer}
    return getattr(objects[owner], method) if method else getattr(t5g, name)


def parameters(name: str) -> list[str]:
    """Every parameter of a public function, the options of generation among them."""
    owner, _, method = name.partition(".")
    found = inspect.signature(getattr(getattr(t5g, owner), method) if method else getattr(t5g, owner)).parameters
    own = [p for p in found if p not in ("self", "options")]
    return [*own, *options.names()] if "options" in found else own


def test_the_walk_leaves_nothing_out() -> None:
    """Every function and method that is public and takes arguments is in the table."""
    made_by_t5g = {
        "Config", "GeneratedSequence", "Generation", "GenerationDefaults", "MemoryNeeds", "Score", "Stream", "Summary",
        "TextConfig", "Timings", "VisionConfig",
    }  # fmt: skip
    names = set()
    for name in t5g.__all__:
        value = getattr(t5g, name)
        if inspect.isfunction(value):
            names.add(name)
        elif inspect.isclass(value) and not issubclass(value, BaseException):
            names |= set() if name in made_by_t5g else {name}
            names |= {
                f"{name}.{method}"
                for method, member in vars(value).items()
                if (inspect.isfunction(member) or isinstance(member, classmethod)) and not method.startswith("_")
            }
    assert names == set(FUNCTIONS) | PLAIN | ABROAD


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_with_every_kind_of_object(name: str, it: Its) -> None:
    for parameter in parameters(name):
        for make in it.objects:
            value = make()
            runs = {"progress": callable(value), "allowed_tokens": isinstance(value, type)}
            if runs.get(parameter):
                continue  # what a function raises is its own
            call = functools.partial(function(name, it), **{**FUNCTIONS[name](it), parameter: value})
            check(call, value, parameter, *ALSO.get(parameter, ()), *ALSO.get(name, ()))


# Lists whose items are arguments themselves: where, and what a message calls the item.
ITEMS: dict[str, tuple[Callable[[Its, Any], object], str]] = {
    "sources of generate_batch": (lambda it, x: it.model.generate_batch([IDS, x], max_new_tokens=1), "sources[1]"),
    "texts of embed": (lambda it, x: it.model.embed(["a", x]), "texts[1]"),
    "stop": (lambda it, x: it.model.generate(IDS, stop=["a", x], max_new_tokens=1), "stop[1]"),
    "images of encode": (lambda it, x: it.model.encode("", images=[RED, x]), "image 2 of 2"),
    "images of generate_batch": (lambda it, x: it.model.generate_batch(["", ""], images=[RED, x], **FEW), "images[1]"),
    "images of a source of generate_batch": (
        lambda it, x: it.model.generate_batch(["", ""], images=[RED, [RED, x]], **FEW),
        "images[1]: image 2 of 2",
    ),
    "messages": (lambda it, x: it.model.apply_chat_template([TURN, x]), "messages[1]"),
    "content of a message": (lambda it, x: it.model.apply_chat_template([{**TURN, "content": x}]), "messages[0]"),
    "role of a message": (lambda it, x: it.model.apply_chat_template([{**TURN, "role": x}]), "messages[0]"),
    "parts of a content": (
        lambda it, x: it.model.apply_chat_template([{**TURN, "content": ["a", x]}]),
        "messages[0]: content[1]",
    ),
    "text of a part": (
        lambda it, x: it.model.apply_chat_template([{**TURN, "content": [{"type": "text", "text": x}]}]),
        "messages[0]: content[0]",
    ),
    "type of a part": (
        lambda it, x: it.model.apply_chat_template([{**TURN, "content": [{"type": x, "text": "a"}]}]),
        "messages[0]: content[0]",
    ),
    "token ids": (lambda it, x: it.model.encode([5, x]), "source"),
    "rows of token ids": (lambda it, x: it.model.encode([x]), "source"),
    "target ids": (lambda it, x: it.model.logits(IDS, [2, x]), "target_ids"),
    "decoded ids": (lambda it, x: it.model.tokenizer.decode([5, x]), "ids"),
}


@pytest.mark.parametrize("where", ITEMS)
def test_every_item_of_a_list_with_every_kind_of_object(where: str, it: Its) -> None:
    call, item = ITEMS[where]
    for make in it.objects:
        value = make()
        check(functools.partial(call, it, value), value, item, "no chat template")
