"""Encoded sources outlive models and are shared between them: what a model derives from one is the model's own."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import t5g

GOLDENS = Path(__file__).parents[1] / "goldens"
IDS = [(17 * i) % 250 + 4 for i in range(90)]
TARGET = [2, 9, 14, 250, 33, 7]
KV_TYPES = ("f32", "f16", "q8_0")


@pytest.fixture(scope="module")
def models(tiny_path: Path) -> Iterator[list[t5g.Model]]:
    """Models of one file that store keys and values in different ways."""
    opened = [t5g.Model(tiny_path, kv_type=kv_type) for kv_type in KV_TYPES]
    yield opened
    for model in opened:
        model.close()


def test_models_that_store_keys_differently_share_a_source(models: list[t5g.Model]) -> None:
    expected = [model.logits(IDS, TARGET) for model in models]
    assert not np.array_equal(expected[0], expected[2])
    for first in models:
        source = first.encode(IDS)
        for _ in range(2):
            for model, logits in zip(models, expected, strict=True):
                np.testing.assert_array_equal(model.logits(source, TARGET), logits)


def test_models_share_a_source_at_the_same_time(models: list[t5g.Model]) -> None:
    expected = [model.generate(IDS, max_new_tokens=12, min_new_tokens=12) for model in models]
    sources = [models[0].encode(IDS) for _ in range(8)]
    wrong: list[str] = []

    def ask(model: t5g.Model, right: list[int]) -> None:
        for source in sources:
            if model.generate(source, max_new_tokens=12, min_new_tokens=12).token_ids != right:
                wrong.append(model.kv_type)

    threads = [
        threading.Thread(target=ask, args=(model, out.token_ids)) for model, out in zip(models, expected, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_source_lives_longer_than_the_model_that_made_it(tiny_path: Path, models: list[t5g.Model]) -> None:
    with t5g.Model(tiny_path, kv_type="q8_0") as first:
        source = first.encode(IDS)
        first.logits(source, TARGET)
    np.testing.assert_array_equal(models[0].logits(source, TARGET), models[0].logits(IDS, TARGET))


def test_a_running_generation_needs_no_one_to_keep_its_source(models: list[t5g.Model]) -> None:
    options = {"max_new_tokens": 20, "min_new_tokens": 20}
    for kind in ({}, {"num_beams": 3}, {"temperature": 1.0, "seed": 3, "num_return_sequences": 2}):
        source = models[0].encode(IDS)
        expected = models[0].generate(source, **options, **kind).text
        stream = models[0].stream(source, **options, **kind)
        del source
        assert "".join(stream) == expected


@pytest.fixture(scope="module")
def windows() -> Iterator[tuple[t5g.Model, t5g.Model]]:
    """The two readings of T5Gemma's sliding window, which differ for sources longer than it."""
    path = GOLDENS / "v1-wide-encoder.gguf"
    with t5g.Model(path) as exclusive, t5g.Model(path, encoder_window="inclusive") as inclusive:
        yield exclusive, inclusive


def test_sources_within_the_window_are_the_same_for_every_reading_of_it(
    windows: tuple[t5g.Model, t5g.Model], tmp_path: Path
) -> None:
    exclusive, inclusive = windows
    ids = IDS[: exclusive.config.encoder.sliding_window]
    source = inclusive.encode(ids)
    np.testing.assert_array_equal(source.hidden_states, exclusive.encode(ids).hidden_states)
    np.testing.assert_array_equal(exclusive.logits(source, TARGET), exclusive.logits(ids, TARGET))
    source.save(tmp_path / "source")
    assert t5g.EncodedSource.load(exclusive, tmp_path / "source").token_ids == ids


def test_longer_sources_are_refused_by_another_reading_of_the_window(
    windows: tuple[t5g.Model, t5g.Model], tmp_path: Path
) -> None:
    exclusive, inclusive = windows
    ids = IDS[: exclusive.config.encoder.sliding_window + 1]
    for maker, other, name in ((exclusive, inclusive, "exclusive"), (inclusive, exclusive, "inclusive")):
        source = maker.encode(ids)
        with pytest.raises(ValueError, match=f"encoder_window='{name}'"):
            other.logits(source, TARGET)
        with pytest.raises(ValueError, match="encoder_window"):
            other.generate_batch([ids, source])
        source.save(tmp_path / "source")
        with pytest.raises(t5g.ModelFormatError, match="another encoder_window"):
            t5g.EncodedSource.load(other, tmp_path / "source")
        loaded = t5g.EncodedSource.load(maker, tmp_path / "source")
        np.testing.assert_array_equal(maker.logits(loaded, TARGET), maker.logits(source, TARGET))


def test_files_from_before_the_window_was_noted_load_where_it_cannot_matter(
    windows: tuple[t5g.Model, t5g.Model], tmp_path: Path
) -> None:
    path, window = tmp_path / "source", windows[0].config.encoder.sliding_window
    for model in windows:
        for n_tokens in (window, window + 1):
            model.encode(IDS[:n_tokens]).save(path)
            save_as_version_1(path)
            if n_tokens == window:
                assert t5g.EncodedSource.load(model, path).token_ids == IDS[:n_tokens]
                continue
            with pytest.raises(t5g.ModelFormatError, match="does not say with which encoder_window"):
                t5g.EncodedSource.load(model, path)
    with t5g.Model(GOLDENS / "v2-gqa-w5.gguf") as model:  # which has one reading
        model.encode(IDS).save(path)
        save_as_version_1(path)
        assert t5g.EncodedSource.load(model, path).token_ids == IDS


def save_as_version_1(path: Path) -> None:
    """Rewrite a file without the last field of its header."""
    data = path.read_bytes()
    magic, rest = struct.unpack("<8s24s", data[:32])
    assert magic == b"t5g-src2"
    path.write_bytes(b"t5g-src1" + rest + data[40:])
