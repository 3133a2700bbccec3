"""Stop strings in a text that arrives in pieces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.testing_module import sampling
from t5g import _core


def run(stops, pieces):
    """The text given out piece by piece with what was held back at the end, and whether a stop string was found."""
    matcher = sampling.StopMatcher(stops)
    parts = [matcher.feed(piece).decode() for piece in pieces]
    return [*parts, matcher.flush().decode()], matcher.matched


def reference(stops, text):
    """The text before the stop string that is complete first, the longest of those that end together."""
    ends = [(text.index(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
    if not ends:
        return text, False
    end, minus_length = min(ends)
    return text[: end + minus_length], True


def test_text_without_a_stop_string_comes_out_at_once():
    assert run(["END"], ["abc", "def"]) == (["abc", "def", ""], False)


def test_what_could_be_a_stop_string_is_held_back_until_it_is_not():
    assert run(["END"], ["aE", "N", "xE"]) == (["a", "", "ENx", "E"], False)


def test_a_stop_string_across_pieces_is_cut_off_with_all_that_follows():
    assert run(["END"], ["one E", "N", "D two", " three"]) == (["one ", "", "", "", ""], True)


def test_the_stop_string_that_is_complete_first_wins():
    assert run(["bcdef", "cd"], ["abcdef"]) == (["ab", ""], True)
    assert run(["cd", "bcd"], ["abcdef"]) == (["a", ""], True)


def test_overlapping_beginnings_are_not_lost():
    assert run(["aab"], ["a", "a", "a", "b"]) == (["", "", "a", "", ""], True)


def test_characters_are_held_back_whole():
    assert run(["\u00e8"], ["caf\u00e9"]) == (["caf\u00e9", ""], False)
    assert run(["\U0001f600!"], ["hi \U0001f600", "?"]) == (["hi ", "\U0001f600?", ""], False)


def test_no_stop_strings_hold_nothing_back():
    assert run([], ["a", "", "b"]) == (["a", "", "b", ""], False)


def test_an_empty_stop_string_is_refused():
    with pytest.raises(_core.InvalidArgumentError, match="a stop string must not be empty"):
        sampling.StopMatcher(["a", ""])


@settings(max_examples=500, deadline=None)
@given(
    stops=st.lists(st.text("ab\u00e9", min_size=1, max_size=5), max_size=4),
    pieces=st.lists(st.text("ab\u00e9", max_size=6), max_size=10),
)
def test_the_result_does_not_depend_on_the_pieces(stops, pieces):
    parts, matched = run(stops, pieces)
    assert ("".join(parts), matched) == reference(stops, "".join(pieces))


@settings(max_examples=300, deadline=None)
@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=3),
    pieces=st.lists(st.text("ab", max_size=4), max_size=8),
)
def test_nothing_is_held_back_longer_than_needed(stops, pieces):
    matcher = sampling.StopMatcher(stops)
    text, out = "", ""
    for piece in pieces:
        text += piece
        out += matcher.feed(piece).decode()
        if matcher.matched:
            return
        could_begin = [text[i:] for i in range(len(text)) if any(stop.startswith(text[i:]) for stop in stops)]
        assert text == out + max(could_begin, key=len, default="")


def test_a_long_text_takes_linear_time():
    matcher = sampling.StopMatcher(["a" * 5000 + "b"])
    assert matcher.feed("a" * 1_000_000) == b"a" * (1_000_000 - 5000)
