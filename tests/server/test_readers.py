"""The readers of sources: each is woken for what it can take, in order, and nothing is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from support.serving import wait_until
from t5g import _core
from t5g.server.readers import SHORT, Readers


class Hall:
    """Readers of a batch that has so many places, and what they have run."""

    def __init__(self) -> None:
        self.places = 0
        self.ran: list[str] = []
        self.readers = Readers(lambda: self.places > 0)

    def put(self, name: str, n_tokens: int = 5, *, for_batch: bool = False) -> _core.StopFlag:
        return self.put_work(lambda: self.ran.append(name), n_tokens, for_batch=for_batch)

    def put_work(self, work: Callable[[], None], n_tokens: int = 5, *, for_batch: bool = False) -> _core.StopFlag:
        stop = _core.StopFlag()
        self.readers.put(n_tokens, work, stop, for_batch=for_batch)
        return stop

    def hold(self, n_tokens: int) -> threading.Event:
        """Keep a reader at work until the event is set."""
        begun, go_on = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            go_on.wait(60)

        self.put_work(work, n_tokens)
        assert begun.wait(60)
        return go_on


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    hall.readers.close()


def test_sources_for_the_batch_wait_for_room_and_others_do_not(hall: Hall) -> None:
    hall.put("for the batch", for_batch=True)
    hall.put("alone")
    wait_until(lambda: hall.ran == ["alone"])
    hall.places = 1
    hall.readers.look_again()
    wait_until(lambda: hall.ran == ["alone", "for the batch"])


def test_what_was_stopped_has_its_turn_without_room(hall: Hall) -> None:
    hall.put("first", for_batch=True)
    stop = hall.put("stopped", for_batch=True)
    stop.set()
    hall.readers.look_again()
    wait_until(lambda: hall.ran == ["stopped"])


def test_one_reader_is_kept_from_long_sources(hall: Hall) -> None:
    go_on = hall.hold(SHORT + 1)
    hall.put("long", SHORT + 1)
    hall.put("short")
    wait_until(lambda: hall.ran == ["short"])
    go_on.set()
    wait_until(lambda: hall.ran == ["short", "long"])


def test_a_short_source_leaves_the_reader_of_long_ones_free(hall: Hall) -> None:
    go_on = hall.hold(1)
    hall.put("long", SHORT + 1)
    wait_until(lambda: hall.ran == ["long"])
    go_on.set()


def test_nothing_is_forgotten_when_many_come_at_once(hall: Hall) -> None:
    def come(name: str) -> None:
        for i in range(200):
            hall.put(f"{name} {i}", for_batch=i % 2 == 0)
            if i % 7 == 0:
                hall.places = 1
                hall.readers.look_again()

    threads = [threading.Thread(target=come, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(hall.ran) == 800)
    assert len(set(hall.ran)) == 800
