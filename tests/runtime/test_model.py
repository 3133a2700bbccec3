"""The model as an object: opening, sources kept and saved, threads, determinism, Ctrl-C."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import t5g

IDS = [5, 9, 200, 31, 77, 8, 120, 4, 66]


def test_config_uses_hugging_face_names_and_is_frozen(tiny_model: t5g.Model) -> None:
    config = tiny_model.config
    assert config.architecture in ("t5gemma", "t5gemma2")
    assert len(config.encoder.layer_types) == config.encoder.num_hidden_layers
    assert set(config.decoder.layer_types) <= {"sliding_attention", "full_attention"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.vocab_size = 3


def test_wrong_files(tmp_path: Path, tiny_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing\\.gguf"):
        t5g.Model(tmp_path / "nothing.gguf")
    with pytest.raises(IsADirectoryError):
        t5g.Model(tmp_path)
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(t5g.ModelFormatError, match="text\\.gguf"):
        t5g.Model(tmp_path / "text.gguf")
    data = tiny_path.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: len(data) // 2])
    with pytest.raises(t5g.ModelFormatError, match="truncated"):
        t5g.Model(tmp_path / "cut.gguf")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_threads": 0}, ValueError, "n_threads"),
        ({"n_threads": 100000}, ValueError, "n_threads"),
        ({"device": "tpu"}, ValueError, "device"),
        ({"device": "cuda:99"}, t5g.UnsupportedError, "device 'cuda"),
        ({"device": "metal"}, t5g.UnsupportedError, "no Metal"),
        ({"encoder_window": "wide"}, ValueError, "encoder_window"),
        ({"kv_type": "q4_0"}, ValueError, "kv_type"),
    ],
    ids=str,
)
def test_wrong_options(tiny_path: Path, options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        t5g.Model(tiny_path, **options)


def test_an_encoded_source_serves_many_calls(tiny_model: t5g.Model) -> None:
    source = tiny_model.encode(IDS)
    assert source.token_ids == IDS
    assert source.n_tokens == len(IDS)
    assert source.hidden_states.dtype == np.float32
    assert not source.hidden_states.flags.writeable
    fresh = tiny_model.generate(IDS, max_new_tokens=8)
    for _ in range(2):
        assert tiny_model.generate(source, max_new_tokens=8).token_ids == fresh.token_ids


def test_sources_are_saved_and_loaded_by_the_same_model_only(
    tiny_model: t5g.Model, other_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "source.t5g"
    source = tiny_model.encode(IDS)
    source.save(path)
    loaded = t5g.EncodedSource.load(tiny_model, path)
    np.testing.assert_array_equal(loaded.hidden_states, source.hidden_states)
    assert loaded.token_ids == IDS
    assert (
        tiny_model.generate(loaded, max_new_tokens=5).token_ids
        == tiny_model.generate(source, max_new_tokens=5).token_ids
    )
    with t5g.Model(other_path) as other:
        with pytest.raises(t5g.ModelFormatError, match="another model"):
            t5g.EncodedSource.load(other, path)
        with pytest.raises(ValueError, match="another model"):
            other.generate(source)
    data = path.read_bytes()
    for size in (0, 7, 20, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(t5g.ModelFormatError):
            t5g.EncodedSource.load(tiny_model, path)
    with pytest.raises(FileNotFoundError):
        t5g.EncodedSource.load(tiny_model, tmp_path / "none")


def test_a_source_that_cannot_be_saved_leaves_nothing(tiny_model: t5g.Model, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        tiny_model.encode(IDS).save(tmp_path / "folder")
    with pytest.raises(OSError, match="missing"):
        tiny_model.encode(IDS).save(tmp_path / "missing" / "source")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_an_empty_source(tiny_model: t5g.Model) -> None:
    source = tiny_model.encode([])
    assert source.hidden_states.shape == (0, tiny_model.config.encoder.hidden_size)
    assert np.isfinite(tiny_model.logits(source, [2, 5, 6])).all()
    assert len(tiny_model.generate([], max_new_tokens=4, min_new_tokens=4).token_ids) == 4


def test_embed(tiny_model: t5g.Model) -> None:
    texts = ["one text", "another, longer text", [5, 6, 7]]
    vectors = tiny_model.embed(texts)
    assert vectors.shape == (3, tiny_model.config.encoder.hidden_size)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    raw = tiny_model.embed(texts, normalize=False)
    np.testing.assert_allclose(raw[2], tiny_model.encode([5, 6, 7]).hidden_states.mean(axis=0), atol=1e-6)
    rows = tiny_model.embed(texts, pooling="none", normalize=False)
    np.testing.assert_array_equal(rows[2], tiny_model.encode([5, 6, 7]).hidden_states)
    assert tiny_model.embed([]).shape == (0, tiny_model.config.encoder.hidden_size)
    with pytest.raises(TypeError):
        tiny_model.embed("one text")
    with pytest.raises(ValueError, match="pooling"):
        tiny_model.embed(texts, pooling="sum")


def test_text_gets_what_its_family_expects_in_front(tiny_model: t5g.Model) -> None:
    ids = tiny_model.encode("some text").token_ids
    begins_with_bos = ids[0] == tiny_model.tokenizer.bos_id
    assert begins_with_bos == (tiny_model.config.architecture == "t5gemma2")


def test_any_number_of_threads_gives_the_same_bits(tiny_path: Path) -> None:
    ids = [(13 * i) % 250 + 4 for i in range(200)]
    target = [2, *[(7 * i) % 250 + 4 for i in range(30)]]
    results = []
    for n_threads in (1, 2, 3, 7):
        with t5g.Model(tiny_path, n_threads=n_threads) as model:
            results.append((model.encode(ids).hidden_states, model.logits(ids, target)))
    for hidden_states, logits in results[1:]:
        np.testing.assert_array_equal(hidden_states, results[0][0])
        np.testing.assert_array_equal(logits, results[0][1])


def test_cached_steps_give_the_bits_of_the_whole(tiny_model: t5g.Model) -> None:
    """Each greedy token must be the argmax, and its log-probability bit-equal, when all is computed at once."""
    out = tiny_model.generate(IDS, max_new_tokens=40, min_new_tokens=40)
    whole = tiny_model.score(IDS, out.token_ids)
    assert out.logprob == whole.logprob
    logits = tiny_model.logits(IDS, [tiny_model.config.decoder_start_token_id, *out.token_ids[:-1]])
    logits[:, list(tiny_model.config.eos_token_id)] = -np.inf  # as min_new_tokens asks
    assert logits.argmax(axis=1).tolist() == out.token_ids
    parts = [tiny_model.score(IDS, out.token_ids[: i + 1]).token_logprobs[-1] for i in range(40)]
    np.testing.assert_array_equal(whole.token_logprobs, np.array(parts))


def test_threads_share_a_model(tiny_model: t5g.Model) -> None:
    sources = [[i + 4, 9, 200 - i, 31] for i in range(8)]
    expected = [tiny_model.generate(source, max_new_tokens=20).token_ids for source in sources]
    found: list[list[int]] = [[] for _ in sources]

    def work(i: int) -> None:
        found[i] = tiny_model.generate(sources[i], max_new_tokens=20).token_ids

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_a_thread_can_cancel_another_ones_stream(tiny_model: t5g.Model) -> None:
    limit = tiny_model.config.decoder.max_position_embeddings
    stream = tiny_model.stream(IDS, max_new_tokens=limit - 2, min_new_tokens=limit - 2)
    next(stream)
    thread = threading.Thread(target=stream.cancel)
    thread.start()
    thread.join()
    list(stream)
    assert stream.result.finish_reason == "cancelled"


SCRIPT = """
import sys, t5g
model = t5g.Model(sys.argv[1])
limit = model.config.decoder.max_position_embeddings
print("ready", flush=True)
try:
    while True:
        model.generate([5, 6, 7], max_new_tokens=limit - 2, min_new_tokens=limit - 2)
