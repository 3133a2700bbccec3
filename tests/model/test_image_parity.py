"""Pictures through the image tower: hidden states and logits equal transformers', for several shapes and pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import t5g
from support.cases import BOI, BOS, CASES, EOI, IMAGE, Case
from support.oracle import draw_ids, relative_error

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", minversion="5.4")
pytest.importorskip("sentencepiece")
pytest.importorskip("tokenizers")
pytest.importorskip("gguf")
pytestmark = pytest.mark.oracle

TOLERANCE = 3e-4
TOKENS = 4  # per picture
TEXT_CASE = next(case for case in CASES if case.architecture == "t5gemma2")
TOWERS: dict[str, dict[str, int]] = {
    "tiny": {"image_size": 16, "patch_size": 4},
    "heads of 72": {"hidden_size": 144, "num_attention_heads": 2, "intermediate_size": 150, "image_size": 24},
    "many patches": {"image_size": 120, "patch_size": 6, "hidden_size": 32},
    "one patch a token": {"image_size": 28, "patch_size": 14, "num_hidden_layers": 3},
}


class Pair(NamedTuple):
    case: Case
    theirs: Any
    ours: t5g.Model


@pytest.fixture(scope="module", params=TOWERS.values(), ids=TOWERS.keys())
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    from support.checkpoints import save_checkpoint

    torch.set_num_threads(1)
    case = dataclasses.replace(TEXT_CASE, image=request.param)
    folder: Path = tmp_path_factory.mktemp("images")
    theirs = save_checkpoint(case, folder)
    t5g.convert(folder, folder / "model.gguf", type="f32")
    return Pair(case, theirs, t5g.Model(folder / "model.gguf"))


def draw_pictures(pair: Pair, n: int) -> np.ndarray:
    assert pair.ours.config.vision is not None
    size = pair.ours.config.vision.image_size
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def source_ids(pair: Pair, n_images: int) -> list[int]:
    """Text, picture, text, picture, ..."""
    ids = draw_ids(pair.case, 5, 1)
    for i in range(n_images):
        ids += [BOI, *[IMAGE] * TOKENS, EOI, *draw_ids(pair.case, 3 + i, i)]
    return ids


@pytest.mark.parametrize("n_images", [1, 3])
def test_hidden_states_and_logits(pair: Pair, n_images: int) -> None:
    pictures, ids = draw_pictures(pair, n_images), source_ids(pair, n_images)
    target = [BOS, *draw_ids(pair.case, 6, 3)]
    pixel_values = torch.tensor((pictures.astype(np.float32) / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)
    tensor = torch.tensor([ids])
    with torch.no_grad():
        out = pair.theirs(
            input_ids=tensor,
            attention_mask=torch.ones_like(tensor),
            pixel_values=pixel_values,
            decoder_input_ids=torch.tensor([target]),
        )
    source = pair.ours._native.encode(ids, images=list(pictures))
    assert relative_error(source.hidden_states, out.encoder_last_hidden_state[0].numpy()) < TOLERANCE
    assert relative_error(pair.ours._native.logits(source, target), out.logits[0].numpy()) < TOLERANCE
    mirrored = pair.ours._native.encode(ids, images=[picture[:, ::-1] for picture in pictures])
    assert relative_error(mirrored.hidden_states, source.hidden_states) > 10 * TOLERANCE


def test_any_number_of_threads_sees_the_same(pair: Pair) -> None:
    pictures, ids = draw_pictures(pair, 1), source_ids(pair, 1)
    expected = pair.ours._native.encode(ids, images=list(pictures)).hidden_states
    for n_threads in (1, 3):
        with t5g.Model(pair.ours.path, n_threads=n_threads) as other:
            assert np.array_equal(other._native.encode(ids, images=list(pictures)).hidden_states, expected)


def test_a_picture_seen_before_is_taken_from_the_cache(pair: Pair) -> None:
    pictures = draw_pictures(pair, 12)
    ids = source_ids(pair, 1)
    first = [np.array(pair.ours._native.encode(ids, images=[picture]).hidden_states) for picture in pictures]
    again = [pair.ours._native.encode(ids, images=[picture]).hidden_states for picture in reversed(pictures)]
    assert all(np.array_equal(a, b) for a, b in zip(first, reversed(again), strict=True))
    assert not np.array_equal(first[0], first[1])
