"""A continuous batch over any number of sources: they come as there is room, and their results go in order.

A sequence that ends makes room for the next source at once, so none waits for the longest beside it. What is held is
bounded: the sequences that run, and the results that wait for an earlier one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Generator as PythonGenerator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from t5g import _core, arguments
from t5g import options as generation_options
from t5g.errors import InvalidArgumentError
from t5g.generation import Generation
from t5g.messages import about
from t5g.sources import Reader

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from t5g.adapters import Adapters
    from t5g.images import Images
    from t5g.model import Model
    from t5g.options import GenerateOptions
    from t5g.sources import Source, TextOrIds
    from t5g.truncation import Truncation

T = TypeVar("T")

# Results that may wait for an earlier one, for each row of the batch. Texts differ in length; beyond this the batch
# would rather run with empty rows than let them pile up.
_HELD_PER_ROW = 8


@dataclass(frozen=True)
class Item:
    """A source with what belongs to it alone, or what was wrong with it.

    Attributes
    ----------
    key
        The caller's own, to know the result by.
    source, images, decoder_prefix
        As in :meth:`t5g.Model.generate`.
    error
        Its result, where it could not even be read.
    name, of
        What messages call the source and its images.
    """

    key: Any
    source: Source = ""
    images: Images | None = None
    decoder_prefix: TextOrIds | None = None
    error: Exception | None = None
    name: str = "source"
    of: str = "image"


class Nothing(Enum):
    """Why there is no item."""

    YET = auto()
    LEFT = auto()


NextItem: TypeAlias = "Callable[[bool], Item | Nothing]"


class InOrder(Iterator[Generation]):
    """What a Python generator gives, to one thread at a time.

    Python's own lets two threads into its frame where there is no interpreter's lock. The second is told so instead of
    waiting: the first may be asking the caller for a source, and that could wait for the second.
    """

    def __init__(self, results: PythonGenerator[Generation, None, None]) -> None:
        self._results = results
        self._in_use = threading.Lock()

    def __next__(self) -> Generation:
        return self._alone(lambda: next(self._results))

    def close(self) -> None:
        """End it: what runs is stopped."""
        self._alone(self._results.close)

    def _alone(self, body: Callable[[], T]) -> T:
        if not self._in_use.acquire(blocking=False):
            raise InvalidArgumentError(
                "generate_iter: its results are in use: by another thread, or by the very call that asks for a source. "
                "Take them on one thread, or call generate_iter once for each."
            )
        try:
            return body()
        finally:
            self._in_use.release()


@dataclass
class _Slot:
    key: Any
    result: Generation | Exception | None = None


class Batch:
    """Runs items with one set of options: arguments as in :meth:`t5g.Model.generate_batch`."""

    def __init__(
        self,
        model: Model,
        *,
        pan_and_scan: bool = False,
        decoder_prefix: TextOrIds | None = None,
        stop: str | Sequence[str] | None = None,
        parse_special: bool = False,
        skip_special_tokens: bool = True,
        truncation: Truncation = "error",
        adapters: Adapters = None,
        max_batch_size: int = 32,
        **options: Unpack[GenerateOptions],
    ) -> None:
        self._model = model
        self._reader = Reader(
            model, parse_special=parse_special, pan_and_scan=pan_and_scan, truncation=truncation, adapters=adapters
        )
        self._prefix = [] if decoder_prefix is None else self._reader.target("decoder_prefix", decoder_prefix)
        rows = arguments.rows(max_batch_size)
        text = generation_options.text(stop, skip_special_tokens, model.generation_defaults)
        config = generation_options.config(options, model)
        self._generator = _core.Generator(model._native, [], [], text, rows, config)
        self._generator.keep_errors()
        self._max_held = _HELD_PER_ROW * rows
        self._running: dict[int, _Slot] = {}
        self._slots: deque[_Slot] = deque()  # in order: of all items whose results have not been given

    def in_order(
        self, sources: Iterable[Source], images: Iterable[Images | None] | None = None
    ) -> Iterator[Generation]:
        """Run sources to the last; what is wrong with one is raised when its turn comes."""
        items = _items(sources, images)

        def results() -> PythonGenerator[Generation, None, None]:
            for _, result in self.results(lambda wait: next(items, Nothing.LEFT)):
                if isinstance(result, Exception):
                    raise result
                yield result

        return InOrder(results())

    def results(self, next_item: NextItem) -> Iterator[tuple[Any, Generation | Exception]]:
        """Run items to the last.

        Parameters
        ----------
        next_item
            Gives the next one, or `Nothing.LEFT`. Called with whether it may wait for it; otherwise, while others run,
            it may say `Nothing.YET`.

        Yields
        ------
        The key of every item, in order, with its result, or with the exception that says what is wrong with it.
        """
        more = True
        try:
            while more or self._slots:
                more = more and self._admit(next_item)
                if self._running:
                    self._step()
                while self._has_result():
                    slot = self._slots.popleft()
                    assert slot.result is not None
                    yield slot.key, slot.result
            self._reader.tell_what_had_no_effect()
        finally:
            self._generator.close()

    def _admit(self, next_item: NextItem) -> bool:
        """Take items while there is room. False when there are no more."""
        while self._generator.has_room and len(self._slots) < self._max_held and not self._has_result():
            item = next_item(not self._running)
            if isinstance(item, Nothing):
                return item is Nothing.YET
            self._slots.append(slot := _Slot(item.key, item.error))
            if item.error is None:
                try:
                    self._running[self._add(item)] = slot
                except Exception as error:  # one item's: the others go on
                    slot.result = error
        return True

    def _add(self, item: Item) -> int:
        own = item.decoder_prefix
        prefix = self._prefix if own is None else self._reader.target("decoder_prefix", own)
        request = self._reader.request(item.source, item.images, name=item.name, of=item.of)
        return self._generator.add(request, prefix)

    def _step(self) -> None:
        self._generator.step()
        for number, result in self._generator.take_finished():
            self._running.pop(number).result = self._taken(result)

    def _taken(self, result: dict[str, Any] | _core.RequestError) -> Generation | Exception:
        if isinstance(result, dict):
            return Generation._from_core(result, self._model.load_seconds)
        try:
            result.throw()
        except Exception as error:
            return error
        raise AssertionError("throw() returns")

    def _has_result(self) -> bool:
        return bool(self._slots) and self._slots[0].result is not None


def _items(sources: Any, images: Any) -> Iterator[Item]:
    """Check that both can be iterated over, at once, and give their items as they are asked for."""
    each = arguments.iterator("sources", sources, "sources", "generate takes a single one.")
    if images is None:
        return (Item(i, source, name=f"sources[{i}]") for i, source in enumerate(each))
    theirs = arguments.iterator("images", images, "the images of each source")
    return _with_images(each, theirs)


def _with_images(sources: Iterator[Source], images: Iterator[Images | None]) -> Iterator[Item]:
    missing = object()
    for i, source in enumerate(sources):
        of_source: Any = next(images, missing)
        if of_source is missing:
            raise about(
                InvalidArgumentError, "images", f"there are {i}, but more sources. Give those of each, or None."
            )
        yield Item(i, source, of_source, name=f"sources[{i}]", of=f"images[{i}]")
    if next(images, missing) is not missing:
        raise about(InvalidArgumentError, "images", "there are more than sources.")
