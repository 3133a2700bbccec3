"""The options that a file asks for count where a call says nothing, and give way where it does."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from t5g.options import fitting

pytest.importorskip("gguf")
GOLDEN = Path(__file__).parents[1] / "goldens" / "v1-mha-w4.gguf"
SOURCE = [20, 30, 40, 50, 60]


def rewritten(path: Path, **defaults: Any) -> Path:
    """The golden model with these defaults."""
    from t5g_convert import requantize
    from t5g_convert.metadata import T, Value

    original = requantize._metadata
    elements = {int: T.INT32, str: T.STRING}
    kinds = {int: T.UINT32, float: T.FLOAT64, str: T.STRING}

    def metadata(*arguments: Any) -> Any:
        values = {
            name: Value(v, T.ARRAY, elements[type(v[0])]) if isinstance(v, list) else Value(v, kinds[type(v)])
            for name, v in defaults.items()
        }
        return original(*arguments) | {f"t5gemma.generation.{name}": value for name, value in values.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requantize, "_metadata", metadata)
        t5g.quantize(GOLDEN, path, "f32")
    return path


@pytest.fixture(scope="module")
def plain() -> Iterator[t5g.Model]:
    with t5g.Model(GOLDEN) as model:
        yield model


def ids(model: t5g.Model, **options: Any) -> list[int]:
    return model.generate(SOURCE, **options).token_ids


def test_a_file_without_them_has_none(plain: t5g.Model) -> None:
    assert plain.generation_defaults == {}
    assert (plain.generation_defaults.num_beams, plain.generation_defaults.max_new_tokens) == (1, 256)
    assert plain.generation_defaults.stop == ()
    with pytest.raises(AttributeError, match="no option 'beams'"):
        _ = plain.generation_defaults.beams


def test_copies_are_the_same_and_nothing_is_pickled(plain: t5g.Model) -> None:
    assert copy.deepcopy(plain.generation_defaults) is plain.generation_defaults
    with pytest.raises(t5g.ArgumentTypeError, match=r"Use dict\(model.generation_defaults\)"):
        pickle.dumps(plain.generation_defaults)


def test_they_cannot_be_changed(plain: t5g.Model) -> None:
    with pytest.raises(AttributeError, match="do not change"):
        plain.generation_defaults.num_beams = 4  # type: ignore[misc]
    with pytest.raises(TypeError):
        plain.generation_defaults["num_beams"] = 4  # type: ignore[index]


@pytest.mark.parametrize(
    "defaults",
    [
        {"num_beams": 3, "length_penalty": 0.5, "early_stopping": "true", "max_new_tokens": 7},
        {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, "max_new_tokens": 12},
        {"min_new_tokens": 9, "max_new_tokens": 11},
    ],
    ids=str,
)
def test_they_count_where_nothing_is_given(tmp_path: Path, plain: t5g.Model, defaults: dict[str, Any]) -> None:
    given = {k: {"true": True, "false": False}.get(v, v) for k, v in defaults.items()}
    with t5g.Model(rewritten(tmp_path / "m.gguf", **defaults)) as model:
        assert model.generation_defaults == given
        expected = ids(plain, **given)
        assert expected != ids(plain)[: len(expected)] or len(expected) < len(ids(plain))
        assert ids(model) == expected
        assert model.generate_batch([SOURCE, SOURCE[:2]])[0].token_ids == expected
        assert next(model.generate_iter([SOURCE])).token_ids == expected
        with model.stream(SOURCE) as stream:
            assert "".join(stream) == plain.generate(SOURCE, **given).text
        assert ids(model, **t5g.options.plain()) == ids(plain)


@pytest.mark.parametrize(
    ("defaults", "given", "flags"),
    [
        ({"suppress_tokens": [7, 99999]}, {"suppress_tokens": [7]}, ["--suppress-tokens", "7"]),
        ({"bad_words": [7, 99999, -1]}, {"bad_words": ()}, ["--bad-word", "x"]),
        ({"forced_bos_token_id": 99999}, {"forced_bos_token_id": 7}, ["--forced-bos", "7"]),
    ],
    ids=str,
)
def test_tokens_that_the_file_has_not_are_the_files_fault(
    tmp_path: Path, defaults: dict[str, Any], given: dict[str, Any], flags: list[str]
) -> None:
    from t5g.cli import run

    path = rewritten(tmp_path / "m.gguf", **defaults)
    ((name, _),) = given.items()
    with t5g.Model(path) as model:
        with pytest.raises(
            t5g.ModelFormatError, match=rf"m\.gguf: its own default of {name} has token 99999, .*{name}"
        ):
            model.generate(SOURCE, max_new_tokens=2)
        assert model.generate(SOURCE, max_new_tokens=2, **given).token_ids
    assert run.main([str(path), "-p", "x", "--no-stdin", "-n", "2", "--json"]) == 1
    assert run.main([str(path), "-p", "x", "--no-stdin", "-n", "2", "--json", *flags]) == 0


def test_sampling_counts_with_the_seed_of_the_call(tmp_path: Path, plain: t5g.Model) -> None:
    defaults = {"temperature": 0.9, "top_k": 20, "top_p": 0.8, "max_new_tokens": 20}
    with t5g.Model(rewritten(tmp_path / "m.gguf", **defaults)) as model:
        assert ids(model, seed=3) == ids(plain, seed=3, **defaults)
        assert ids(model, temperature=0.0) == ids(plain, max_new_tokens=20)


def test_stop_texts(tmp_path: Path, plain: t5g.Model) -> None:
    text = plain.generate(SOURCE, max_new_tokens=20).text
    stop = text[4:6]
    with t5g.Model(rewritten(tmp_path / "m.gguf", stop=[stop], max_new_tokens=20)) as model:
        assert model.generation_defaults.stop == (stop,)
        assert model.generate(SOURCE).text == text[: text.index(stop)]
        assert model.generate(SOURCE, stop=()).text == text


@pytest.mark.parametrize(
    ("defaults", "given", "expected"),
    [
        ({"num_beams": 4, "length_penalty": 0.5}, {"temperature": 0.5}, {}),
        ({"num_beams": 4}, {"temperature": 0.0}, {"num_beams": 4}),
        ({"temperature": 0.5, "top_k": 9, "max_new_tokens": 5}, {"num_beams": 2}, {"max_new_tokens": 5}),
        ({"temperature": 0.5, "top_k": 9}, {"num_beams": 1}, {"temperature": 0.5, "top_k": 9}),
        ({"min_new_tokens": 50}, {"max_new_tokens": 10}, {"min_new_tokens": 10}),
        ({"num_beams": 4, "num_return_sequences": 4}, {"num_beams": 2}, {"num_return_sequences": 2}),
        ({"temperature": 1.0, "num_return_sequences": 4}, {"temperature": 0.0}, {"num_return_sequences": 1}),
    ],
)
def test_defaults_give_way_to_what_is_given(
    plain: t5g.Model, defaults: dict[str, Any], given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert fitting(defaults, given) == expected
    plain.generate([], max_new_tokens=1, **{k: v for k, v in (expected | given).items() if "new_tokens" not in k})


def test_options_that_have_an_effect_with_the_files_are_not_warned_of(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with t5g.Model(rewritten(tmp_path / "m.gguf", num_beams=2, max_new_tokens=3)) as model:
        ids(model, length_penalty=0.25)
    assert not [w for w in recwarn if "no effect" in str(w.message)]


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        ({"num_beams": 0}, "num_beams: must be at least 1"),
        ({"num_beams": 2, "temperature": 1.0}, "beam search does not sample"),
        ({"num_beams": "two"}, "num_beams.*has type string, expected i32"),
        ({"early_stopping": "often"}, "early_stopping.*'often', expected 'true' or 'false' or 'never'"),
        ({"temperature": float("nan")}, "temperature.*finite"),
        ({"stop": [""]}, "stop.*empty"),
    ],
)
def test_damaged_defaults_are_a_format_error(tmp_path: Path, defaults: dict[str, Any], words: str) -> None:
    path = rewritten(tmp_path / "m.gguf", **defaults)
    with pytest.raises(t5g.ModelFormatError, match=words) as error:
        t5g.Model(path)
    assert "m.gguf" in str(error.value)


def test_the_commands_use_and_show_them(tmp_path: Path, plain: t5g.Model) -> None:
    path = rewritten(tmp_path / "m.gguf", num_beams=3, max_new_tokens=5)

    def run(command: str, *arguments: str) -> str:
        line = [sys.executable, "-m", f"t5g.cli.{command}", str(path), *arguments]
        return subprocess.run(line, capture_output=True, check=True, timeout=60, text=True).stdout

    text = "the quick brown fox"
    out = json.loads(run("run", "-p", text, "--json", "--raw"))
    assert out["token_ids"] == plain.generate(text, num_beams=3, max_new_tokens=5).token_ids
    out = json.loads(run("run", "-p", text, "--json", "--raw", "--num-beams", "1", "-n", "9"))
    assert out["token_ids"] == plain.generate(text, max_new_tokens=9).token_ids
    assert json.loads(run("info", "--json"))["generation_defaults"] == {"max_new_tokens": 5, "num_beams": 3}
    assert "generation defaults: max_new_tokens 5, num_beams 3" in run("info")


@pytest.mark.oracle
@pytest.mark.parametrize(
    "wishes",
    [
        {"max_length": 9},
        {"max_length": 9, "min_length": 9, "num_beams": 3},
        {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "max_new_tokens": 12},
        {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "max_new_tokens": 15},
        {"temperature": 0.1, "top_k": 3, "max_new_tokens": 8},
    ],
    ids=str,
)
def test_the_same_tokens_as_transformers_with_the_same_file(tmp_path: Path, wishes: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from support.cases import BY_NAME, EOS
    from support.checkpoints import save_checkpoint

    save_checkpoint(BY_NAME["v1-gqa-w3"], tmp_path / "hf")
    path = tmp_path / "hf" / "generation_config.json"
    path.write_text(json.dumps({"bos_token_id": 2, "eos_token_id": [EOS, 6], "pad_token_id": 0} | wishes))
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hf").eval()
    t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32")
    rng = np.random.default_rng(0)
    with t5g.Model(tmp_path / "m.gguf", encoder_window="inclusive") as model:
        for length in (3, 9, 14):
            source = rng.integers(10, 380, length).tolist()
            expected = theirs.generate(torch.tensor([source]))[0].tolist()[1:]
            assert ids(model) is not None
            assert model.generate(source).token_ids == expected