except KeyboardInterrupt:
    print(len(model.generate([5, 6, 7], max_new_tokens=4, min_new_tokens=4).token_ids), flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_leaves_the_model_usable(tiny_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tiny_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out == "4\n"
    assert process.returncode == 0


def test_chat_needs_a_template(tiny_model: t5g.Model) -> None:
    assert not tiny_model.has_chat_template
    with pytest.raises(ValueError, match="no chat template"):
        tiny_model.apply_chat_template([{"role": "user", "content": "Hello"}])


def test_memory_counts_every_matrix(tiny_model: t5g.Model, tiny_path: Path) -> None:
    memory = tiny_model.memory()
    assert 0 < memory.decode_weights_bytes < memory.weights_bytes < tiny_path.stat().st_size
    decoder = tiny_model.config.decoder
    columns = -(-decoder.head_dim // 16) * 16  # values lie in whole vectors
    per_token = decoder.num_hidden_layers * decoder.num_key_value_heads * (decoder.head_dim + columns) * 4
    assert memory.bytes_per_target_token == per_token


def test_system_info(monkeypatch: pytest.MonkeyPatch) -> None:
    info = t5g.system_info()
    assert info["kernels"] in info["kernels_available"]
    assert re.fullmatch(r"available: \w+ kernels, [0-9.]+ GiB", info["devices"]["cpu"])
    assert info["default_threads"] >= 1
