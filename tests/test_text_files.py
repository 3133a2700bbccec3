"""Text as people have it: marks, encodings, damaged bytes, and the lines of JSONL files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from t5g.errors import InvalidArgumentError
from t5g.evaluation import Pair, read_pairs
from t5g.text_files import decode, json_lines, parse_json, printable, read_json, read_text

TEXT = "Grüße, 世界 \u2028 𝄞"
MARKED = ["utf-8-sig", "utf-16", "utf-32"]
BIG_ENDIAN = {"utf-16-be": b"\xfe\xff", "utf-32-be": b"\x00\x00\xfe\xff"}


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("named", [None, "utf-8", "latin-1"])
def test_a_mark_says_what_a_text_is(encoding: str, named: str | None) -> None:
    assert decode(TEXT.encode(encoding), "text", encoding=named) == TEXT


@pytest.mark.parametrize(("encoding", "mark"), BIG_ENDIAN.items())
def test_big_endian_marks(encoding: str, mark: bytes) -> None:
    assert decode(mark + TEXT.encode(encoding), "text") == TEXT


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16", "utf-32-be", "gb18030"])
def test_an_encoding_that_is_named(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.encode(encoding))
    assert read_text(tmp_path / "a.txt", encoding=encoding) == TEXT


def test_utf_16_that_is_named_needs_no_mark() -> None:
    assert decode("abc".encode("utf-16-le"), "text", encoding="utf-16") == "abc"


@pytest.mark.parametrize(
    ("data", "offset", "byte", "encoding"),
    [
        (b"caf\xe9 ole", 3, "0xe9", "UTF-8"),
        (b"\xef\xbb\xbfab\xff", 5, "0xff", "UTF-8"),
        (b"abc\xe4\xbd", 3, "0xe4", "UTF-8"),
        (b"\xff\xfea\0\x00\xdc", 4, "0x00", "UTF-16-LE"),
        (b"\xff\xfea\0b", 4, "0x62", "UTF-16-LE"),
    ],
)
def test_a_byte_that_is_no_text_is_named(data: bytes, offset: int, byte: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(InvalidArgumentError) as info:
        read_text(path)
    assert str(info.value).startswith(f"{path}: byte {offset} ({byte}) is not {encoding}. ")
    assert "--errors replace" in str(info.value)
    assert "\ufffd" in read_text(path, errors="replace")


@pytest.mark.parametrize("encoding", ["utf-9", "base64", "", "a\0b"])
def test_a_name_that_is_no_encoding(encoding: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not a text encoding"):
        decode(b"", "text", encoding=encoding or " ")


@pytest.mark.parametrize("encoding", [*MARKED, "utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_json_tells_its_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({"text": TEXT}, ensure_ascii=False).encode(encoding))
    assert read_json(path) == {"text": TEXT}


def test_json_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for data, message in (
        (b'{"a": "caf\xe9"}', r"a\.json: byte 10 \(0xe9\) is not UTF-8\. Save it as UTF-8\."),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (rb'"\ud800"', "surrogate"),
    ):
        path.write_bytes(data)
        with pytest.raises(InvalidArgumentError, match=message):
            read_json(path)
    assert parse_json(r'"\ud834\udd1e"', "text") == "𝄞"


ROWS = [{"text": TEXT}, {"text": "ਊ Ċ \u0a0a\u0a00"}, {"n": 1}]  # with bytes 0x0A inside characters


@pytest.mark.parametrize("encoding", [*MARKED, "utf-8", "utf-16-le", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_any_encoding(encoding: str, end: str) -> None:
    text = end.join([json.dumps(row, ensure_ascii=False) for row in ROWS])
    for ending in ("", end):
        data = (text + ending).encode(encoding)
        lines = list(json_lines(io.BytesIO(data), "a"))
        assert [line.parse() for line in lines] == ROWS
        assert [line.number for line in lines] == [1, 2, 3]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", ["", "\n", "1\n2", "\n\n3\n", "{}\n"])
def test_short_lines(encoding: str, text: str) -> None:
    lines = json_lines(io.BytesIO(text.encode(encoding)), "a")
    found = [None if line.is_blank() else line.parse() for line in lines]
    expected = [json.loads(part) if part else None for part in text.removesuffix("\n").split("\n")] if text else []
    assert found == expected


def test_a_damaged_line_does_not_hide_the_others() -> None:
    lines = list(
        json_lines(io.BytesIO(b'\xef\xbb\xbf{"a": 1}\n{"a": "\xff"}\nnonsense\n\xef\xbb\xbf{"a": 2}'), "f.jsonl")
    )
    assert (lines[0].parse(), lines[3].parse()) == ({"a": 1}, {"a": 2})
    with pytest.raises(InvalidArgumentError, match=r"f\.jsonl: line 2: byte 19 \(0xff\) is not UTF-8"):
        lines[1].parse()
    assert lines[1].parse("replace") == {"a": "\ufffd"}
    with pytest.raises(InvalidArgumentError, match=r"f\.jsonl: line 3: not valid JSON"):
        lines[2].parse()


def test_the_first_line_is_given_before_the_second_is_there() -> None:
    class Slow(io.BytesIO):
        def readline(self, size: int | None = -1) -> bytes:
            if self.tell() == len(self.getvalue()):
                raise AssertionError("waits for the second line")
            return super().readline(size)

    for data in (b"[1]\n", b"1\n", b"[123]\n"):
        assert next(json_lines(Slow(data), "a")).parse() == json.loads(data)


def test_lines_that_cannot_be_told_apart() -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be told apart"):
        next(json_lines(io.BytesIO(b""), "a", encoding="cp037"))


def test_names_of_files_that_are_no_text() -> None:
    assert printable(b"caf\xe9.txt".decode("utf-8", "surrogateescape")) == "caf\\xe9.txt"
    assert printable(Path("Grüße")) == "Grüße"


@pytest.mark.parametrize("encoding", [*MARKED, "utf-8"])
def test_pairs_of_any_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    row = json.dumps({"source": TEXT, "target": "t"}, ensure_ascii=False)
    path.write_bytes(f"{row}\r\n\r\n{row}".encode(encoding))
    assert read_pairs(path) == [Pair(TEXT, "t")] * 2


def test_pairs_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b'{"source": "caf\xe9", "target": ""}')
    with pytest.raises(InvalidArgumentError, match=r"pairs\.jsonl: line 1: byte 15 \(0xe9\) is not UTF-8"):
        read_pairs(path)
    assert read_pairs(path, encoding="latin-1") == [Pair("café", "")]
    assert read_pairs(path, errors="replace") == [Pair("caf\ufffd", "")]
