"""Long calls: progress, limits, what is cut, memory that is checked first, and pages that are forgotten."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from t5g.truncation import cut

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture(scope="module")
def model() -> Iterator[t5g.Model]:
    with t5g.Model(GOLDENS / "v2-gqa-w5.gguf", max_source_tokens=100) as model:
        yield model


def ids(n: int) -> list[int]:
    return np.random.default_rng(n).integers(10, 384, n).tolist()


# ---- Progress ----


def test_progress_goes_from_nothing_to_all(model: t5g.Model) -> None:
    with t5g.Model(GOLDENS / "v2-gqa-w5.gguf") as long:
        told: list[tuple[int, int]] = []
        source = long.encode(ids(4000), progress=lambda done, total: told.append((done, total)))
        assert told[0] == (0, 4000)
        assert told[-1] == (4000, 4000)
        assert told == sorted(told)
        np.testing.assert_array_equal(source.hidden_states, long.encode(ids(4000)).hidden_states)
    told.clear()
    model.encode([], progress=lambda done, total: told.append((done, total)))
    assert set(told) == {(0, 0)}
    with pytest.raises(TypeError, match="progress: must be a function of two numbers, got 5"):
        model.encode(ids(3), progress=5)  # type: ignore[arg-type]


def test_progress_of_a_source_with_images_goes_one_way() -> None:
    images = [np.full((24, 24, 3), shade, np.uint8) for shade in range(3)]
    told: list[tuple[int, int]] = []
    with t5g.Model(GOLDENS / "v2-images.gguf") as model:
        for _ in range(2):  # the second time the images are still known
            told.clear()
            source = model.encode("", images=images, progress=lambda done, total: told.append((done, total)))
            assert (told[0], told[-1]) == ((0, source.n_tokens), (source.n_tokens, source.n_tokens))
            assert told == sorted(set(told))
        np.testing.assert_array_equal(source.hidden_states, model.encode("", images=images).hidden_states)


def test_what_progress_raises_ends_the_call(model: t5g.Model) -> None:
    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        model.encode(ids(50), progress=stop)
    assert model.encode(ids(50)).n_tokens == 50


# ---- Limits and truncation ----


def test_a_limit_above_the_files_own() -> None:
    path = GOLDENS / "v2-gqa-w5.gguf"
    with t5g.Model(path, max_source_tokens=5000, max_target_tokens=5000) as model:
        assert (model.max_source_tokens, model.max_target_tokens) == (5000, 5000)
        assert model.config.encoder.max_position_embeddings == 4096
        assert model.encode(ids(5000)).n_tokens == 5000
        with pytest.raises(t5g.InputTooLongError, match="source has 5001 tokens, but the model's limit is 5000") as e:
            model.encode(ids(5001))
        assert e.value.limit == 5000
        assert "cut it with truncation=" in str(e.value)
        assert "max_source_tokens=" in str(e.value)
        for too_long in (lambda: model.score("a", ids(5001)), lambda: model.generate("a", decoder_prefix=ids(5001))):
            with pytest.raises(t5g.InputTooLongError, match="has 5001 tokens, but the model's limit is 5000") as e:
                too_long()
            assert "truncation" not in str(e.value)  # which cuts sources alone
            assert "max_target_tokens=" in str(e.value)
    for wrong in (0, -1, 2**22 + 1, 2**70):
        with pytest.raises(ValueError, match="max_target_tokens"):
            t5g.Model(path, max_target_tokens=wrong)


@pytest.mark.parametrize(
    ("what", "expected"),
    [("end", [1, 10, 11, 12, 2]), ("start", [1, 17, 18, 19, 2]), ("middle", [1, 10, 11, 19, 2])],
)
def test_what_is_cut(what: str, expected: list[int]) -> None:
    whole = [1, *range(10, 20), 2]
    assert cut(whole, 5, what, [1], [2]) == (expected, 7)
    assert cut(whole, 12, what, [1], [2]) == (whole, 0)
    assert len(cut(whole, 1, what, [1], [2])[0]) == 1
    plain, n = cut(whole, 5, what)
    assert (len(plain), n) == (5, 7)


def test_truncation_everywhere(model: t5g.Model) -> None:
    text = "one two three four five six seven " * 30
    few: Any = {"max_new_tokens": 3, "draft": "off"}
    whole = model.tokenizer.encode(text)
    assert len(whole) > 100
    kept, n = cut(whole, 100, "middle", whole[:1])
    source = model.encode(text, truncation="middle")
    assert (source.token_ids, source.n_truncated) == (kept, n)
    expected = model.generate(kept, **few).token_ids
    result = model.generate(text, truncation="middle", **few)
    assert (result.token_ids, result.n_truncated) == (expected, n)
    assert model.generate(kept, **few).n_truncated == 0
    batch = model.generate_batch([text, "short"], truncation="middle", **few)
    assert [one.n_truncated for one in batch] == [n, 0]
    assert [one.n_truncated for one in model.generate_iter([text], truncation="middle", **few)] == [n]
    with model.stream(text, truncation="middle", **few) as stream:
        list(stream)
        assert stream.result.n_truncated == n
    assert model.score(text, [20], truncation="middle").logprob == model.score(kept, [20]).logprob
    np.testing.assert_array_equal(model.logits(text, [2], truncation="middle"), model.logits(kept, [2]))
    np.testing.assert_array_equal(model.embed([text], truncation="middle"), model.embed([kept]))
    for call in (model.encode, model.generate):
        with pytest.raises(t5g.InputTooLongError):
            call(text)
        with pytest.raises(ValueError, match="truncation: must be 'error', 'end', 'start' or 'middle', got 'left'"):
            call(text, truncation="left")


def test_what_was_cut_is_saved(model: t5g.Model, tmp_path: Path) -> None:
    source = model.encode(ids(150), truncation="start")
    assert (source.n_truncated, source.token_ids) == (50, ids(150)[50:])
    source.save(tmp_path / "source")
    assert t5g.EncodedSource.load(model, tmp_path / "source").n_truncated == 50


def test_the_command_says_what_it_cut() -> None:
    command = [
        sys.executable, "-m", "t5g.cli.run", str(GOLDENS / "v2-gqa-w5.gguf"), "-p", "some words " * 50, "--no-stdin",
        "-n", "3", "--max-source-tokens", "20", "--truncation",
    ]  # fmt: skip
    done = subprocess.run([*command, "end"], capture_output=True, text=True, check=True)
    assert "tokens were cut from the end of the source" in done.stderr
    done = subprocess.run([*command, "error"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the model's limit is 20" in done.stderr


# ---- Memory ----


def test_a_source_that_cannot_fit_says_so_first(model: t5g.Model) -> None:
    reading, writing = model.source_memory(1000)
    assert reading >= 1000 * model.config.encoder.hidden_size * 4
    assert writing > 0
    with pytest.raises(t5g.OutOfMemoryError, match=r"tokens, which need \d+ MB, but only \d+ MB of memory are free"):
        model._core.check_memory(1 << 40)
    assert issubclass(t5g.OutOfMemoryError, MemoryError)
    model._core.check_memory(1000)


def test_info_says_what_lengths_need(capsys: pytest.CaptureFixture[str]) -> None:
    from t5g.cli import info

    assert info.main([str(GOLDENS / "v2-gqa-w5.gguf")]) == 0
    out = capsys.readouterr().out
    assert "memory for 512 source tokens:" in out
    assert "memory for 4,096 source tokens:" in out


def test_sliding_layers_forget_what_they_no_longer_see() -> None:
    """A long target, written token by token, gives the logits of all at once."""
    for name in ("v2-gqa-w5", "v1-wide-encoder"):
        with t5g.Model(GOLDENS / f"{name}.gguf") as model:
            source = model.encode(ids(20))
            written = model.generate(source, max_new_tokens=400, min_new_tokens=400, draft="off")
            drafted = model.generate(source, max_new_tokens=400, min_new_tokens=400)
            assert drafted.token_ids == written.token_ids
            logits = model.logits(source, [2, *written.token_ids[:-1]])
            end = list(model.config.eos_token_id)
            logits[:399, end] = -np.inf
            assert logits.argmax(1).tolist() == written.token_ids


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what is resident")
def test_memory_of_a_long_target_is_that_of_its_full_layers(tmp_path: Path) -> None:
    """One layer of three looks at everything: the others' share goes back."""
    pytest.importorskip("gguf")
    from support import folders
    from support.folders import Folder

    config = folders.t5gemma2_config()
    for side in (config["encoder"]["text_config"], config["decoder"]):
        side |= {"head_dim": 128, "num_attention_heads": 2, "num_key_value_heads": 2, "sliding_window": 16}
        side |= {"num_hidden_layers": 4, "layer_types": ["sliding_attention"] * 3 + ["full_attention"]}
    t5g.convert(Folder.of(config).write(tmp_path / "hf"), tmp_path / "model.gguf", type="f32")
    script = """
import sys, t5g
from pathlib import Path
def resident():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line)
model = t5g.Model(sys.argv[1], n_threads=1, max_target_tokens=4096)
options = dict(max_new_tokens=2000, min_new_tokens=2000, draft="off", seed=1)
stream = model.stream([5], **options)
before = None
for n, _ in enumerate(iter(lambda: stream._generator.step(), False)):
    if n == 100: before = resident()
    if n == 1990: break
assert n == 1990
print((resident() - before) * 1024, model.memory().bytes_per_target_token)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "model.gguf")], capture_output=True, text=True, check=True
    )
    grown, per_token = map(int, done.stdout.split())
    assert 1890 * per_token * 0.15 < grown < 1890 * per_token * 0.5
