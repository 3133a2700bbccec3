"""Images through the image tower: hidden states and logits equal transformers', for several shapes and images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import t5g
from support.cases import CASES, Case
from support.oracle import ask_about_images, draw_images, draw_target, ids_with_images, relative_error, tolerance

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", minversion="5.4")
pytest.importorskip("sentencepiece")
pytest.importorskip("tokenizers")
pytest.importorskip("gguf")
pytestmark = pytest.mark.oracle

TOLERANCE = 3e-4
TEXT_CASE = next(case for case in CASES if case.architecture == "t5gemma2")
TOWERS: dict[str, dict[str, int]] = {
    "tiny": {"image_size": 16},
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


def images_and_ids(pair: Pair, n_images: int) -> tuple[np.ndarray, list[int]]:
    return draw_images(pair.case, n_images, n_images), ids_with_images(pair.case, n_images)


@pytest.mark.parametrize("n_images", [1, 3])
def test_hidden_states_and_logits(pair: Pair, n_images: int) -> None:
    images, ids = images_and_ids(pair, n_images)
    target = draw_target(pair.case, 7, 3)
    expected = ask_about_images(pair.theirs, ids, images, target)
    source = pair.ours._native.encode(ids, images=list(images))
    allowed = tolerance(pair.ours, TOLERANCE)
    assert relative_error(source.hidden_states, expected.hidden_states) < allowed
    assert relative_error(pair.ours._native.logits(source, target), expected.logits) < allowed
    mirrored = pair.ours._native.encode(ids, images=[image[:, ::-1] for image in images])
    assert relative_error(mirrored.hidden_states, source.hidden_states) > 10 * allowed


def test_any_number_of_threads_sees_the_same(pair: Pair) -> None:
    images, ids = images_and_ids(pair, 1)
    expected = pair.ours._native.encode(ids, images=list(images)).hidden_states
    for n_threads in (1, 3):
        with t5g.Model(pair.ours.path, n_threads=n_threads) as other:
            assert np.array_equal(other._native.encode(ids, images=list(images)).hidden_states, expected)


def test_an_image_is_the_same_when_it_is_seen_again(pair: Pair) -> None:
    images = draw_images(pair.case, 12, 0)  # the model remembers eight
    ids = ids_with_images(pair.case, 1)
    first = [np.array(pair.ours._native.encode(ids, images=[image]).hidden_states) for image in images]
    again = [pair.ours._native.encode(ids, images=[image]).hidden_states for image in reversed(images)]
    assert all(np.array_equal(a, b) for a, b in zip(first, reversed(again), strict=True))
    assert not np.array_equal(first[0], first[1])
