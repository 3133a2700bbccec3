"""The rules of added tokens, one by one, on a vocabulary small enough to work them out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import t5g
from support.toy_vocabulary import CONTROL, EOS, USER_DEFINED, Arrays, arrays

STRIP_LEFT, STRIP_RIGHT, SINGLE_WORD, NORMALIZED, MERGEABLE = 1, 2, 4, 8, 16


def tokenizer(*added: tuple[str, int, int], **settings: Any) -> Any:
    """The toy vocabulary, in which nothing but `added` (text, type and flags of each) is taken out of a text."""
    toy = arrays()
    rows = {piece: [score, kind] for piece, score, kind in zip(*toy, strict=True) if kind != USER_DEFINED}
    for content, kind, _ in added:
        rows.setdefault(content, [-100.0, kind])[1] = kind
    vocabulary = Arrays(list(rows), *(list(column) for column in zip(*rows.values(), strict=True)))
    flags = [(vocabulary.pieces.index(content), flags) for content, _, flags in added]
    return vocabulary.tokenizer(added_tokens=flags, **settings)


def pieces(native: Any, text: str, **options: Any) -> list[str]:
    """The pieces of a text, without bos."""
    return [native.piece(i) for i in native.encode(text, **{"add_special_tokens": False, **options})]


def test_without_rules_nothing_is_stripped() -> None:
    assert pieces(tokenizer(("<b>", USER_DEFINED, 0)), "a <b> a") == ["a", "▁", "<b>", "▁a"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (STRIP_LEFT, ["a", "<b>", "▁", "▁a"]),
        (STRIP_RIGHT, ["a", "▁", "▁", "<b>", "a"]),
        (STRIP_LEFT | STRIP_RIGHT, ["a", "<b>", "a"]),
    ],
)
def test_white_space_beside_a_token_goes_with_it(flags: int, expected: list[str]) -> None:
    native = tokenizer(("<b>", USER_DEFINED, flags))
    assert pieces(native, "a  <b>  a") == expected
    assert pieces(native, "a\u3000 <b> \u2003a")[-1] in ("a", "▁a")


@pytest.mark.parametrize(
    ("text", "is_matched"),
    [("ab", True), ("c ab d", True), (".ab!", True), ("cab", False), ("abc", False), ("éab", False), ("ab_", False)],
)
def test_a_single_word_has_no_letter_beside_it(text: str, is_matched: bool) -> None:
    native = tokenizer(("ab", USER_DEFINED, SINGLE_WORD))
    assert ("ab" in pieces(native, text)) is is_matched


def test_a_single_word_that_is_not_matched_is_made_by_bpe_where_that_can() -> None:
    assert pieces(tokenizer(("ab", USER_DEFINED, SINGLE_WORD | MERGEABLE)), "abd") == ["ab", "d"]
    assert pieces(tokenizer(("ab", USER_DEFINED, SINGLE_WORD)), "abd") == ["a", "b", "d"]


def test_normalized_tokens_are_matched_after_the_others_and_where_spaces_are_marks() -> None:
    native = tokenizer(("b c", USER_DEFINED, NORMALIZED), ("a b", USER_DEFINED, 0))
    assert pieces(native, "a b c") == ["a b", "▁", "c"]
    assert pieces(native, "b c") == pieces(native, "b▁c") == ["b c"]
    assert pieces(native, "a▁b") == ["a", "▁", "b"]


def test_special_tokens_are_matched_on_request() -> None:
    native = tokenizer(("<q>", CONTROL, 0), ("<s>", USER_DEFINED, 0))
    assert pieces(native, "a<q><s>", parse_special=True) == ["a", "<q>", "<s>"]
    assert pieces(native, "a<q><s>") == ["a", "<", "<0x71>", ">", "<s>"]
    assert native.decode(native.encode("a<q><s>", parse_special=True)) == "a<s>"


def test_the_longest_token_hides_others_also_where_it_is_not_matched() -> None:
    native = tokenizer(("<ab>", CONTROL, 0), ("ab", USER_DEFINED, 0), ("<ab", USER_DEFINED, 0))
    assert pieces(native, "<ab>") == ["<", "a", "b", ">"]
    assert pieces(native, "<ab") == ["<ab"]


def test_placeholders_are_special_where_the_rules_say_so() -> None:
    for kind, shown in ((CONTROL, "a"), (USER_DEFINED, "<unused7>a")):
        native = tokenizer(("<unused7>", kind, 0))
        assert native.decode(native.encode("<unused7>a", parse_special=True)) == shown


def test_prefix_and_suffix_go_around_a_text() -> None:
    native = tokenizer(("<q>", CONTROL, 0), prefix_ids=[5, 6], suffix_ids=[EOS])
    assert native.encode("") == [5, 6, EOS]
    assert native.encode("a")[:2] == [5, 6]
    assert native.encode("a")[-1] == EOS
    assert native.encode("a", add_special_tokens=False) == [native.find("a")]
    assert (native.prefix_ids, native.suffix_ids) == ([5, 6], [EOS])


def test_merges_win_over_scores() -> None:
    toy = arrays()
    # By score "bc" never meets "a" as "abc" does; by these merges only "b" "c" join.
    native = toy.tokenizer(merges=["b c", "a b"])
    assert pieces(native, "abc") == ["a", "bc"]
    assert pieces(native, "abd") == ["ab", "d"]
    assert pieces(toy.tokenizer(), "abc") == ["abc"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"added_tokens": [(-1, 0)]}, "added token -1"),
        ({"added_tokens": [(10_000, 0)]}, "added token 10000"),
        ({"added_tokens": [(5, 32)]}, "flags 32, expected"),
        ({"prefix_ids": [10_000]}, "is 10000, expected 0 to"),
        ({"suffix_ids": [-1]}, "is -1, expected 0 to"),
        ({"merges": ["ab"]}, "merge 0 is 'ab', expected two pieces"),
        ({"merges": ["a b", "a zz"]}, "merge 1 is 'a zz', of which the vocabulary lacks"),
    ],
)
def test_rules_that_fit_no_vocabulary_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(t5g.ModelFormatError, match=message):
        arrays().tokenizer(**settings)


def test_a_character_takes_the_place_of_its_missing_byte() -> None:
    toy = arrays()
    toy.pieces[toy.pieces.index("<0x09>")] = "\t"
    toy.types[toy.pieces.index("\t")] = 1
    native = toy.tokenizer()
    assert pieces(native, "a\tb") == ["a", "\t", "b"]
    assert native.decode(native.encode("a\tbñ")) == "a\tbñ"
