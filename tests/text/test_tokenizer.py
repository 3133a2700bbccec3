"""The rules of the tokenizer, one by one, on a vocabulary small enough to work them out by hand."""

from __future__ import annotations

import math
import threading

import pytest
import t5g
from support.toy_vocabulary import BOS, NORMAL, UNK, Arrays, arrays

TOY = arrays()


@pytest.fixture(scope="module")
def toy():
    return TOY.tokenizer()


def pieces(tokenizer, text, **options):
    """The pieces of a text, without bos."""
    return [tokenizer.piece(i) for i in tokenizer.encode(text, **{"add_special_tokens": False, **options})]


# Encoding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a", ["a"]),
        ("abc", ["abc"]),
        ("bcab", ["bc", "ab"]),
        ("abab", ["ab", "ab"]),
        ("abb", ["ab", "b"]),
        ("cabcc", ["c", "abc", "c"]),
        (" abc", ["▁abc"]),
        ("model", ["model"]),
    ],
)
def test_joins_the_best_pair_first(toy, text, expected):
    assert pieces(toy, text) == expected


def test_joins_the_leftmost_of_equal_pairs():
    vocabulary = arrays()
    same = Arrays(vocabulary.pieces, [0.0] * len(vocabulary.scores), vocabulary.types).tokenizer()
    assert pieces(same, "abc") == ["abc"]
    assert pieces(same, "bcab") == ["bc", "ab"]
    assert pieces(same, "aabcb") == ["a", "abc", "b"]


def test_a_piece_that_no_joins_lead_to_is_never_made():
    # "model" needs "mode" + "l" or "mod" + "el"; "user" needs "us" + "er".
    rows = [row for row in zip(*TOY, strict=True) if row[0] not in ("er", "mode")]
    tokenizer = Arrays(*map(list, zip(*rows, strict=True))).tokenizer()
    assert pieces(tokenizer, "user") == ["us", "e", "r"]
    assert pieces(tokenizer, "model") == ["mo", "de", "l"]


def test_spaces_are_kept_as_they_are(toy):
    assert pieces(toy, " a ") == ["▁a", "▁"]
    assert pieces(toy, "a b") == ["a", "▁", "b"]
    assert pieces(toy, "l d") == ["l▁", "d"]
    assert toy.encode("▁a") == toy.encode(" a")


def test_user_defined_pieces_are_matched_first_and_longest(toy):
    assert pieces(toy, "a  abc") == ["a", "▁▁", "abc"]
    assert pieces(toy, "     a") == ["▁▁▁", "▁▁", "a"]
    assert pieces(toy, "a\n\n\nb") == ["a", "\n\n", "\n", "b"]
    assert pieces(toy, "a<b>c") == ["a", "<b>", "c"]


def test_bos_comes_first_where_the_vocabulary_says_so(toy):
    assert toy.encode("") == [BOS]
    assert toy.encode("a")[0] == BOS
    assert toy.encode("a", add_special_tokens=False) == toy.encode("a")[1:]
    assert TOY.tokenizer(prefix_ids=[]).encode("") == []


def test_special_tokens_in_text_are_matched_only_on_request(toy):
    text = "a<bos><start_of_turn>b<unk>"
    ids = toy.encode(text)
    assert ids[1:].count(BOS) == 0
    assert "<start_of_turn>" not in pieces(toy, text)
    assert toy.decode(ids) == text
    assert pieces(toy, text, parse_special=True) == ["a", "<bos>", "<start_of_turn>", "b", "<unk>"]


def test_some_special_tokens_can_be_allowed_alone(toy):
    start_of_image = toy.find("<start_of_image>")
    text = "a<start_of_image>b<bos>"
    got = pieces(toy, text, also_match=[start_of_image])
    assert got[:3] == ["a", "<start_of_image>", "b"]
    assert "<bos>" not in got


def test_the_longest_of_the_allowed_pieces_wins(toy):
    assert pieces(toy, "<unused7>")[0] == "<unused"
    assert pieces(toy, "<unused7>", parse_special=True) == ["<unused7>"]
    assert pieces(toy, "<unused7", parse_special=True)[0] == "<unused"


