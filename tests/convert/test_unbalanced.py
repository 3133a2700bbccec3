"""Whatever transformers can build converts and matches: sides of other widths, depths, vocabularies; tied and not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.cases import BOS, BY_NAME
from support.oracle import relative_error

torch = pytest.importorskip("torch")
tf = pytest.importorskip("transformers")
pytest.importorskip("gguf")

from support.checkpoints import build_model  # noqa: E402

pytestmark = pytest.mark.oracle
SOURCE, TARGET = [17, 40, 99, 31, 250, 300, 12, 5], [BOS, 60, 71, 200, 12]


def check(model: Any, path: Path, source: list[int] = SOURCE, target: list[int] = TARGET) -> t5g.Model:
    model.save_pretrained(path / "hf")
    t5g.convert(path / "hf", path / "m.gguf", type="f32")
    with torch.no_grad():
        ids = torch.tensor([source])
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=torch.tensor([target]))
    found = t5g.Model(path / "m.gguf", encoder_window="inclusive")
    states, logits = out.encoder_last_hidden_state[0].numpy(), out.logits[0].numpy()
    assert relative_error(found.encode(source).hidden_states, states) < 2e-4
    assert relative_error(found.logits(source, target), logits) < 2e-4
    return found


def widths(**sides: dict[str, Any]) -> Any:
    """A T5Gemma whose sides differ in all that they can differ in."""
    case = BY_NAME["v1-wide-encoder"]
    changed = {name: {**getattr(case, name), **changes} for name, changes in sides.items()}
    return replace(case, **changed)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "case",
    [
        widths(encoder={"num_hidden_layers": 1}, decoder={"num_hidden_layers": 6}),
        widths(
            encoder={"hidden_size": 24, "intermediate_size": 80, "num_attention_heads": 2, "num_key_value_heads": 1}
        ),
        widths(decoder={"hidden_size": 96, "head_dim": 20, "intermediate_size": 40, "attn_logit_softcapping": None}),
    ],
    ids=["deep decoder", "narrow encoder", "wide decoder"],
)
def test_widths_and_depths(tmp_path: Path, case: Any, tied: bool) -> None:
    check(build_model(replace(case, tied=tied)), tmp_path).close()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("sizes", [(500, 384), (384, 500)])
def test_vocabularies_of_two_sizes(tmp_path: Path, sizes: tuple[int, int], tied: bool) -> None:
    model = build_model(replace(BY_NAME["v1-wide-encoder"], tied=tied))
    generator = torch.Generator().manual_seed(1)
    for side, size in zip((model.get_encoder(), model.get_decoder()), sizes, strict=True):
        table = torch.randn(size, side.embed_tokens.weight.shape[1], generator=generator) * 0.1
        side.embed_tokens = torch.nn.Embedding.from_pretrained(table, freeze=False, padding_idx=0)
    encoder, decoder = sizes
    model.config.encoder.vocab_size, model.config.decoder.vocab_size = encoder, decoder
    if tied:
        model.lm_head.out_proj.weight = model.get_decoder().embed_tokens.weight
    else:
        model.lm_head.out_proj.weight = torch.nn.Parameter(
            torch.randn(decoder, model.config.decoder.hidden_size, generator=generator) * 0.1
        )
    model.lm_head.out_proj.out_features = model.vocab_size = decoder
    source = [*SOURCE, encoder - 1]
    with check(model, tmp_path, source, [*TARGET, decoder - 1]) as found:
        assert (found.config.encoder.vocab_size, found.config.vocab_size) == sizes
        with pytest.raises(ValueError, match="vocabulary"):
            found.encode([encoder])
        with pytest.raises(ValueError, match="vocabulary"):
            found.logits(SOURCE, [decoder])


# Of T5Gemma alone: of T5Gemma 2, transformers refuses sides with different vocabularies.
def test_embeddings_that_were_resized(tmp_path: Path) -> None:
    model = build_model(BY_NAME["v1-gqa-w3"])
    model.resize_token_embeddings(400, mean_resizing=False)
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table[384:] = torch.randn(16, table.shape[1], generator=torch.Generator().manual_seed(2)) * 0.1
    size = model.lm_head.out_proj.weight.shape[0]
    with check(model, tmp_path, [*SOURCE, 399]) as found:
        assert found.config.encoder.vocab_size == 400
        assert found.config.vocab_size == size
        assert np.isfinite(found.logits(SOURCE, TARGET)).all()
