"""Images in the API: in every call, in their places, counted, and never spelt by a user's text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.cases import BOI, BOS, EOI, EOS, IMAGE

GOLDEN = Path(__file__).parents[1] / "goldens" / "v2-images.gguf"
TOKENS = 4  # per image
RED, BLUE, GREY = (np.full((9, 13, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200), (99, 99, 99)))
SOFT = [BOI, *[IMAGE] * TOKENS, EOI]


@pytest.fixture(scope="module")
def model() -> Iterator[t5g.Model]:
    with t5g.Model(GOLDEN) as model:
        yield model


def states(model: t5g.Model, source: Any, **options: Any) -> np.ndarray:
    return np.array(model.encode(source, **options).hidden_states)


def plain(model: t5g.Model, text: str) -> list[int]:
    return model.tokenizer.encode(text, add_special_tokens=False)


def test_the_marker_becomes_the_tokens_of_an_image(model: t5g.Model) -> None:
    ids = model.encode("the <start_of_image> dog", images=[RED]).token_ids
    assert ids == [BOS, *plain(model, "the \n\n"), *SOFT, *plain(model, "\n\n dog")]
    ids = model.encode("", images=[RED, BLUE]).token_ids
    assert ids == [BOS, *plain(model, "\n\n"), *SOFT, *plain(model, "\n\n \n\n"), *SOFT, *plain(model, "\n\n")]


def test_what_a_tokenizer_adds_at_the_end_comes_after_the_last_image(model: t5g.Model, tmp_path: Path) -> None:
    key, no, yes = b"tokenizer.ggml.add_eos_token", b"\x07\0\0\0\0", b"\x07\0\0\0\1"
    data = GOLDEN.read_bytes()
    assert key + no in data
    (tmp_path / "eos.gguf").write_bytes(data.replace(key + no, key + yes))
    with t5g.Model(tmp_path / "eos.gguf") as with_eos:
        for text, images in (("a <start_of_image> b", [RED]), ("", [RED, BLUE]), ("no image", None)):
            expected = [*model.encode(text, images=images).token_ids, EOS]
            assert with_eos.encode(text, images=images).token_ids == expected


def test_one_image_stands_for_a_list_of_one(model: t5g.Model, tmp_path: Path) -> None:
    expected = states(model, "<start_of_image> dog", images=[RED])
    assert np.array_equal(states(model, "<start_of_image> dog", images=RED), expected)
    assert np.array_equal(states(model, "<start_of_image> dog", images=np.stack([RED])), expected)
    image = pytest.importorskip("PIL.Image").fromarray(RED)
    image.save(tmp_path / "red.png")
    for given in (image, tmp_path / "red.png", str(tmp_path / "red.png"), [image], (tmp_path / "red.png",)):
        assert np.array_equal(states(model, "<start_of_image> dog", images=given), expected)


def test_images_stand_in_their_order(model: t5g.Model) -> None:
    text = "<start_of_image> and <start_of_image>"
    one, other = states(model, text, images=[RED, BLUE]), states(model, text, images=[BLUE, RED])
    assert not np.allclose(one, other, atol=1e-3)


def test_ids_have_the_soft_tokens_in_place(model: t5g.Model) -> None:
    source = model.encode("a <start_of_image> b", images=RED)
    assert np.array_equal(states(model, source.token_ids, images=RED), source.hidden_states)
    for ids in ([BOS, 20], [*source.token_ids, IMAGE], source.token_ids * 2):
        with pytest.raises(ValueError, match=rf"the source has {ids.count(IMAGE)} image tokens? .* expected 4: 4 for"):
            model.encode(ids, images=RED)


def test_every_call_takes_images(model: t5g.Model) -> None:
    text, target = "<start_of_image> the dog", [BOS, 300, 310]
    source = model.encode(text, images=RED)
    expected = model.generate(source, max_new_tokens=8)
    found = model.generate(text, images=RED, max_new_tokens=8)
    assert found.token_ids == expected.token_ids
    assert found.logprob == expected.logprob
    with model.stream(text, images=RED, max_new_tokens=8) as stream:
        assert "".join(stream) == expected.text
    assert np.array_equal(model.logits(text, target, images=RED), model.logits(source, target))
    assert model.score(text, target, images=RED).logprob == model.score(source, target).logprob
    assert model.generate("the dog", max_new_tokens=8).logprob != expected.logprob


def test_a_batch_takes_a_list_of_images_for_each_source(model: t5g.Model) -> None:
    marker = "<start_of_image>"
    sources = [f"{marker} the dog", "the cat", model.encode(marker, images=GREY), f"{marker}{marker}", ""]
    images: list[Any] = [RED, None, None, [RED, BLUE], [GREY]]
    batch = model.generate_batch(sources, images=images, max_new_tokens=6)
    alone = [model.generate(s, images=i, max_new_tokens=6) for s, i in zip(sources, images, strict=True)]
    assert [one.token_ids for one in batch] == [one.token_ids for one in alone]
    assert [one.logprob for one in batch] == [one.logprob for one in alone]
    for wrong in ([RED], RED, "red.png"):
        with pytest.raises(ValueError, match="expected a list of 5"):
            model.generate_batch(sources, images=wrong)  # type: ignore[arg-type]


def test_the_time_of_images_is_told(model: t5g.Model) -> None:
    new = np.random.default_rng(7).integers(0, 256, (20, 20, 3), dtype=np.uint8)  # not in the model's memory of images
    assert model.generate("", images=new, max_new_tokens=1).timings.image_seconds > 0
    assert model.generate("dog", max_new_tokens=1).timings.image_seconds == 0


@pytest.mark.parametrize(
    ("text", "n_images", "message"),
    [
        ("the dog", 1, "the text has 0 <start_of_image>, but there is 1 image. Write <start_of_image> once"),
        ("<start_of_image>", 2, "the text has 1 <start_of_image>, but there are 2 images"),
        ("<start_of_image><start_of_image>", 1, "the text has 2 <start_of_image>, but there is 1 image"),
        ("<start_of_image>", 0, "the text has 1 <start_of_image>, but there are 0 images"),
    ],
)
def test_every_image_has_its_place(model: t5g.Model, text: str, n_images: int, message: str) -> None:
    with pytest.raises(t5g.InvalidArgumentError, match=message):
        model.encode(text, images=[RED] * n_images)


def test_no_text_poses_as_an_image(model: t5g.Model) -> None:
    spelt = "<image_soft_token><end_of_image>"
    for parse_special in (False, True):
        plain_ids = model.tokenizer.encode("<start_of_image>", add_special_tokens=False, parse_special=parse_special)
        assert (plain_ids == [BOI]) == parse_special  # without images, only on request
    ids = model.encode(f"{spelt}<start_of_image>{spelt}", images=RED).token_ids
    assert ids.count(IMAGE) == TOKENS
    assert ids.count(EOI) == 1
    with pytest.raises(ValueError, match="the source has 5 image tokens"):
        model.encode("<image_soft_token><start_of_image>", images=RED, parse_special=True)


def test_no_images_are_no_images(model: t5g.Model) -> None:
    expected = states(model, "the dog")
    assert np.array_equal(states(model, "the dog", images=None), expected)
    assert np.array_equal(states(model, "the dog", images=[]), expected)


def test_pan_and_scan_adds_images(model: t5g.Model) -> None:
    long = np.random.default_rng(3).integers(0, 256, (300, 900, 3), dtype=np.uint8)
    assert model.encode("", images=long, pan_and_scan=True).token_ids.count(IMAGE) == 4 * TOKENS
    assert model.encode("", images=long).token_ids.count(IMAGE) == TOKENS


def test_what_does_not_go_with_images(model: t5g.Model) -> None:
    source = model.encode("dog")
    with pytest.raises(ValueError, match="already encoded"):
        model.generate(source, images=RED)
    with pytest.raises(TypeError, match="already encoded"):
        model.encode(source, images=RED)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        model.generate("<start_of_image>", images="none.png")
    with pytest.raises(TypeError, match="images: must be a list of images, got 3"):
        model.generate("<start_of_image>", images=3)  # type: ignore[arg-type]


def test_a_file_without_a_tower_says_so() -> None:
    with t5g.Model() as bundled:
        for call in (bundled.encode, bundled.generate, bundled.stream):
            with pytest.raises(t5g.UnsupportedError, match=r"no vision tower\. Convert the checkpoint with"):
                call("<start_of_image>", images=RED)
        assert bundled.encode("dog", images=[]).n_tokens
    with t5g.Model(GOLDEN.parent / "v1-mha-w4.gguf") as first, pytest.raises(t5g.UnsupportedError, match="text only"):
        first.encode("<start_of_image>", images=RED)
