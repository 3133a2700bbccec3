"""Vectors of texts: packed passes give the bits of single ones; every pooling; any layer's states, padded too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.folders import Folder, t5gemma2_config, t5gemma_config

pytest.importorskip("gguf")

CONFIGS = {"t5gemma": t5gemma_config, "t5gemma2": t5gemma2_config}
TEXTS = [[2, *range(5, 5 + n)] for n in (0, 1, 7, 40, 3, 70, 12, 200, 5)]


@pytest.fixture(scope="module", params=["t5gemma", "t5gemma2"])
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=["f32", "q8_0"])
def model(
    request: pytest.FixtureRequest, architecture: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[t5g.Model]:
    path = tmp_path_factory.mktemp("embed")
    t5g.convert(Folder.of(CONFIGS[architecture]()).write(path / "hf"), path / "m.gguf", type=request.param)
    with t5g.Model(path / "m.gguf", n_threads=2) as model:
        yield model


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_packed_texts_get_the_bits_that_they_get_alone(model: t5g.Model, batch_size: int) -> None:
    found = model.embed(TEXTS, pooling="none", normalize=False, batch_size=batch_size)
    for text, rows in zip(TEXTS, found, strict=True):
        np.testing.assert_array_equal(rows, model.encode(text).hidden_states)


def test_poolings(model: t5g.Model) -> None:
    states = [model.encode(text).hidden_states for text in TEXTS]
    poolings: dict[Any, Any] = {
        "mean": lambda rows: rows.mean(axis=0),
        "max": lambda rows: rows.max(axis=0),
        "first": lambda rows: rows[0],
        "last": lambda rows: rows[-1],
    }
    for name, pool in poolings.items():
        expected = np.stack([pool(rows) for rows in states])
        np.testing.assert_array_equal(model.embed(TEXTS, pooling=name, normalize=False), expected)
        np.testing.assert_allclose(model.embed(TEXTS, pooling=name), unit(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.embed(TEXTS), model.embed(TEXTS, pooling="mean", normalize=True))


def test_encoded_sources_and_texts_without_tokens_may_be_among_them(model: t5g.Model) -> None:
    source = model.encode(TEXTS[2])
    found = model.embed([TEXTS[1], source, [], TEXTS[3]])
    np.testing.assert_array_equal(found[[0, 1, 3]], model.embed([TEXTS[1], TEXTS[2], TEXTS[3]]))
    np.testing.assert_array_equal(found[2], 0)
    assert model.embed([]).shape == (0, 64)


def test_images_go_with_their_text(model: t5g.Model, architecture: str) -> None:
    if architecture == "t5gemma":
        with pytest.raises(t5g.UnsupportedError, match="reads text only"):
            model.embed([[2]], images=[np.zeros((56, 56, 3), np.uint8)])
        return
    rng = np.random.default_rng(1)
    drawn = [rng.integers(0, 256, (56, 56, 3), dtype=np.uint8) for _ in range(3)]
    ids = [2, 290, *[292] * 4, 291, 17]
    texts, images = [ids, [2, 5], [*ids, *ids]], [drawn[0], None, drawn[1:]]
    found = model.embed(texts, images=images, normalize=False)
    for row, text, own in zip(found, texts, images, strict=True):
        np.testing.assert_array_equal(row, model.encode(text, images=own).hidden_states.mean(axis=0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "sum"}, "pooling: must be 'mean', 'first', 'last', 'max' or 'none'"),
        ({"batch_size": 0}, "batch_size: must be an integer of at least 1"),
        ({"layer": 99}, "layer: must be from -"),
        ({"images": [None]}, "images"),
    ],
)
def test_wrong_options(model: t5g.Model, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        model.embed([[2], [2]], **options)


def test_layers(model: t5g.Model) -> None:
    n, ids = model.config.encoder.num_hidden_layers, TEXTS[3]
    final = model.encode(ids).hidden_states
    np.testing.assert_array_equal(model.encode(ids, layer=-1).hidden_states, final)
    np.testing.assert_array_equal(model.encode(ids, layer=n).hidden_states, final)
    for k in range(n + 1):
        np.testing.assert_array_equal(
            model.encode(ids, layer=k).hidden_states, model.encode(ids, layer=k - n - 1).hidden_states
        )
    inner = model.encode(ids, layer=-2)
    assert not np.array_equal(inner.hidden_states, final)
    np.testing.assert_array_equal(model.embed([ids], layer=-2, pooling="none", normalize=False)[0], inner.hidden_states)
    with pytest.raises(ValueError, match="has the hidden states of layer"):
        model.generate(inner)


def test_padding(model: t5g.Model, tmp_path: Path) -> None:
    ids = TEXTS[2]
    plain, padded = model.encode(ids), model.encode(ids, pad_to=20)
    assert padded.n_tokens == len(ids) == 8
    assert padded.hidden_states.shape == (20, 64)
    assert padded.attention_mask.tolist() == [1] * 8 + [0] * 12
    assert plain.attention_mask.tolist() == [1] * 8
    np.testing.assert_array_equal(padded.hidden_states[:8], plain.hidden_states)
    np.testing.assert_array_equal(model.logits(padded, [2, 5]), model.logits(plain, [2, 5]))
    assert np.isfinite(padded.hidden_states).all()
    for source in (padded, model.encode(ids, pad_to=11, layer=-2)):
        source.save(tmp_path / "s.t5g")
        loaded = t5g.EncodedSource.load(model, tmp_path / "s.t5g")
        np.testing.assert_array_equal(loaded.hidden_states, source.hidden_states)
        assert loaded.attention_mask.tolist() == source.attention_mask.tolist()
    with pytest.raises(ValueError, match="has the hidden states of layer"):
        model.logits(loaded, [2])
    assert model.encode([], pad_to=3).hidden_states.shape == (3, 64)
    with pytest.raises(ValueError, match="pad_to: is 4, but the source has 8 tokens"):
        model.encode(ids, pad_to=4)
    with pytest.raises(ValueError, match="pad_to: must be at most 512"):
        model.encode(ids, pad_to=513)


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "max", "none"])
def test_padding_is_no_part_of_a_vector(model: t5g.Model, pooling: Any) -> None:
    padded, plain = ([model.encode(TEXTS[2], pad_to=n)] for n in (20, 8))
    np.testing.assert_array_equal(model.embed(padded, pooling=pooling)[0], model.embed(plain, pooling=pooling)[0])


def test_a_source_has_the_layer_that_is_asked_for(model: t5g.Model) -> None:
    inner, final = (model.encode(TEXTS[2], layer=layer) for layer in (1, -1))
    np.testing.assert_array_equal(model.embed([inner], layer=1), model.embed([TEXTS[2]], layer=1))
    with pytest.raises(t5g.InvalidArgumentError, match=r"texts\[1\]: is an encoded source that has those of layer=1"):
        model.embed([TEXTS[2], inner])
    with pytest.raises(t5g.InvalidArgumentError, match="has the final hidden states, and those of layer=1 are asked"):
        model.embed([final], layer=1)


def test_damaged_files_of_such_sources_are_refused(model: t5g.Model, tmp_path: Path) -> None:
    path = tmp_path / "s.t5g"
    model.encode(TEXTS[2], pad_to=11, layer=-2).save(path)
    whole = path.read_bytes()
    for n in range(0, len(whole), 7):
        path.write_bytes(whole[:n])
        with pytest.raises(t5g.ModelFormatError):
            t5g.EncodedSource.load(model, path)
    for at in range(56, 72):  # layer, number of adapters, rows of padding
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        try:
            t5g.EncodedSource.load(model, path)
        except t5g.ModelFormatError:
            continue
        assert at < 60, at  # another layer's number


class TestAgainstTransformers:
    pytestmark = pytest.mark.oracle

    @pytest.mark.parametrize("name", ["v1-mha-w4", "v2-gqa-w5"])
    def test_layers_and_padding(self, tmp_path: Path, name: str) -> None:
        torch = pytest.importorskip("torch")
        pytest.importorskip("transformers")
        from support.cases import BY_NAME
        from support.checkpoints import build_model
        from support.oracle import draw_ids, relative_error

        case = BY_NAME[name]
        reference = build_model(case)
        reference.save_pretrained(tmp_path / "hf")
        t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32", encoder_only=True)
        ids = draw_ids(case, 13, 3)
        # So many that every row of padding sees a token in every layer: what it makes of none is nobody's business.
        n = len(ids) + (
            case.encoder["sliding_window"] // 2 if name.startswith("v2") else case.encoder["sliding_window"]
        )
        padded = torch.tensor([[*ids, *[0] * (n - len(ids))]])
        mask = torch.tensor([[1] * len(ids) + [0] * (n - len(ids))])
        with torch.no_grad():
            expected = reference.get_encoder()(input_ids=padded, attention_mask=mask, output_hidden_states=True)
        with t5g.Model(tmp_path / "m.gguf", encoder_window="inclusive") as model:
            for layer in range(-len(expected.hidden_states), len(expected.hidden_states)):
                found = model.encode(ids, layer=layer, pad_to=n)
                assert found.attention_mask.tolist() == mask[0].tolist()
                assert relative_error(found.hidden_states, expected.hidden_states[layer][0].numpy()) < 2e-4
