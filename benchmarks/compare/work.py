"""What is compared: one row per piece of work, and which peer does the same work in which of its own types."""

from __future__ import annotations

from typing import NamedTuple

N_NEW_TOKENS = 64


class Work(NamedTuple):
    """A piece of work that any peer can be asked for."""

    kind: str  # "encode", "decode" or "image"
    source_tokens: int = 0
    batch: int = 1
    beams: int = 1
    all_logits: bool = False  # t5g: sampled with top_k=1, so that the head is not searched

    def label(self) -> str:
        if self.kind == "image":
            return "image 896 x 896"
        more = f", batch {self.batch}" if self.batch > 1 else ""
        more += f", {self.beams} beams" if self.beams > 1 else ""
        more += ", all logits" if self.all_logits else ""
        return f"{self.kind} {'@ ' if self.kind == 'decode' else ''}{self.source_tokens}{more}"


class Variant(NamedTuple):
    """One type of t5g's, and the peers' types that hold the same number of bits."""

    name: str
    peers: dict[str, str]  # peer -> its type
    works: tuple[Work, ...]


LENGTHS = (128, 256, 512, 2048)  # 256: the longest that CTranslate2 computes right
ENCODE = tuple(Work("encode", n) for n in LENGTHS)
DECODE = Work("decode", 512)

VARIANTS: dict[str, tuple[Variant, ...]] = {
    "270m": (
        Variant(
            "q8_0",
            {"llama.cpp": "q8_0", "ctranslate2": "int8", "transformers": "bf16"},
            (
                *ENCODE,
                DECODE,
                DECODE._replace(all_logits=True),
                Work("decode", 4096),
                Work("decode", 512, batch=8),
                Work("decode", 512, beams=4),
            ),
        ),
        Variant("bf16", {"llama.cpp": "bf16", "transformers": "bf16"}, (Work("encode", 512), DECODE)),
        Variant("q4_0", {"llama.cpp": "q4_0, q8_0 head"}, (Work("encode", 512), DECODE)),
        Variant("q4_0 pure", {"llama.cpp": "q4_0"}, (Work("encode", 512), DECODE)),
    ),
    "1b": (
        Variant("q8_0", {"llama.cpp": "q8_0"}, (Work("encode", 512), DECODE)),
        Variant("q4_0", {"llama.cpp": "q4_0, q8_0 head"}, (Work("encode", 512), DECODE)),
    ),
    "image": (Variant("q8_0", {"transformers": "bf16"}, (Work("image"),)),),
}


def can(peer: str, work: Work) -> bool:
    """Whether a peer does this work at all: llama-bench knows neither beams nor batches, and has no image tower."""
    if peer == "llama.cpp":
        return work.kind != "image" and work.batch == work.beams == 1
    return work.kind != "image" or peer in ("t5g", "transformers")


def source_ids(n: int, seed: int = 0) -> list[int]:
    """Any tokens: speed does not depend on which."""
    return [2, *((i * 7919 + seed * 104729) % 200000 + 300 for i in range(n - 1))][:n]
