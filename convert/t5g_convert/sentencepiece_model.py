"""tokenizer.model: sentencepiece proves it sound; the types of its pieces, which sentencepiece hides, are read here.

The file is one protocol-buffer message. Only four of its fields matter, so a reader of the wire format is enough.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t5g.errors import ModelFormatError

from t5g_convert.folders import check_pointer
from t5g_convert.vocabulary import NORMAL, Vocabulary

_PIECES, _TRAINER, _NORMALISER = 1, 2, 3  # fields of ModelProto
_TEXT, _SCORE, _TYPE = 1, 2, 3  # fields of a piece
_MODEL_TYPE, _BPE = 3, 2  # field of TrainerSpec
_ADD_DUMMY_PREFIX, _REMOVE_EXTRA_WHITESPACES = 3, 4  # fields of NormalizerSpec
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


def read_sentencepiece(path: Path) -> Vocabulary:
    """Read a SentencePiece BPE model. Raises ModelFormatError for any other kind of file."""
    import sentencepiece

    data = path.read_bytes()
    check_pointer(path, data)
    if not data:
        raise ModelFormatError(f"{path}: the file is empty.")
    try:
        n_pieces = sentencepiece.SentencePieceProcessor(model_proto=data).get_piece_size()
        vocabulary = _parse(path, data)
    except (RuntimeError, ValueError, struct.error, LookupError) as error:
        if isinstance(error, ModelFormatError):
            raise
        raise ModelFormatError(f"{path}: not a SentencePiece model ({error}).") from error
    if len(vocabulary.pieces) != n_pieces:
        raise ModelFormatError(f"{path}: {len(vocabulary.pieces)} pieces, where sentencepiece finds {n_pieces}.")
    return vocabulary


def _parse(path: Path, data: bytes) -> Vocabulary:
    vocabulary = Vocabulary([], [], [], "tokenizer.model")
    for number, value in _fields(data):
        if number == _PIECES:
            piece = dict(_fields(value))
            vocabulary.pieces.append(piece[_TEXT].decode("utf-8"))
            vocabulary.scores.append(struct.unpack("<f", piece.get(_SCORE, b"\0\0\0\0"))[0])
            vocabulary.types.append(piece.get(_TYPE, NORMAL))
        elif number == _TRAINER and dict(_fields(value)).get(_MODEL_TYPE, 1) != _BPE:
            raise ModelFormatError(f"{path}: a SentencePiece model that is not BPE, which no T5Gemma has.")
        elif number == _NORMALISER:
            flags = dict(_fields(value))
            if flags.get(_ADD_DUMMY_PREFIX, 1):
                vocabulary.notes.append("tokenizer.model puts a space before every text, which t5g does not.")
            if flags.get(_REMOVE_EXTRA_WHITESPACES, 1):
                vocabulary.notes.append("tokenizer.model removes extra white space, which t5g does not.")
    return vocabulary


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (field number, value) of one message: an int for varints, bytes for all else."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if length > len(data) - position:
            raise ValueError("a field ends beyond the file")
        yield number, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a varint of more than 64 bits")
