"""Sources and targets in every shape: what is taken, and messages that name the argument, the item and the way out."""

from __future__ import annotations

import array
import copy
import io
import pickle
from collections import UserDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g

IDS = [5, 9, 200, 31]
FEW = {"max_new_tokens": 3}


def message(call: Callable[[], object], kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, t5g.T5gError)
    return str(caught.value)


# ---- What is taken ----


def test_ids_of_every_kind(tiny_model: t5g.Model) -> None:
    expected = tiny_model.generate(IDS, **FEW).token_ids
    for given in (
        tuple(IDS), iter(IDS), (i for i in IDS), array.array("q", IDS), np.array(IDS), np.array(IDS, np.uint16),
        [np.int64(i) for i in IDS], [np.array(i) for i in IDS], np.array(IDS, object),
        [IDS], (tuple(IDS),), np.array([IDS]), [np.array(IDS)],
    ):  # fmt: skip
        assert tiny_model.generate(given, **FEW).token_ids == expected
    for given in (tuple(IDS), np.array([IDS]), [IDS]):
        assert tiny_model.encode(given).token_ids == IDS
        assert tiny_model.score(IDS, given).token_ids == IDS
        np.testing.assert_array_equal(tiny_model.logits(IDS, given), tiny_model.logits(IDS, IDS))
        assert tiny_model.tokenizer.decode(given) == tiny_model.tokenizer.decode(IDS)
        assert tiny_model.generate(IDS, decoder_prefix=given, **FEW).token_ids
    np.testing.assert_array_equal(tiny_model.embed(np.array([IDS, IDS])), tiny_model.embed([IDS, IDS]))
    batch = tiny_model.generate_batch(np.array([IDS, IDS]), **FEW)
    assert [one.token_ids for one in batch] == [expected] * 2


def test_torch_tensors_of_ids(tiny_model: t5g.Model) -> None:
    torch = pytest.importorskip("torch")
    expected = tiny_model.generate(IDS, **FEW).token_ids
    for given in (torch.tensor(IDS), torch.tensor([IDS]), torch.tensor(IDS, dtype=torch.int16), [*torch.tensor(IDS)]):
        assert tiny_model.generate(given, **FEW).token_ids == expected
    with pytest.raises(TypeError, match="token ids must be integers, got 5"):
        tiny_model.generate(torch.tensor(IDS).float())
    with pytest.raises(ValueError, match=r"source: must be token ids \[n\] or \[1, n\], got the shape \[2, 4\]"):
        tiny_model.generate(torch.tensor([IDS, IDS]))


