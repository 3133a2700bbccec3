"""Keyword arguments that a call does not have: the nearest right one, or what t5g has instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import t5g
from t5g import keywords, options

IDS = [5, 9, 200]


def answer(call: Callable[..., object], **given: Any) -> str:
    with pytest.raises(TypeError) as caught:
        call(**given)
    assert isinstance(caught.value, t5g.ArgumentTypeError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("temprature", "temperature"),
        ("Temperature", "temperature"),
        ("max_new_token", "max_new_tokens"),
        ("maxnewtokens", "max_new_tokens"),
        ("topk", "top_k"),
        ("top_K", "top_k"),
        ("numbeams", "num_beams"),
        ("beams", "num_beams"),
        ("repitition_penalty", "repetition_penalty"),
        ("stops", "stop"),
        ("image", "images"),
        ("decoder_prefixes", "decoder_prefix"),
        ("early_stop", "early_stopping"),
        ("random_seed", "seed"),
    ],
)
def test_a_misspelt_option_names_the_nearest(tiny_model: t5g.Model, wrong: str, right: str) -> None:
    for call in (tiny_model.generate, tiny_model.stream):
        message = answer(call, source=IDS, **{wrong: 1})
        assert message == f"Model.{call.__name__}: has no argument {wrong!r}. Did you mean {right}?"
    assert f"Did you mean {right}?" in answer(tiny_model.generate_batch, sources=[IDS], **{wrong: 1})


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("do_sample", "temperature"),
        ("max_length", "max_new_tokens"),
        ("min_length", "min_new_tokens"),
        ("eos_token_id", "stop="),
        ("pad_token_id", "nothing is padded"),
        ("attention_mask", "nothing is padded"),
        ("input_ids", "model.generate(ids)"),
        ("inputs", "model.generate(source)"),
        ("top_h", "top_k, top_p, min_p, typical_p"),
        ("return_dict", "t5g.Generation"),
        ("return_dict_in_generate", "t5g.Generation"),
        ("forced_eos_token_id", "eos_token_ids=[...]"),
        ("prefix_allowed_tokens_fn", "allowed_tokens="),
        ("constraints", "json_schema="),
        ("decoder_input_ids", "decoder_prefix="),
        ("streamer", "model.stream(source)"),
        ("generation_config", "model.generate(source, max_new_tokens=100)"),
        ("bad_words_ids", "bad_words="),
        ("max_tokens", "max_new_tokens="),
    ],
)
def test_hugging_faces_names_say_what_to_write(tiny_model: t5g.Model, name: str, instead: str) -> None:
    # Without the source, too: generate(input_ids=...) must not complain of a missing argument.
    for given in ({"source": IDS, name: 1}, {name: 1}):
        message = answer(tiny_model.generate, **given)
        assert message.startswith(f"Model.generate: has no argument {name!r}. ")
        assert instead in message


def test_other_calls_answer_too(tiny_model: t5g.Model, tmp_path: Path) -> None:
    assert "generate and its like" in answer(tiny_model.score, source=IDS, target=[5], num_return_sequences=2)
    assert "is 'end' here" in answer(tiny_model.encode, text_or_ids="a", truncation=True)
    assert "NumPy arrays" in answer(tiny_model.tokenizer.encode, text="a", return_tensors="pt")
    assert "Did you mean skip_special_tokens?" in answer(tiny_model.tokenizer.decode, ids=[5], skip_special=True)
    assert "the model's turn" in answer(tiny_model.apply_chat_template, messages=[], add_generation_prompt=True)
    assert "Did you mean normalize?" in answer(tiny_model.embed, texts=["a"], normalise=True)
    assert "Did you mean n_threads?" in answer(t5g.Model, path="none", num_threads=2)
    assert "the file has its types" in answer(t5g.Model, path="none", torch_dtype="auto")
    assert "Did you mean n_threads?" in answer(t5g.convert, hf_dir="a", out_path="b", threads=2)
    assert "Did you mean dry_run?" in answer(t5g.quantize, in_path="a", out_path="b", type="f32", dryrun=True)
    message = answer(tiny_model.logits, source=IDS, target_ids=[2], xyzzy=1)
    assert message.endswith("It has source, target_ids, images, pan_and_scan, parse_special, truncation, adapters.")


def test_what_is_known_is_not_explained_away() -> None:
    """No advice hides an option that there is, and all of it speaks of options that there are."""
    for call in (t5g.Model, t5g.Model.generate, t5g.Model.generate_batch, t5g.Model.encode, t5g.Model.score):
        own = set(inspect.signature(call).parameters)
        assert not own & set(keywords.ADVICE) - {"skip_special_tokens"}
    assert not set(options.names()) & set(keywords.ADVICE) - {"num_return_sequences"}


@pytest.mark.oracle
def test_every_option_of_transformers_is_an_option_or_has_its_answer() -> None:
    config = pytest.importorskip("transformers").GenerationConfig()
    generate = set(inspect.signature(pytest.importorskip("transformers").GenerationMixin.generate).parameters)
    internal = {"transformers_version", "self", "kwargs"}
    names = {name for name in (set(vars(config)) | generate) - internal if not name.startswith("_")}
    assert len(names) > 50
    assert not names - set(options.table()) - set(keywords.ADVICE)


def test_signatures_and_documentation_stay(tiny_model: t5g.Model) -> None:
    assert list(inspect.signature(tiny_model.score).parameters)[:2] == ["source", "target"]
    assert "How likely a target is" in (tiny_model.score.__doc__ or "")
    assert tiny_model.score.__name__ == "score"
