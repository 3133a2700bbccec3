"""Adapters at run time: what they add, alone, mixed in batches, on cached and saved sources; and that nothing stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.adapters import factors, write_adapted, write_adapter
from support.commands import run
from support.folders import Folder, t5gemma2_config, t5gemma_config

pytest.importorskip("gguf")

IDS = [2, 17, 40, 99, 31, 250, 3, 12]
TARGET = [2, 60, 71, 200, 12]
CONFIGS = {"t5gemma": t5gemma_config, "t5gemma2": t5gemma2_config}


@pytest.fixture(scope="module", params=CONFIGS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapted(tmp_path_factory.mktemp("adapters"), CONFIGS[request.param]())


@pytest.fixture
def model(files: Path) -> Iterator[t5g.Model]:
    with t5g.Model(files / "m.gguf") as model:
        yield model


@pytest.fixture
def both(files: Path, model: t5g.Model) -> t5g.Model:
    for name in "ab":
        assert model.load_adapter(files / f"{name}.gguf") == name
    return model


def test_an_adapter_computes_what_the_merged_model_computes(files: Path, model: t5g.Model) -> None:
    plain = model.logits(IDS, TARGET)
    model.load_adapter(files / "a.gguf")
    t5g.convert(files / "a", files / "merged.gguf", base=files / "hf", type="f32")
    with t5g.Model(files / "merged.gguf") as merged:
        expected = merged.logits(IDS, TARGET)
        states = merged.encode(IDS).hidden_states
    assert np.abs(plain - expected).max() > 1e-2
    np.testing.assert_allclose(model.logits(IDS, TARGET), expected, atol=3e-4 * np.abs(expected).max())
    np.testing.assert_allclose(model.encode(IDS).hidden_states, states, atol=3e-4 * np.abs(states).max())


def test_unloading_gives_the_bits_of_the_base_back(files: Path, model: t5g.Model) -> None:
    plain, generated = model.logits(IDS, TARGET), model.generate(IDS, max_new_tokens=8)
    model.load_adapter(files / "a.gguf", "mine", 0.5)
    assert dict(model.adapters) == {"mine": 0.5}
    assert not np.array_equal(model.logits(IDS, TARGET), plain)
    np.testing.assert_array_equal(model.logits(IDS, TARGET, adapters=[]), plain)
    model.unload_adapter("mine")
    assert dict(model.adapters) == {}
    np.testing.assert_array_equal(model.logits(IDS, TARGET), plain)
    assert model.generate(IDS, max_new_tokens=8).token_ids == generated.token_ids


def test_scales_and_sums(both: t5g.Model) -> None:
    once = both.logits(IDS, TARGET, adapters="a")
    np.testing.assert_array_equal(both.logits(IDS, TARGET, adapters={"a": 1.0}), once)
    np.testing.assert_array_equal(both.logits(IDS, TARGET, adapters={"a": 0}), both.logits(IDS, TARGET, adapters=[]))
    assert not np.array_equal(both.logits(IDS, TARGET, adapters={"a": 2.0}), once)
    everything = both.logits(IDS, TARGET)
    np.testing.assert_array_equal(both.logits(IDS, TARGET, adapters=["b", "a"]), everything)
    np.testing.assert_array_equal(both.logits(IDS, TARGET, adapters={"a": 1, "b": 1}), everything)


@pytest.mark.parametrize("type_", ["f32", "q8_0"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_batch_that_mixes_adapters_gives_each_what_it_gets_alone(
    tmp_path: Path, architecture: str, type_: str
) -> None:
    files = write_adapted(tmp_path, CONFIGS[architecture](), type_)
    with t5g.Model(files / "m.gguf", n_threads=2) as model:
        for name in "ab":
            model.load_adapter(files / f"{name}.gguf")
        chosen: list[Any] = ["a", "b", [], None, {"a": 0.5}] * 8  # more rows than the narrow path takes
        sources = [[2, *range(10 + i, 14 + i + i % 5)] for i in range(len(chosen))]
        options = {"max_new_tokens": 6, "min_new_tokens": 6, "draft": "off"}
        batch = model.generate_batch(sources, adapters=chosen, max_batch_size=len(chosen), **options)
        alone = [model.generate(s, adapters=a, **options) for s, a in zip(sources, chosen, strict=True)]
        assert [one.token_ids for one in batch] == [one.token_ids for one in alone]
        assert [one.logprob for one in batch] == [one.logprob for one in alone]
        assert len({model.logits(IDS, TARGET, adapters=a).tobytes() for a in ("a", "b", [])}) == 3
        vectors = model.embed(sources, adapters=chosen)
        for i, (source, own) in enumerate(zip(sources, chosen, strict=True)):
            np.testing.assert_array_equal(model.embed([source], adapters=[own])[0], vectors[i])


def test_a_source_remembers_its_adapters(files: Path, both: t5g.Model, tmp_path: Path) -> None:
    source = both.encode(IDS, adapters={"a": 0.5})
    assert source.adapters == {"a": 0.5}
    expected = both.logits(IDS, TARGET, adapters={"a": 0.5})
    for _ in range(2):  # the second time from the cache of keys and values
        np.testing.assert_array_equal(both.logits(source, TARGET), expected)
        np.testing.assert_array_equal(both.logits(source, TARGET, adapters={"a": 0.5}), expected)
    for other in ("a", "b", [], ["a", "b"]):
        with pytest.raises(ValueError, match="source was encoded with the adapters 'a', and the call asks for"):
            both.logits(source, TARGET, adapters=other)
    source.save(tmp_path / "s.t5g")
    with t5g.Model(files / "m.gguf") as again:
        saved = t5g.EncodedSource.load(again, tmp_path / "s.t5g")
        assert saved.adapters == {"a": 0.5}
        with pytest.raises(ValueError, match="adapter 'a', which is not loaded"):
            again.generate(saved)
        again.load_adapter(files / "a.gguf", "under another name")
        np.testing.assert_array_equal(again.logits(saved, TARGET), expected)
    both.unload_adapter("a")
    with pytest.raises(ValueError, match="'a', which is not loaded"):
        both.logits(source, TARGET)


def test_what_is_under_way_keeps_its_adapters(files: Path, both: t5g.Model) -> None:
    expected = both.generate(IDS, adapters="a", max_new_tokens=6).token_ids
    for source in (IDS, both.encode(IDS, adapters="a")):
        with both.stream(source, adapters="a", max_new_tokens=6) as stream:
            both.unload_adapter("a")
            assert "".join(stream) == stream.result.text
        assert stream.result.token_ids == expected
        both.load_adapter(files / "a.gguf")


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"temperature": 1.0, "seed": 5}, {"repetition_penalty": 1.3}])
def test_every_way_of_generating(both: t5g.Model, options: dict[str, Any]) -> None:
    sources, chosen = [IDS, IDS[:5], IDS[2:]], ["a", [], "b"]
    together = both.generate_batch(sources, adapters=chosen, max_new_tokens=6, **options)
    alone = [
        both.generate_batch([source], adapters=[one], max_new_tokens=6, **options)[0]
        for source, one in zip(sources, chosen, strict=True)
    ]
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]


def test_score_is_that_of_the_logits(both: t5g.Model) -> None:
    logits = both.logits(IDS, TARGET[:-1], adapters="b").astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    found = both.score(IDS, TARGET[1:], adapters="b").token_logprobs
    np.testing.assert_allclose(found, expected[range(len(TARGET) - 1), TARGET[1:]], atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("c", "'c' is not loaded. There are: 'a', 'b'"),
        ({"a": "much"}, r"adapters\['a'\]: must be a number"),
        (3, "adapters: must be the name of an adapter"),
        ([1], "adapters: must be the name of an adapter"),
        (["a", "b", "a"], r"adapters: has 'a' twice. Write \{'a': 2.0\}"),
    ],
)
def test_wrong_choices(both: t5g.Model, wrong: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        both.encode(IDS, adapters=wrong)


def test_a_list_for_a_batch_has_one_for_each_source(both: t5g.Model) -> None:
    with pytest.raises(ValueError, match="there are 2 for 3 sources"):
        both.generate_batch([IDS] * 3, adapters=["a", "b"])


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_a_name_is_not_blank(files: Path, both: t5g.Model, name: str) -> None:
    before = dict(both.adapters)
    with pytest.raises(t5g.InvalidArgumentError, match=r"^name: must be a text that is not blank"):
        both.load_adapter(files / "a.gguf", name)
    assert dict(both.adapters) == before


def test_names_are_taken_once(files: Path, both: t5g.Model) -> None:
    with pytest.raises(ValueError, match="'a' is loaded already"):
        both.load_adapter(files / "a.gguf")
    with pytest.raises(ValueError, match="no adapter 'c' is loaded"):
        both.unload_adapter("c")
    with pytest.raises(FileNotFoundError):
        both.load_adapter(files / "none.gguf")
    with pytest.raises(t5g.ModelFormatError, match="expected a LoRA 'adapter'"):
        both.load_adapter(files / "m.gguf", "c")
    with pytest.raises(ValueError, match="scale"):
        both.load_adapter(files / "b.gguf", "c", float("nan"))


def test_an_adapter_is_no_model(files: Path, tmp_path: Path) -> None:
    with (
        t5g.Model(files / "m.gguf") as model,
        pytest.raises(IsADirectoryError, match=r"is a folder, .* t5g-convert .* --adapter"),
    ):
        model.load_adapter(files / "a")
    with pytest.raises(t5g.ModelFormatError, match=r"a\.gguf: key 'general\.type'.* Open its base"):
        t5g.Model(files / "a.gguf")
    with pytest.raises(t5g.ModelFormatError, match=r"a\.gguf: is an adapter, expected a model"):
        t5g.quantize(files / "a.gguf", tmp_path / "q.gguf", "q8_0")


def test_an_adapter_of_another_shape_is_refused(files: Path, model: t5g.Model, tmp_path: Path) -> None:
    second = "model.encoder.text_model" if model.config.architecture == "t5gemma2" else "model.encoder"
    name = f"{second}.layers.0.self_attn.q_proj"
    write_adapter(tmp_path / "wide", factors({name: (64, 96)}))
    t5g.convert(tmp_path / "wide", tmp_path / "wide.gguf", adapter=True)
    with pytest.raises(t5g.ModelFormatError, match=r"lora_a': has shape \[4, 96\], expected \[4, 64\]"):
        model.load_adapter(tmp_path / "wide.gguf")
    write_adapter(tmp_path / "deep", factors({name.replace("0", "77"): (64, 64)}))
    t5g.convert(tmp_path / "deep", tmp_path / "deep.gguf", adapter=True)
    with pytest.raises(t5g.ModelFormatError, match=r"enc\.blk\.77\.attn_q.*that the model lacks"):
        model.load_adapter(tmp_path / "deep.gguf")


def test_an_adapter_knows_its_base(files: Path, tmp_path: Path) -> None:
    t5g.convert(files / "a", tmp_path / "a.gguf", adapter=True, base=files / "hf")
    with t5g.Model(files / "m.gguf") as model:
        model.load_adapter(tmp_path / "a.gguf")
        architecture = model.config.architecture
    other = Folder.of(CONFIGS[architecture](), seed=99)
    t5g.convert(other.write(tmp_path / "other"), tmp_path / "other.gguf", type="q8_0")
    with (
        t5g.Model(tmp_path / "other.gguf") as model,
        pytest.raises(t5g.ModelFormatError, match="trained on another base"),
    ):
        model.load_adapter(tmp_path / "a.gguf")
    smaller = tmp_path / "smaller.gguf"
    t5g.quantize(files / "m.gguf", smaller, "q8_0")
    with t5g.Model(smaller) as model:  # of another type, and still the base
        model.load_adapter(tmp_path / "a.gguf")


def test_an_encoder_alone_takes_its_part(files: Path, tmp_path: Path) -> None:
    t5g.convert(files / "hf", tmp_path / "e.gguf", encoder_only=True, type="f32")
    with t5g.Model(tmp_path / "e.gguf") as alone, t5g.Model(files / "m.gguf") as whole:
        for model in (alone, whole):
            model.load_adapter(files / "a.gguf")
        np.testing.assert_array_equal(alone.encode(IDS).hidden_states, whole.encode(IDS).hidden_states)


def test_the_command_takes_adapters_and_scales(files: Path) -> None:
    def out(*arguments: object) -> bytes:
        found = run("bench", files / "m.gguf", "--source-tokens", "4", "--repeat", "1", "--json", *arguments)
        assert found.returncode == 0, found.stderr
        return found.stdout

    out("--lora", files / "a.gguf", "--lora", f"{files / 'b.gguf'}:0.5")
    wrong = run("bench", files / "m.gguf", "--lora", f"{files / 'c.gguf'}:0.5")
    assert wrong.returncode == 1
    assert b"c.gguf: no such file" in wrong.stderr
