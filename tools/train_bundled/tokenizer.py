"""A SentencePiece BPE tokenizer with Gemma's conventions, saved as tokenizer.model and as a Hugging Face tokenizer."""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece as spm
from transformers import GemmaTokenizer
from transformers.tokenization_utils_sentencepiece import SentencePieceExtractor

PAD, EOS, BOS, UNK = 0, 1, 2, 3
SENTINELS = [f"<unused{i}>" for i in range(24)]  # Gemma keeps unused pieces; denoising marks its gaps with them
IMAGE = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
# <mask> is 4 as in Gemma. Newlines are listed because SentencePiece trains on single lines and never sees one.
USER_DEFINED = ["<mask>", *SENTINELS, "<start_of_turn>", "<end_of_turn>", *IMAGE, "\n", "\n\n"]


def train_tokenizer(lines: list[str], pieces: int, out: Path) -> None:
    """Train on ``lines`` and write into ``out`` what SentencePiece and GemmaTokenizer load."""
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=pieces,
        byte_fallback=True,
        character_coverage=0.9999,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        pad_id=PAD,
        eos_id=EOS,
        bos_id=BOS,
        unk_id=UNK,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        user_defined_symbols=USER_DEFINED,
        minloglevel=1,
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "tokenizer.model"
    path.write_bytes(model.getvalue())
    vocab, _, merges = SentencePieceExtractor(str(path)).extract()
    GemmaTokenizer(vocab=vocab, merges=merges, add_bos_token=True).save_pretrained(out)
    # Sources begin with <bos> in T5Gemma 2, and in training here; the class leaves it to this setting.
    config = out / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) | {"add_bos_token": True}
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
