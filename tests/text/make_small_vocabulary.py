"""Writes tests/data/small_vocabulary.json, and the ids that sentencepiece gives with it: small_vocabulary_goldens.json.

    PYTHONPATH=python:tests python tests/text/make_small_vocabulary.py

The vocabulary is made like Gemma's: BPE with byte fallback, digits one by one, runs of line breaks, tabs and spaces and
some tags as user-defined pieces, control pieces for turns, images and later use. Learnt from the sentences of
support/texts.py, so anybody may use it.
"""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import sentencepiece
from support.sentencepiece_model import processor
from support.texts import CODE, ODD, SENTENCES, SPECIAL, mixtures
from support.toy_vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Arrays

DATA = Path(__file__).parents[1] / "data"
VOCABULARY, GOLDENS = DATA / "small_vocabulary.json", DATA / "small_vocabulary_goldens.json"
RUNS = [mark * n for mark in "\n\t▁" for n in range(1, 32) if (mark, n) != ("▁", 1)]
TAGS = ["[multimodal]", "<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>", "<b>", "</b>"]
RESERVED = ["<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"]
RESERVED += [f"<unused{i}>" for i in (*range(12), 98, 6237)]


def train() -> Arrays:
    """Learn the pieces. Deterministic."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((*SENTENCES * 2, *(line for code in CODE for line in code.splitlines()))),
        model_writer=out,
        model_type="bpe",
        vocab_size=2000,
        character_coverage=0.998,
        control_symbols=RESERVED,
        user_defined_symbols=RUNS + TAGS,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        byte_fallback=True,
        split_digits=True,
        split_by_unicode_script=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    learnt = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    vocabulary = Arrays([], [], [])
    for i in range(learnt.vocab_size()):
        piece, score, kind = learnt.id_to_piece(i), learnt.get_score(i), NORMAL
        if learnt.is_unknown(i):
            kind = UNKNOWN
        elif learnt.is_control(i):
            kind = CONTROL
        elif learnt.is_byte(i):
            kind = BYTE
        elif piece in RUNS or piece in TAGS:
            piece, kind = piece.replace("▁", " "), USER_DEFINED  # as GGUF files have it
        vocabulary.pieces.append(piece)
        vocabulary.scores.append(score)
        vocabulary.types.append(kind)
    return vocabulary


def goldens(vocabulary: Arrays) -> list[dict[str, object]]:
    """Encode texts with sentencepiece, without special pieces matched and, where that differs, with."""
    plain, special = (processor(vocabulary, match_control=match) for match in (False, True))
    rng = random.Random(0)
    texts = [*SENTENCES, *CODE, *ODD, *mixtures(rng, 100, SPECIAL * 10)]
    records = []
    for text in dict.fromkeys(texts):
        record: dict[str, object] = {"text": text, "ids": plain.encode(text)}
        found = any(
            piece in text for piece in ("<pad>", "<eos>", "<bos>", "<unk>")
        )  # sentencepiece never matches these
        if not found and (ids := special.encode(text)) != record["ids"]:
            record["ids_with_special"] = ids
        records.append(record)
    return records


def main() -> None:
    vocabulary = train()
    VOCABULARY.write_text(json.dumps(vocabulary._asdict(), ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ",\n".join(json.dumps(record) for record in goldens(vocabulary))
    GOLDENS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
