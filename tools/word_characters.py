"""Prints csrc/text/word_characters.inc: the characters that Hugging Face's tokenizers take for parts of words."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import AddedToken, Tokenizer, models

_BATCH = 20_000
_WIDTH = 120
_HEADER = (
    "// Ranges of the characters that count as parts of words, first and last of each: alphabetic ones, marks,\n"
    "// decimal digits, connecting punctuation and joiners. Made by tools/word_characters.py."
)


def word_characters() -> Iterator[int]:
    """Yield every code point beside which a token that is a single word is not matched."""
    tokenizer = Tokenizer(models.BPE({"<unk>": 0}, [], unk_token="<unk>"))
    tokenizer.add_tokens([AddedToken("<w>", single_word=True, normalized=False)])
    word = tokenizer.token_to_id("<w>")
    codes = [i for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    for begin in range(0, len(codes), _BATCH):
        batch = codes[begin : begin + _BATCH]
        for code, encoding in zip(batch, tokenizer.encode_batch([f"<w>{chr(i)}" for i in batch]), strict=True):
            if word not in encoding.ids:
                yield code


def main() -> None:
    """Join neighbours to ranges and fill lines."""
    ranges: list[list[int]] = []
    for code in word_characters():
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    print(_HEADER)
    line = ""
    for first, last in ranges:
        item = f"{{0x{first:X}, 0x{last:X}}},"
        if line and len(line) + len(item) + 1 > _WIDTH:
            print(line)
            line = ""
        line += f" {item}" if line else item
    print(line)


if __name__ == "__main__":
    main()