def test_unused_pieces_never_come_out(toy):
    assert pieces(toy, "xx") == ["x", "x"]


def test_unknown_characters_become_their_bytes(toy):
    assert pieces(toy, "aña") == ["a", "<0xC3>", "<0xB1>", "a"]
    assert pieces(toy, "<0xC3>")[0] != "<0xC3>"


def test_without_byte_pieces_a_run_of_unknown_characters_is_one_unk():
    tokenizer = arrays(byte_pieces=False).tokenizer(prefix_ids=[])
    assert tokenizer.encode("añña") == [tokenizer.find("a"), UNK, tokenizer.find("a")]
    assert tokenizer.encode("ñ<b>ñ") == [UNK, tokenizer.find("<b>"), UNK]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 1000])
def test_nul_is_a_character(toy, size):
    text = "a\0b" * size
    assert toy.decode(toy.encode(text)) == text


@pytest.mark.parametrize(
    ("broken", "replaced"),
    [
        (b"\xff", 1),  # never in UTF-8
        (b"\x80", 1),  # a continuation of nothing
        (b"\xc3", 1),  # cut
        (b"\xe2\x96", 2),
        (b"\xf0\x9f\x98", 3),
        (b"\xc0\xaf", 2),  # overlong
        (b"\xe0\x80\xaf", 3),
        (b"\xed\xa0\x80", 3),  # a surrogate
        (b"\xf4\x90\x80\x80", 4),  # above U+10FFFF
        (b"\xc3a", 1),
    ],
)
def test_each_broken_byte_counts_as_a_replacement_character(toy, broken, replaced):
    tail = "a" if broken.endswith(b"a") else ""
    assert toy.decode(toy.encode(b"ab" + broken + b"!")) == "ab" + "\ufffd" * replaced + tail + "!"


def test_a_lone_surrogate_in_a_str_is_a_value_error(toy):
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        toy.encode("a\ud800")


@pytest.mark.parametrize("text", [None, 1, ["a"]])
def test_text_of_another_kind_is_a_type_error(toy, text):
    with pytest.raises(TypeError, match="text must be str or bytes"):
        toy.encode(text)


