"""The named shapes on which t5g is compared with transformers: one row per way in which a forward pass can go wrong.

Every row is as small as it can be while its sources and targets still reach beyond the sliding window, its head counts
and widths still differ from each other, and its scale differs from head_dim**-0.5 where a mix-up would show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PAD, EOS, BOS, UNK = 0, 1, 2, 3
# Fixed places in the small vocabulary of support.tokenizers (control tokens follow the first four).
START_OF_TURN, END_OF_TURN, BOI, EOI, IMAGE = 5, 6, 7, 8, 9
N_PIECES = 384
IMAGE_TOKENS = 4  # of one image
# Many ids end generation, because one alone would hardly ever come up in a random model's text.
END_IDS = (EOS, END_OF_TURN, *range(350, 370))


@dataclass(frozen=True)
class Case:
    """One random checkpoint: its shape, how long its inputs are and how its weights are drawn."""

    name: str
    architecture: str
    encoder: Mapping[str, Any]
    decoder: Mapping[str, Any]
    seed: int
    vocab_size: int = N_PIECES
    source_length: int = 23
    target_length: int = 17
    tied: bool = True
    image: Mapping[str, int] = field(default_factory=dict)
    tokenizer_files: Sequence[str] = ("tokenizer.model", "tokenizer.json")


def _side(hidden: int, layers: int, heads: tuple[int, int], head_dim: int, window: int, **extra: Any) -> dict[str, Any]:
    n_heads, n_kv_heads = heads
    side = {
        "hidden_size": hidden,
        "intermediate_size": hidden * 3 // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "head_dim": head_dim,
        "sliding_window": window,
        "query_pre_attn_scalar": head_dim,
        "max_position_embeddings": 4096,
    }
    return side | extra


def _t5gemma(name: str, seed: int, encoder: dict, decoder: dict | None = None, *, caps=(50.0, 30.0), **kw) -> Case:
    shared = {
        "attn_logit_softcapping": caps[0],
        "final_logit_softcapping": caps[1],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    return Case(name, "t5gemma", encoder | shared, (decoder or encoder) | shared, seed, **kw)


def _t5gemma2(name: str, seed: int, encoder: dict, decoder: dict | None = None, *, factor=8.0, pattern=3, **kw) -> Case:
    full: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e6}
    if factor != 1.0:
        full = {"rope_type": "linear", "factor": factor, "rope_theta": 1e6}
    rope = {"full_attention": full, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}

    def complete(side: dict) -> dict:
        layers = range(1, side["num_hidden_layers"] + 1)
        kinds = ["sliding_attention" if i % pattern else "full_attention" for i in layers]
        return side | {"rope_parameters": rope, "layer_types": kinds}

    return Case(name, "t5gemma2", complete(encoder), complete(decoder or encoder), seed, **kw)


CASES: tuple[Case, ...] = (
    _t5gemma("v1-mha-w4", 121, _side(32, 3, (4, 4), 8, 4, query_pre_attn_scalar=6), caps=(5.0, 3.0)),
    _t5gemma("v1-gqa-w3", 102, _side(32, 4, (4, 2), 12, 3), caps=(5.0, 30.0)),
    _t5gemma("v1-mqa-w5", 103, _side(32, 3, (4, 1), 8, 5, query_pre_attn_scalar=5), vocab_size=N_PIECES + 5),
    _t5gemma("v1-wide-encoder", 134, _side(48, 4, (8, 4), 8, 4), _side(40, 2, (4, 1), 12, 2), caps=(3.0, 4.0)),
    _t5gemma("v1-no-softcap", 105, _side(32, 2, (2, 2), 32, 6), caps=(None, None), source_length=70, target_length=40),
    _t5gemma(
        "v1-final-cap-only", 106, _side(32, 3, (4, 2), 8, 7), caps=(None, 5.0), tokenizer_files=("tokenizer.json",)
    ),
    _t5gemma("v1-untied", 107, _side(24, 2, (4, 2), 8, 4), tied=False),
    _t5gemma2("v2-gqa-w5", 201, _side(24, 5, (4, 2), 8, 5, query_pre_attn_scalar=20)),
    _t5gemma2("v2-mqa-w4", 202, _side(32, 4, (4, 1), 16, 4), vocab_size=N_PIECES + 3),
    _t5gemma2("v2-mha-w7-no-rope-scaling", 203, _side(32, 3, (4, 4), 8, 7), factor=1.0),
    _t5gemma2("v2-six-one-w6", 204, _side(24, 7, (2, 1), 16, 6), pattern=6, tokenizer_files=("tokenizer.json",)),
    _t5gemma2(
        "v2-long-encoder-softcap",
        205,
        _side(40, 4, (2, 1), 24, 8, final_logit_softcapping=4.0),
        _side(40, 3, (2, 1), 24, 8, final_logit_softcapping=4.0),
        source_length=60,
        target_length=33,
    ),
    _t5gemma2("v2-decoder-deeper", 206, _side(32, 2, (4, 2), 12, 3), _side(32, 5, (4, 2), 12, 3), factor=2.0),
    _t5gemma2(
        "v2-images",
        208,
        _side(24, 2, (4, 2), 8, 5),
        image={"hidden_size": 72, "num_attention_heads": 4, "intermediate_size": 50, "image_size": 24},
    ),
    _t5gemma2("v2-untied", 207, _side(24, 3, (4, 2), 8, 4), tied=False),
)

# Real window sizes and thousands of tokens; narrow, because only the lengths matter.
LONG_CASES: tuple[Case, ...] = (
    _t5gemma("v1-long", 301, _side(32, 2, (2, 1), 16, 512), source_length=2300, target_length=700),
    _t5gemma2("v2-long", 302, _side(32, 3, (2, 1), 16, 512), source_length=2300, target_length=700),
)

BY_NAME: Mapping[str, Case] = {case.name: case for case in (*CASES, *LONG_CASES)}
