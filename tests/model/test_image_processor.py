"""Text and images of every kind, as users give them: ids, pixels, hidden states and logits equal transformers'."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import t5g
from support.cases import BOS, CASES, IMAGE
from support.oracle import draw_ids, relative_error
from t5g.images import preprocess

torch = pytest.importorskip("torch")
tf = pytest.importorskip("transformers", minversion="5.23")
PIL = pytest.importorskip("PIL")
pytest.importorskip("sentencepiece")
pytest.importorskip("tokenizers")
pytest.importorskip("gguf")
pytestmark = pytest.mark.oracle

TOLERANCE = 3e-4
TOKENS = 4  # per image
SIZE = 48
CASE = next(case for case in CASES if case.architecture == "t5gemma2")


class Pair(NamedTuple):
    model: Any
    processor: Any
    ours: t5g.Model


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    from support.checkpoints import save_checkpoint

    torch.set_num_threads(1)
    case = dataclasses.replace(CASE, image={"image_size": SIZE, "patch_size": 6})
    folder: Path = tmp_path_factory.mktemp("processor")
    model = save_checkpoint(case, folder)
    t5g.convert(folder, folder / "model.gguf", type="f32")
    return Pair(model, make_processor(folder), t5g.Model(folder / "model.gguf"))


def make_processor(folder: Path) -> Any:
    """Make the processor of released checkpoints, for the tiny one; its image processor is the one for Pillow."""
    from tokenizers.processors import TemplateProcessing
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
    from transformers.models.gemma3.processing_gemma3 import Gemma3Processor

    tokenizer = tf.AutoTokenizer.from_pretrained(
        folder,
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    # As the tokenizer.json of releases says; the tiny one says nothing.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    half = [0.5, 0.5, 0.5]
    images = Gemma3ImageProcessorPil(size={"height": SIZE, "width": SIZE}, image_mean=half, image_std=half)
    return Gemma3Processor(images, tokenizer, image_seq_length=TOKENS)


def draw(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return smooth noise, as images are, with some sharp pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * rng.uniform(0, 0.3) + y * rng.uniform(0, 0.3) + rng.uniform(0, 6)) for _ in range(channels)]
    noise = rng.integers(-40, 40, (height, width, channels))
    pixels = np.clip(np.stack(waves, axis=-1) * 100 + 127 + noise, 0, 255)
    return pixels.astype(np.uint8)


def pil(array: np.ndarray, mode: str | None = None) -> Any:
    import PIL.Image

    image = PIL.Image.fromarray(array)
    return image if mode is None else image.quantize(32) if mode == "P" else image.convert(mode)


def their_pixels(pair: Pair, images: list[Any], **options: Any) -> np.ndarray:
    """Give the pixels of transformers, uint8 [n, S, S, 3]."""
    values = pair.processor.image_processor(images, **options)["pixel_values"]
    pixels = (np.stack(values).transpose(0, 2, 3, 1).astype(np.float64) * 0.5 + 0.5) * 255
    assert np.abs(pixels - np.round(pixels)).max() < 1e-3
    return np.round(pixels).astype(np.uint8)


def check(pair: Pair, text: str | None, images: list[Any], given: list[Any] | None = None, **options: bool) -> None:
    """Compare ids, hidden states and logits of one source; `given` is what we get instead of `images`."""
    given = given or images
    pan_and_scan = options.get("pan_and_scan", False)
    inputs = pair.processor(images=images, text=text, return_tensors="pt", do_pan_and_scan=pan_and_scan)
    source = pair.ours.encode(text or "", images=given, pan_and_scan=pan_and_scan)
    assert source.token_ids == inputs["input_ids"][0].tolist()
    target = [BOS, *draw_ids(CASE, 6, 3)]
    with torch.no_grad():
        out = pair.model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            pixel_values=inputs["pixel_values"],
            decoder_input_ids=torch.tensor([target]),
        )
    assert relative_error(source.hidden_states, out.encoder_last_hidden_state[0].numpy()) < TOLERANCE
    logits = pair.ours.logits(text or "", target, images=given, pan_and_scan=pan_and_scan)
    assert relative_error(logits, out.logits[0].numpy()) < TOLERANCE


# ---- Text ----

TEXTS = [
    "<start_of_image>",
    "<start_of_image> in this image, there is",
    "what is this? <start_of_image>",
    "\n<start_of_image>\n\nthe dog",
    "a\n\n\n<start_of_image>\nb",
    "the quick <start_of_image>brown",
    " <start_of_image> ",
]


@pytest.mark.parametrize("text", TEXTS)
def test_one_image(pair: Pair, text: str) -> None:
    check(pair, text, [pil(draw(60, 40))])


@pytest.mark.parametrize(
    "text",
    [
        "<start_of_image><start_of_image><start_of_image>",
        "first <start_of_image>, then <start_of_image> and \n<start_of_image>\n.",
        "<start_of_image> <start_of_image>\n<start_of_image>",
    ],
)
def test_several_images(pair: Pair, text: str) -> None:
    check(pair, text, [pil(draw(60, 40, seed=1)), pil(draw(10, 90, seed=2)), pil(draw(48, 48, seed=3))])


@pytest.mark.parametrize("n_images", [1, 3])
def test_images_without_a_text(pair: Pair, n_images: int) -> None:
    check(pair, None, [pil(draw(60, 40, seed=i)) for i in range(n_images)])


def test_ids_with_special_tokens_in_the_text(pair: Pair) -> None:
    text = "<start_of_turn>a <start_of_image><end_of_turn>"
    image = draw(20, 20)
    expected = pair.processor(images=[image], text=text)["input_ids"][0]
    assert pair.ours.encode(text, images=[image], parse_special=True).token_ids == expected
    plain = pair.ours.encode(text, images=[image]).token_ids
    assert plain != expected
    assert plain.count(IMAGE) == TOKENS


# ---- Pixels ----

MODES = ["RGB", "L", "1", "LA", "RGBA", "P", "CMYK", "YCbCr"]
SIZES = [(48, 48), (48, 20), (300, 200), (200, 901), (7, 5), (1, 1), (3000, 20), (20, 3000)]


@pytest.mark.parametrize("mode", MODES)
def test_pixels_of_modes(pair: Pair, mode: str) -> None:
    image = pil(draw(61, 47, 4), None if mode == "RGBA" else mode)
    np.testing.assert_array_equal(preprocess([image], SIZE)[0], their_pixels(pair, [image]))


def test_pixels_with_a_transparent_colour(pair: Pair) -> None:
    palette = pil(draw(61, 47), "P")
    palette.info["transparency"] = bytes(range(0, 256, 8))
    grey = pil(draw(61, 47), "L")
    grey.info["transparency"] = 90
    for image in (palette, grey):
        np.testing.assert_array_equal(preprocess([image], SIZE)[0], their_pixels(pair, [image]))


@pytest.mark.parametrize("size", SIZES)
def test_pixels_of_sizes(pair: Pair, size: tuple[int, int]) -> None:
    array = draw(*size)
    np.testing.assert_array_equal(preprocess([pil(array)], SIZE)[0], their_pixels(pair, [pil(array)]))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_of_arrays(pair: Pair, channels: int) -> None:
    array = draw(61, 47, channels)
    np.testing.assert_array_equal(preprocess([array], SIZE)[0], their_pixels(pair, [array]))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_pixels_of_files(pair: Pair, tmp_path: Path, suffix: str) -> None:
    import PIL.Image

    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"image.{suffix}"
    pil(draw(61, 47)).save(path, exif=exif)
    loaded = pair.processor.image_processor.fetch_images([str(path)])
    np.testing.assert_array_equal(preprocess([path], SIZE)[0], their_pixels(pair, loaded))
    with PIL.Image.open(path) as opened:  # an image that is open already is not turned
        np.testing.assert_array_equal(preprocess([opened], SIZE)[0], their_pixels(pair, [opened]))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(20, 30), (130, 90)])
def test_paths_images_and_arrays(pair: Pair, tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    array = draw(*size, {"RGB": 3, "L": 1, "RGBA": 4}[mode])
    image = pil(array[..., 0] if mode == "L" else array)
    image.save(tmp_path / "image.png")
    text = "<start_of_image> the dog"
    check(pair, text, [image])
    check(pair, text, [image], [tmp_path / "image.png"])
    check(pair, text, [array])


# ---- Pan and scan ----


@pytest.mark.parametrize("size", [(300, 300), (1024, 512), (1001, 300), (260, 2600), (700, 700)])
def test_pan_and_scan(pair: Pair, size: tuple[int, int]) -> None:
    images = [pil(draw(*size, seed=4)), pil(draw(600, 300, seed=5))]
    check(pair, "<start_of_image>\na <start_of_image> b", images, pan_and_scan=True)
    check(pair, None, images, pan_and_scan=True)