def test_one_tokenizer_serves_many_threads(toy):
    text = "model user abc  \n\n<b>ñé!" * 200
    expected = toy.encode(text)
    results = []
    threads = [threading.Thread(target=lambda: results.append(toy.encode(text))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8


# Decoding


def test_decoding_shows_special_tokens_only_on_request(toy):
    ids = toy.encode("<start_of_turn>a<eos>", parse_special=True)
    assert toy.decode(ids) == "a"
    assert toy.decode(ids, skip_special_tokens=False) == "<bos><start_of_turn>a<eos>"


def test_placeholders_are_shown_as_hugging_face_shows_them(toy):
    ids = toy.encode("<unused7>a<mask>", parse_special=True)
    assert toy.decode(ids) == "<unused7>a<mask>"
    assert toy.is_control(toy.find("<unused7>"))
    assert not toy.is_special(toy.find("<unused7>"))


def test_a_run_of_bytes_is_text_only_as_a_whole(toy):
    byte = [toy.find(f"<0x{value:02X}>") for value in range(256)]
    a = toy.find("a")
    assert toy.decode([byte[0xC3], byte[0xB1]]) == "ñ"
    assert toy.decode([byte[0xC3], a, byte[0xB1]]) == "\ufffda\ufffd"
    assert toy.decode([byte[0xC3], byte[0xB1], byte[0xFF], a]) == "\ufffd" * 3 + "a"
    assert toy.decode([byte[0xC3], BOS, byte[0xB1]]) == "ñ", "a skipped token does not end a run"
    assert toy.decode([byte[0xC3], BOS, byte[0xB1]], skip_special_tokens=False) == "\ufffd<bos>\ufffd"


def test_decoding_turns_the_space_mark_into_a_space(toy):
    assert toy.decode([toy.find("▁abc"), toy.find("▁▁▁"), toy.find("l▁")]) == " abc   l "


@pytest.mark.parametrize("token_id", [-1, len(TOY.pieces), 2**31 - 1, -(2**31)])
def test_an_id_outside_the_vocabulary_is_an_error(toy, token_id):
    for use in (
        lambda: toy.decode([token_id]),
        lambda: toy.piece(token_id),
        lambda: toy.is_control(token_id),
        lambda: toy.encode("a", also_match=[token_id]),
    ):
        with pytest.raises(t5g.InvalidArgumentError, match=rf"token (id|0 is) {token_id}\b.* outside the"):
            use()


# The vocabulary


def test_accessors(toy):
    assert toy.vocab_size == len(TOY.pieces)
    assert (toy.pad_id, toy.eos_id, toy.bos_id, toy.unk_id, toy.prefix_ids) == (0, 1, 2, 3, [BOS])
    assert all(toy.piece(toy.find(piece.replace(" ", "▁"))) == piece.replace(" ", "▁") for piece in TOY.pieces)
    assert toy.find("no such piece") is None
    assert toy.find("") is None


def test_of_two_pieces_with_one_text_the_lower_id_is_used():
    twice = Arrays([*TOY.pieces, "abc", "<b>"], [*TOY.scores, 5.0, 5.0], [*TOY.types, NORMAL, 4]).tokenizer()
    assert pieces(twice, "abc<b>") == ["abc", "<b>"]
    assert max(twice.encode("abc<b>")) < len(TOY.pieces)


def changed(index: int, **values) -> Arrays:
    """The toy vocabulary with one piece changed."""
    copy = Arrays(*(list(column) for column in TOY))
    for name, value in values.items():
        getattr(copy, name)[index] = value
    return copy


FIRST_BYTE = TOY.pieces.index("<0x00>")


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (Arrays([], [], []), "0 pieces, expected 1 to"),
        (Arrays(TOY.pieces, TOY.scores[:-1], TOY.types), "scores and .* types; the three must be equal"),
        (Arrays(TOY.pieces, TOY.scores, [*TOY.types, 1]), "the three must be equal"),
        (changed(5, pieces=""), "piece 5 is empty"),
        (changed(5, pieces=b"\xc3("), "piece 5 is not UTF-8"),
        (changed(5, pieces="x" * 5000), "piece 5 has 5000 bytes"),
        (changed(5, scores=math.nan), "piece 5 has a score that is not a finite number"),
        (changed(5, scores=math.inf), "piece 5 has a score"),
        (changed(5, types=0), "piece 5 has the type 0, expected 1 to 6"),
        (changed(5, types=7), "piece 5 has the type 7"),
        (changed(FIRST_BYTE, types=NORMAL), "no piece for the byte 0;"),
        (changed(FIRST_BYTE, pieces="<0x0g>"), "typed as a byte but reads '<0x0g>'"),
        (changed(FIRST_BYTE, pieces="<0x0>"), "typed as a byte"),
        (changed(FIRST_BYTE, pieces="<0x000>"), "typed as a byte"),
        (changed(FIRST_BYTE, pieces="<0x-1>"), "typed as a byte"),
        (changed(FIRST_BYTE, pieces="<0x01>"), "no piece for the byte 0;"),
    ],
)
def test_arrays_that_are_no_vocabulary_are_refused(vocabulary, message):
    with pytest.raises(t5g.ModelFormatError, match=message):
        vocabulary.tokenizer()


@pytest.mark.parametrize("name", ["bos_id", "eos_id", "unk_id", "pad_id"])
@pytest.mark.parametrize("value", [-1, len(TOY.pieces), 2**40])
def test_special_ids_outside_the_vocabulary_are_refused(name, value):
    with pytest.raises(t5g.ModelFormatError, match=f"_token_id is {value}, expected 0 to {len(TOY.pieces) - 1}"):
        TOY.tokenizer(**{name: value})