class Column:
    """What a column of a pandas table shows of itself: it has keys, but is iterated over by its values."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values
        self.shape, self.ndim = (len(values),), 1

    def keys(self) -> range:
        return range(len(self._values))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def tolist(self) -> list[Any]:
        return self._values


class Table:
    """What a pandas table shows of itself: it is iterated over by the names of its columns."""

    shape, ndim, columns = (3, 2), 2, (0, 1)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.columns)


def test_columns_of_a_table(tiny_model: t5g.Model) -> None:
    texts = ["one text", "another"]
    np.testing.assert_array_equal(tiny_model.embed(Column(texts)), tiny_model.embed(texts))
    assert tiny_model.encode(Column(IDS)).token_ids == IDS
    for call in (tiny_model.embed, tiny_model.generate_batch):
        assert message(lambda c=call: c(Table()), TypeError).endswith("Give one of its columns.")
    assert "got the shape [3, 2]" in message(lambda: tiny_model.encode(Table()))


def test_one_id_can_be_decoded(tiny_model: t5g.Model) -> None:
    for one in (5, np.int64(5), np.array(5)):
        assert tiny_model.tokenizer.decode(one) == tiny_model.tokenizer.decode([5])


def test_nothing_is_something_to_begin_with(tiny_model: t5g.Model) -> None:
    """Empty texts, ids and lists are sources, targets and batches like others."""
    for empty in ("", [], (), np.array([], np.int64), np.zeros((1, 0), np.int64), [[]]):
        assert tiny_model.generate(empty, **FEW).finish_reason in ("stop", "length")
        assert (
            tiny_model.generate(IDS, decoder_prefix=empty, **FEW).token_ids == tiny_model.generate(IDS, **FEW).token_ids
        )
        assert tiny_model.score(IDS, empty).logprob == 0
    assert tiny_model.logits(IDS, []).shape == (0, tiny_model.config.vocab_size)
    assert tiny_model.generate_batch([]) == []
    assert tiny_model.embed([], pooling="none") == []
    assert tiny_model.tokenizer.decode([]) == ""
    for stop in (None, [], (), iter([])):
        assert tiny_model.generate(IDS, stop=stop, **FEW).token_ids == tiny_model.generate(IDS, **FEW).token_ids


# ---- What is refused ----


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), np.bytes_(b"abc")], ids=type)
def test_bytes_are_neither_text_nor_ids(tiny_model: t5g.Model, data: Any) -> None:
    calls: dict[str, Callable[[], object]] = {
        "source": lambda: tiny_model.generate(data),
        "decoder_prefix": lambda: tiny_model.generate(IDS, decoder_prefix=data),
        "sources[1]": lambda: tiny_model.generate_batch([IDS, data]),
        "texts[0]": lambda: tiny_model.embed([data]),
        "target": lambda: tiny_model.score(IDS, data),
        "target_ids": lambda: tiny_model.logits(IDS, data),
        "ids": lambda: tiny_model.tokenizer.decode(data),
        "text": lambda: tiny_model.tokenizer.encode(data),
        "stop[1]": lambda: tiny_model.generate(IDS, stop=["a", data]),
        "messages[0]: content": lambda: tiny_model.apply_chat_template([{"role": "user", "content": data}]),
    }
    for name, call in calls.items():
        text = message(call, TypeError)
        assert text.startswith(f"{name}: must be ")
        assert "Decode" in text


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (None, "An empty list stands for no tokens at all."),
        (["a text"], "One text is given as it is, without a list around it"),
        ({"input_ids": IDS, "attention_mask": [1]}, 'tokens["input_ids"]'),
        (UserDict(input_ids=IDS), 'tokens["input_ids"]'),
        ({5, 9}, "A set has no order."),
        (Path("report.txt"), "path.read_text()"),
        (io.StringIO("text"), "file.read()"),
        ([5.0], "token ids must be integers, got 5.0 at position 0"),
        ([5, True], "token ids must be integers, got True at position 1"),
        ([5, None], "token ids must be integers, got None at position 1"),
        (np.array([0.5]), "token ids must be integers, got 0.5 at position 0"),
        (5, "got 5."),
        (np.int64(5), "got an int64."),
    ],
    ids=str,
)
def test_what_is_no_source_says_what_to_do(tiny_model: t5g.Model, source: Any, advice: str) -> None:
    for call in (tiny_model.generate, tiny_model.encode, tiny_model.stream):
        text = message(lambda c=call: c(source), TypeError)
        assert text.startswith("source: ")
        assert advice in text


@pytest.mark.parametrize("rows", [np.array([IDS, IDS]), [IDS, IDS], [IDS, 5], np.zeros((1, 2, 2), int)], ids=str)
def test_several_rows_are_several_sources(tiny_model: t5g.Model, rows: Any) -> None:
    for call in (tiny_model.generate, tiny_model.encode):
        text = message(lambda c=call: c(rows))
        assert text.startswith("source: must be ")
        assert "generate_batch and embed take several" in text


@pytest.mark.parametrize("wrong", [-1, 384, 2**31 - 1, 2**31, 2**32 + 5, 2**40, 2**64, -(2**70)])
def test_ids_outside_the_vocabulary_are_named_as_they_are(tiny_model: t5g.Model, wrong: int) -> None:
    n = tiny_model.config.vocab_size
    for call, name in (
        (lambda: tiny_model.generate([5, wrong]), "source"),
        (lambda: tiny_model.encode([5, wrong]), "source"),
        (lambda: tiny_model.generate_batch([IDS, [5, wrong]]), "sources[1]"),
        (lambda: tiny_model.embed([IDS, IDS, [5, wrong]]), "texts[2]"),
        (lambda: tiny_model.generate(IDS, decoder_prefix=[5, wrong]), "decoder_prefix"),
        (lambda: tiny_model.score(IDS, [5, wrong]), "target"),
        (lambda: tiny_model.logits(IDS, [5, wrong]), "target_ids"),
        (lambda: tiny_model.tokenizer.decode([5, wrong]), "ids"),
    ):
        assert message(call) == f"{name}: token 1 is {wrong}, outside the model's vocabulary of {n} tokens."


def test_lists_in_lists_end_somewhere(tiny_model: t5g.Model) -> None:
    endless: list[Any] = []
    endless.append(endless)
    for deep in ([[IDS]], [[[[IDS]]]], endless):
        assert "lists in lists in a list" in message(lambda it=deep: tiny_model.encode(it))


def test_what_is_too_long_gives_its_place_and_both_counts(tiny_model: t5g.Model) -> None:
    source_limit = tiny_model.config.encoder.max_position_embeddings
    target_limit = tiny_model.config.decoder.max_position_embeddings
    for limit, name, call in (
        (source_limit, "source", lambda ids: tiny_model.generate(ids)),
        (source_limit, "sources[1]", lambda ids: tiny_model.generate_batch([IDS, ids, IDS])),
        (source_limit, "texts[2]", lambda ids: tiny_model.embed([IDS, IDS, ids])),
        (target_limit, "decoder_prefix", lambda ids: tiny_model.generate(IDS, decoder_prefix=ids)),
        (target_limit, "target", lambda ids: tiny_model.score(IDS, ids)),
        (target_limit, "target_ids", lambda ids: tiny_model.logits(IDS, ids)),
    ):
        with pytest.raises(t5g.InputTooLongError) as caught:
            call([5] * (limit + 1))
        assert str(caught.value).startswith(f"{name} has {limit + 1} tokens, but the model's limit is {limit}.")
        assert (caught.value.n_tokens, caught.value.limit) == (limit + 1, limit)
    text = "a b c " * source_limit
    with pytest.raises(t5g.InputTooLongError, match=r"^sources\[1\] has \d+ tokens"):
        tiny_model.generate_batch(["short", text])


def test_the_wrong_one_of_a_list_is_named_before_any_work(tiny_model: t5g.Model, other_path: Path) -> None:
    with t5g.Model(other_path) as other:
        foreign = other.encode(IDS)
    calls: dict[str, Callable[[], object]] = {
        "sources[1] was encoded with another model": lambda: tiny_model.generate_batch([IDS, foreign]),
        "source was encoded with another model": lambda: tiny_model.score(foreign, IDS),
        "texts[1] was encoded with another model": lambda: tiny_model.embed(["a", foreign]),
        "stop[2]: must be a text of one character or more": lambda: tiny_model.generate(IDS, stop=["a", "b", ""]),
        "stop: must be a text of one character or more": lambda: tiny_model.generate(IDS, stop=""),
        "sources[1]: character 2 is half a character": lambda: tiny_model.generate_batch(["a", "ab\ud83d"]),
        "images: expected a list of 2": lambda: tiny_model.generate_batch([IDS, IDS], images=[None]),
    }
    for text, call in calls.items():
        assert message(call).startswith(text)
    assert message(lambda: tiny_model.generate_batch("text"), TypeError).startswith(
        "sources: must be a list of sources"
    )
    assert message(lambda: tiny_model.embed("text"), TypeError).endswith("Write [text] for a single one.")
    assert "encode(text, add_special_tokens=False)" in message(lambda: tiny_model.logits(IDS, "text"), TypeError)
    for call in (tiny_model.encode, lambda s: tiny_model.score(IDS, s), lambda s: tiny_model.generate(s, images=[5])):
        with pytest.raises((TypeError, ValueError), match=r"EncodedSource|already encoded"):
            call(tiny_model.encode(IDS))


def test_a_closed_model_says_so_whatever_is_given(tiny_path: Path, tmp_path: Path) -> None:
    model = t5g.Model(tiny_path)
    source = model.encode(IDS)
    source.save(tmp_path / "source")
    model.close()
    for call in (
        lambda: model.generate(IDS), lambda: model.generate(source), lambda: model.generate(None),
        lambda: model.generate_batch([IDS]), lambda: model.stream(IDS), lambda: model.encode(IDS),
        lambda: model.embed(["a"]), lambda: model.score(IDS, IDS), lambda: model.logits(IDS, IDS), model.memory,
        lambda: model.apply_chat_template([]), lambda: model.kv_type, lambda: model.device, lambda: model.n_threads,
        lambda: t5g.EncodedSource.load(model, tmp_path / "source"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="the model is closed"):
            call()


def test_what_belongs_to_a_process_says_how_it_gets_into_another(tiny_model: t5g.Model) -> None:
    source = tiny_model.encode(IDS)
    for thing, advice in (
        (tiny_model, "Open its file in each process"),
        (source, "EncodedSource.load(model, path)"),
        (tiny_model.tokenizer, "t5g.Model(path).tokenizer"),
    ):
        assert advice in message(lambda it=thing: pickle.dumps(it), TypeError)
    assert copy.deepcopy(source) is copy.copy(source) is source
    assert copy.deepcopy(tiny_model.tokenizer) is tiny_model.tokenizer
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        copy.deepcopy(tiny_model)
    assert pickle.loads(pickle.dumps(tiny_model.generate(IDS, **FEW))).token_ids


# ---- Conversations ----


def test_the_parts_of_a_message(tiny_model: t5g.Model) -> None:
    from t5g.chat import pairs

    part = {"type": "text", "text": "one"}
    assert pairs([{"role": "user", "content": [part, "two", {"text": "three"}]}]) == [("user", "one\ntwo\nthree")]
    assert pairs(({"role": "user", "content": ()},)) == [("user", "")]
    assert pairs([UserDict(role="user", content="text", name="me")]) == [("user", "text")]
    image = {"type": "image_url", "image_url": {"url": "data:..."}}
    cases: dict[str, Any] = {
        "messages[0]: content[1]: is an image, but": [{"role": "user", "content": [part, image]}],
        "messages[0]: content[0]: has the type 'input_audio'": [{"role": "user", "content": [{"type": "input_audio"}]}],
        "messages[1]: content: must be a str or a list of text parts, got None": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None},
        ],
        'messages[0]: has no "role"': [{"content": "a"}],
        'messages[0]: has no "content"': [{"role": "user"}],
        "messages[0]: must be a dict": ["text"],
        "messages: must be a list": {"role": "user", "content": "a"},
    }
    for text, messages in cases.items():
        with pytest.raises((TypeError, ValueError)) as caught:
            tiny_model.apply_chat_template(messages)
        assert str(caught.value).startswith(text)
        assert isinstance(caught.value, t5g.T5gError)


# ---- Files ----


def test_names_of_files_of_every_kind(tiny_path: Path, tmp_path: Path) -> None:
    odd = tmp_path / "caf\udce9 ö.gguf"
    try:
        odd.write_bytes(tiny_path.read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    for path in (odd, str(odd), str(odd).encode(errors="surrogateescape")):
        with t5g.Model(path) as model:
            assert model.path == odd
            model.encode(IDS).save(str(odd) + ".source")
            assert t5g.EncodedSource.load(model, str(odd) + ".source").token_ids == IDS
    (tmp_path / "bad\udce9.gguf").write_text("no model")
    with pytest.raises(t5g.ModelFormatError, match=r"bad\\xe9\.gguf: not a GGUF file"):
        t5g.Model(tmp_path / "bad\udce9.gguf")
    with pytest.raises(FileNotFoundError, match=r"none\\xe9\.gguf"):
        t5g.Model(tmp_path / "none\udce9.gguf")


@pytest.mark.parametrize("value", [2.5, 2.0, True, "2", None, 0, -1, 2**40, 2**70], ids=repr)
def test_numbers_of_threads(tiny_path: Path, value: Any) -> None:
    if value is None:
        t5g.Model(tiny_path, n_threads=value).close()
        return
    with pytest.raises((TypeError, ValueError), match="n_threads"):
        t5g.Model(tiny_path, n_threads=value)
    with t5g.Model(tiny_path, n_threads=np.int64(2)) as model:
        assert model.n_threads == 2
