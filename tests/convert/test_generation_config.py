"""generation_config.json becomes the file's defaults; what cannot is named in a note."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import t5g
from support.folders import Folder, t5gemma_config

gguf = pytest.importorskip("gguf")

from t5g_convert.generation import read_generation_defaults  # noqa: E402

IDS = {"bos_token_id": 2, "eos_token_id": [1, 6], "pad_token_id": 0, "transformers_version": "5.23.0"}


def read(folder: Path, wishes: dict[str, Any]) -> tuple[dict[str, Any], str]:
    (folder / "generation_config.json").write_text(json.dumps(IDS | wishes))
    found = read_generation_defaults(folder)
    return found.options, "\n".join(found.notes)


@pytest.mark.parametrize(
    ("wishes", "options"),
    [
        ({}, {}),
        ({"num_beams": 4, "early_stopping": True, "length_penalty": 0.6}, None),
        ({"num_beams": 4, "early_stopping": "never", "num_return_sequences": 3}, None),
        ({"repetition_penalty": 1.2, "no_repeat_ngram_size": 3}, None),
        ({"max_new_tokens": 64, "min_new_tokens": 8}, None),
        ({"max_length": 65, "min_length": 9}, {"max_new_tokens": 64, "min_new_tokens": 8}),
        ({"max_length": 65, "max_new_tokens": 32}, {"max_new_tokens": 32}),
        ({"min_length": 0}, {"min_new_tokens": 0}),
        ({"do_sample": True}, {"temperature": 1.0, "top_k": 50}),
        ({"do_sample": True, "temperature": 0.7, "top_k": 0, "top_p": 0.9, "min_p": 0.1}, None),
        ({"do_sample": True, "num_return_sequences": 3}, {"temperature": 1.0, "top_k": 50, "num_return_sequences": 3}),
        ({"do_sample": True, "temperature": 0.7, "top_k": 0, "typical_p": 0.9, "epsilon_cutoff": 3e-4}, None),
        ({"forced_bos_token_id": 7, "suppress_tokens": [3, 4]}, None),
        ({"encoder_repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 4}, None),
        ({"bad_words_ids": [[5], [6, 7]]}, {"bad_words": [[5], [6, 7]]}),
        # What changes nothing needs no option.
        ({"typical_p": 1.0, "encoder_no_repeat_ngram_size": 0, "use_cache": True, "suppress_tokens": None}, {}),
    ],
)
def test_options_are_taken_over(tmp_path: Path, wishes: dict[str, Any], options: dict[str, Any] | None) -> None:
    expected = {k: v for k, v in wishes.items() if k != "do_sample"} if options is None else options
    assert read(tmp_path, wishes) == (expected, "")


@pytest.mark.parametrize(
    ("wishes", "options", "words"),
    [
        ({"temperature": 0.7, "top_p": 0.9}, {}, "temperature, top_p but not do_sample = true: without effect"),
        ({"do_sample": False, "top_k": 64}, {}, "top_k but not do_sample"),
        ({"forced_eos_token_id": 7}, {}, "not taken over: forced_eos_token_id = 7."),
        ({"force_words_ids": [[5]], "num_beams": 2}, {"num_beams": 2}, r"not taken over: force_words_ids = \[\[5\]\]"),
        ({"forced_bos_token_id": "de", "suppress_tokens": [-1]}, {}, "forced_bos_token_id = 'de', suppress_tokens"),
        ({"bad_words_ids": [[]]}, {}, r"bad_words = \[\[\]\]"),
        ({"top_h": 0.5, "some_new_thing": 1}, {}, "top_h = 0.5, some_new_thing = 1"),
        ({"num_beams": 0}, {}, "num_beams = 0"),
        ({"num_beams": 1 << 20}, {}, "num_beams = 1048576"),
        ({"num_beams": "four"}, {}, "num_beams = 'four'"),
        ({"max_length": "long"}, {}, "max_new_tokens = 'long'"),
        ({"early_stopping": "sometimes"}, {}, "early_stopping"),
        ({"num_beams": 2, "do_sample": True}, {"num_beams": 2}, "beam search that samples"),
        ({"num_return_sequences": 2}, {}, "fewer beams or samples"),
        ({"num_beams": 2, "num_return_sequences": 3}, {"num_beams": 2}, "fewer beams or samples"),
        ({"min_new_tokens": 300}, {}, "shortest text is longer"),
        ({"stop_strings": [""]}, {}, r"stop_strings = \[''\]"),
    ],
)
def test_what_cannot_be_taken_over_is_named(
    tmp_path: Path, wishes: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    found, notes = read(tmp_path, wishes)
    assert found == options
    assert re.search(words, notes), notes
    assert "generation_config.json" in notes


@pytest.mark.parametrize(
    ("wishes", "options", "words"),
    [
        ({"suppress_tokens": [99, 3, 100]}, {"suppress_tokens": [99, 3]}, "suppress_tokens .* left out: 100."),
        ({"suppress_tokens": [2**31 - 1]}, {}, "suppress_tokens names tokens beyond the vocabulary of 100"),
        ({"bad_words_ids": [[5], [6, 700]]}, {"bad_words": [[5]]}, "bad_words_ids .* left out: 700."),
        ({"bad_words_ids": [[100]]}, {}, "bad_words_ids .* left out: 100."),
        ({"forced_bos_token_id": 100}, {}, "forced_bos_token_id .* left out: 100."),
        ({"forced_bos_token_id": True}, {}, "not taken over: forced_bos_token_id = True"),
        ({"suppress_tokens": [True], "bad_words_ids": [[False]]}, {}, r"suppress_tokens = \[True\], bad_words"),
    ],
)
def test_tokens_that_the_model_has_not_are_left_out(
    tmp_path: Path, wishes: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(IDS | wishes))
    found = read_generation_defaults(tmp_path, 100)
    assert found.options == options
    assert len(found.notes) == 1
    assert re.search(f"generation_config.json.*{words}", found.notes[0]), found.notes


def test_a_model_of_such_defaults_generates(tmp_path: Path) -> None:
    source = Folder.of(t5gemma_config()).write(tmp_path / "hf")
    (source / "generation_config.json").write_text(json.dumps(IDS | {"suppress_tokens": [99999], "stop_strings": "x"}))
    summary = t5g.convert(source, tmp_path / "m.gguf", type="f32")
    assert any("suppress_tokens names tokens beyond the vocabulary" in note for note in summary.notes)
    assert any("['x'] of stop_strings is left out" in note for note in summary.notes)
    with t5g.Model(tmp_path / "m.gguf") as model:
        assert model.generation_defaults == {}
        assert len(model.generate([5, 6], max_new_tokens=2).token_ids) <= 2


def test_without_the_file_config_json_is_asked(tmp_path: Path) -> None:
    config = {"model_type": "t5gemma", "num_beams": 3, "max_length": 9, "forced_eos_token_id": 5, "encoder": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = read_generation_defaults(tmp_path)
    assert found.options == {"num_beams": 3, "max_new_tokens": 8}
    assert found.notes == ["config.json asks for what is not taken over: forced_eos_token_id = 5."]


def test_from_the_folder_through_quantize_to_the_model(tmp_path: Path) -> None:
    source = Folder.of(t5gemma_config()).write(tmp_path / "hf")
    wishes: dict[str, Any] = {
        "do_sample": True,
        "temperature": 0.7,
        "top_k": 9,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "no_repeat_ngram_size": 4,
        "max_length": 33,
        "min_new_tokens": 3,
        "num_return_sequences": 2,
        "stop_strings": ["END", "\n\n"],
        "typical_p": 0.5,
        "forced_bos_token_id": 5,
        "suppress_tokens": [7, 9],
        "bad_words_ids": [[5], [6, 7]],
        "top_h": 0.5,
    }
    (source / "generation_config.json").write_text(json.dumps(IDS | wishes))
    assert read_generation_defaults(source).stop == wishes["stop_strings"]
    summary = t5g.convert(source, tmp_path / "m.gguf", type="f32")
    assert any("top_h = 0.5" in note for note in summary.notes)
    t5g.quantize(tmp_path / "m.gguf", tmp_path / "q.gguf", "q8_0")
    expected = {name: wishes[name] for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")}
    expected |= {name: wishes[name] for name in ("typical_p", "forced_bos_token_id", "suppress_tokens")}
    expected |= {
        "bad_words": wishes["bad_words_ids"],
        "no_repeat_ngram_size": 4,
        "max_new_tokens": 32,
        "min_new_tokens": 3,
        "num_return_sequences": 2,
    }
    for name in ("m.gguf", "q.gguf"):
        with t5g.Model(tmp_path / name) as model:
            assert model.generation_defaults == expected
        reader = gguf.GGUFReader(tmp_path / name)
        found = {key: reader.get_field(f"general.sampling.{key}").contents() for key in ("temp", "top_k", "top_p")}
        assert found == pytest.approx({"temp": 0.7, "top_k": 9, "top_p": 0.9})
