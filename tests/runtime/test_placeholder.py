"""A file without a tokenizer: ids in and ids out work, text in either direction is an error that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support import folders
from support.folders import Folder
from t5g.cli import info, run

pytest.importorskip("gguf")

IDS = [5, 9, 200, 31]
IMAGE = np.zeros((8, 8, 3), np.uint8)


def converted(config: dict[str, Any], folder: Path) -> Path:
    t5g.convert(Folder.of(config).write(folder / "hf"), folder / "model.gguf")
    return folder / "model.gguf"


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(folders.t5gemma2_config(), tmp_path_factory.mktemp("second"))


@pytest.fixture(scope="module", params=["first", "second"])
def path(request: pytest.FixtureRequest, second: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "second":
        return second
    return converted(folders.t5gemma_config(), tmp_path_factory.mktemp("first"))


@pytest.fixture
def model(path: Path) -> Iterator[t5g.Model]:
    with t5g.Model(path, n_threads=1) as opened:
        yield opened


CALLS: dict[str, Callable[[t5g.Model], Any]] = {
    "encode": lambda m: m.encode("text"),
    "encode nothing": lambda m: m.encode(""),
    "embed": lambda m: m.embed(["text"]),
    "generate": lambda m: m.generate("text"),
    "batch": lambda m: m.generate_batch([IDS, "text"]),
    "stream": lambda m: m.stream("text"),
    "prefix": lambda m: m.generate(IDS, decoder_prefix="text"),
    "stop": lambda m: m.generate(IDS, stop="text"),
    "score source": lambda m: m.score("text", IDS),
    "score target": lambda m: m.score(IDS, "text"),
    "logits": lambda m: m.logits("text", IDS),
    "tokenizer.encode": lambda m: m.tokenizer.encode("text"),
    "tokenizer.decode": lambda m: m.tokenizer.decode(IDS),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_text_is_an_error(model: t5g.Model, call: Callable[[t5g.Model], Any]) -> None:
    with pytest.raises(t5g.UnsupportedError, match=r"model\.gguf: has no tokenizer.*Give ids.*convert .* again"):
        call(model)


def test_text_with_images_is_an_error(second: Path) -> None:
    with t5g.Model(second) as model:
        for text in ("", "<start_of_image> text"):
            with pytest.raises(t5g.UnsupportedError, match="has no tokenizer"):
                model.encode(text, images=IMAGE)
        c = model.config
        assert c.vision is not None
        soft = [c.image_token_index] * c.vision.mm_tokens_per_image
        assert model.encode([c.boi_token_index, *soft, c.eoi_token_index], images=IMAGE).n_tokens == len(soft) + 2


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 1.0, "seed": 1}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}]
)
def test_ids_give_ids(model: t5g.Model, options: dict[str, Any]) -> None:
    out = model.generate(IDS, max_new_tokens=6, min_new_tokens=6, **options)
    assert len(out.token_ids) == 6
    assert [sequence.text for sequence in out.sequences] == [""] * len(out.sequences)
    assert "6 tokens" in repr(out)
    stream = model.stream(IDS, max_new_tokens=6, min_new_tokens=6, **options)
    assert list(stream) == []
    assert stream.result.token_ids == out.token_ids
    assert model.score(IDS, out.token_ids).token_logprobs.shape == (6,)
    assert model.embed([IDS]).shape == (1, model.config.encoder.hidden_size)


def test_programs_can_ask(model: t5g.Model, tiny_model: t5g.Model) -> None:
    assert model.tokenizer.is_placeholder
    assert model.tokenizer.vocab_size == model.config.vocab_size
    assert not tiny_model.tokenizer.is_placeholder
    with t5g.Model() as bundled:
        assert not bundled.tokenizer.is_placeholder


def test_a_quantised_file_still_says_so(path: Path, tmp_path: Path) -> None:
    t5g.quantize(path, tmp_path / "q.gguf", "q4_0")
    with t5g.Model(tmp_path / "q.gguf") as model, pytest.raises(t5g.UnsupportedError, match="has no tokenizer"):
        model.generate("text")


def test_a_file_of_an_older_converter(path: Path, tmp_path: Path) -> None:
    """Which says nothing about it."""
    content = path.read_bytes()
    assert b"tokenizer.t5g.placeholder" in content
    (tmp_path / "old.gguf").write_bytes(content.replace(b"tokenizer.t5g.placeholder", b"tokenizer.t5g.another_key"))
    with t5g.Model(tmp_path / "old.gguf") as model, pytest.raises(t5g.UnsupportedError, match="has no tokenizer"):
        model.generate("text")


def test_a_tokenizer_that_was_left_out(tmp_path: Path) -> None:
    folder = Folder.of(folders.t5gemma2_config()).write(tmp_path / "hf")
    (folder / "tokenizer.json").write_text("{not looked at")
    t5g.convert(folder, tmp_path / "m.gguf", tokenizer=False)
    with t5g.Model(tmp_path / "m.gguf") as model, pytest.raises(t5g.UnsupportedError, match="has no tokenizer"):
        model.generate("text")


def test_a_tiny_vocabulary_without_bytes(tmp_path: Path) -> None:
    config = folders.t5gemma_config()
    for side in ("encoder", "decoder"):
        config[side]["vocab_size"] = 40
    config["eos_token_id"] = 1
    t5g.convert(Folder.of(config).write(tmp_path / "hf"), tmp_path / "m.gguf")
    with t5g.Model(tmp_path / "m.gguf") as model:
        assert len(model.generate([5, 6], max_new_tokens=3, min_new_tokens=3).token_ids) == 3
        with pytest.raises(t5g.UnsupportedError, match="has no tokenizer"):
            model.generate("text")


def test_the_commands_say_so(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([str(path), "-p", "text"]) == 1
    error = capsys.readouterr()
    assert error.out == ""
    assert error.err.startswith(f"t5g-run: error: {path}: has no tokenizer")
    assert run.main([str(path), "--no-source"]) == 1
    assert "has no tokenizer" in capsys.readouterr().err
    assert run.main([str(path), "--no-source", "-n", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["text"] == ""
    assert 1 <= len(answer["token_ids"]) <= 3
    assert info.main([str(path)]) == 0
    assert "tokenizer: none, so it takes and gives token ids only" in capsys.readouterr().out
