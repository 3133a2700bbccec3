"""A small SentencePiece-BPE tokenizer with Gemma's conventions, in both forms in which checkpoints ship it.

Ids 0-3 are pad, eos, bos, unk; 4 is mask; 5-9 are the turn and image tokens; 256 byte pieces follow, then pieces learnt
from a few sentences. Training is deterministic, so committed goldens can rely on the ids.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from support.cases import BOI, BOS, END_OF_TURN, EOI, EOS, IMAGE, N_PIECES, PAD, START_OF_TURN, UNK

CONTROL = ("<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>")
CORPUS = """the quick brown fox jumps over the lazy dog and the dog does not mind
a model reads the source once and then writes the target one token at a time
the encoder sees the whole text, the decoder only what it has written so far
short words and long words, numbers 0123456789 and signs !?.,:;-()
le chat est sur la table et la souris danse; der Hund und die Katze schlafen
"""


def sentencepiece_model() -> bytes:
    """Train and return a serialized ``tokenizer.model``."""
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.splitlines()),
        model_writer=out,
        model_type="bpe",
        vocab_size=N_PIECES,
        control_symbols=list(CONTROL),
        pad_id=PAD,
        eos_id=EOS,
        bos_id=BOS,
        unk_id=UNK,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return out.getvalue()


def tokenizer_json(model: bytes) -> str:
    """Hugging Face ``tokenizer.json`` with the pieces and merges of a SentencePiece model."""
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocab = {sp.id_to_piece(i): i for i in range(sp.vocab_size())}
    merges = []
    for piece, piece_id in vocab.items():
        if sp.is_byte(piece_id) or sp.is_control(piece_id) or sp.is_unknown(piece_id):
            continue
        splits = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        splits = [(left, right) for left, right in splits if left in vocab and right in vocab]
        splits.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        merges += [(-sp.get_score(piece_id), pair) for pair in splits]
    merges.sort(key=lambda ranked: ranked[0])
    tokenizer = Tokenizer(
        models.BPE(vocab, [pair for _, pair in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer.to_str(pretty=False)


def write_tokenizer(folder: Path, files: tuple[str, ...], *, add_bos: bool) -> None:
    """Put the tokenizer files that a checkpoint of the family has into `folder`."""
    model = sentencepiece_model()
    if "tokenizer.model" in files:
        (folder / "tokenizer.model").write_bytes(model)
    if "tokenizer.json" in files:
        (folder / "tokenizer.json").write_text(tokenizer_json(model), encoding="utf-8")
    config = {
        "add_bos_token": add_bos,
        "add_eos_token": False,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "tokenizer_class": "GemmaTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


assert (START_OF_TURN, END_OF_TURN, BOI, EOI, IMAGE) == (5, 6, 7, 8, 9)
