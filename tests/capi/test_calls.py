"""What libt5g answers is what t5g in Python answers, bit for bit."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import t5g
from support.c_library import (
    TO_END,
    TO_ZERO,
    Library,
    LogCallback,
    ProgressCallback,
    TextCallback,
    ids_array,
)

GOLDEN = Path(__file__).parents[1] / "goldens" / "v1-mha-w4.gguf"
TEXT = "the quick brown fox jumps over the lazy dog"


@pytest.fixture(scope="module")
def python(path: Path) -> Iterator[t5g.Model]:
    with t5g.Model(path) as model:
        yield model


def floats(n: int) -> ctypes.Array[ctypes.c_float]:
    return (ctypes.c_float * n)()


def bits(values: object) -> bytes:
    return np.asarray(values, np.float32).tobytes()


def hidden_states(lib: Library, source: int) -> np.ndarray:
    states, n, width = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    lib.source_get_hidden_states(source, ctypes.byref(states), ctypes.byref(n), ctypes.byref(width))
    flat = (ctypes.c_float * (n.value * width.value)).from_address(states.value or 0)
    copied = np.array(flat, np.float32).reshape(n.value, width.value)
    lib.free(states)
    return copied


def test_what_a_model_is(lib: Library, model: int, python: t5g.Model) -> None:
    info = lib.get("model_get_info", "t5g_model_info", model)
    assert ctypes.string_at(info.architecture).decode() == python.config.architecture
    assert ctypes.string_at(info.device).decode() == python.device
    assert ctypes.string_at(info.kv_type).decode() == python.kv_type
    assert (info.vocab_size, info.hidden_size) == (python.config.vocab_size, python.config.encoder.hidden_size)
    assert info.max_source_tokens == python.config.encoder.max_position_embeddings
    assert info.decoder_start_token_id == python.config.decoder_start_token_id
    assert (info.bos_id, info.eos_id, info.pad_id) == (
        python.tokenizer.bos_id,
        python.tokenizer.eos_id,
        python.tokenizer.pad_id,
    )
    assert info.image_size == (python.config.vision.image_size if python.config.vision else 0)
    assert info.has_tokenizer == 1
    assert info.weights_bytes == python.memory().weights_bytes
    assert info.load_seconds > 0
    assert lib.take_text("model_get_metadata", model, b"general.architecture") == python.config.architecture


@pytest.mark.parametrize("load", [0, 1])
def test_models_from_a_descriptor_and_from_memory(
    lib: Library, path: Path, python: t5g.Model, tmp_path: Path, load: int
) -> None:
    expected = python.generate(TEXT, max_new_tokens=12).token_ids
    content = path.read_bytes()
    (tmp_path / "package").write_bytes(b"#" * 1001 + content + b"#" * 500)
    options = ctypes.byref(lib.options("model", load=load))
    descriptor = os.open(tmp_path / "package", os.O_RDONLY)
    aligned = ctypes.create_string_buffer(len(content) + 8)
    start = ctypes.addressof(aligned) + (-ctypes.addressof(aligned)) % 8
    ctypes.memmove(start, content, len(content))
    end = os.open(path, os.O_RDONLY)
    models = [
        lib.make("model_open_fd", descriptor, 1001, len(content), b"asset", options),
        lib.make("model_open_fd", end, 0, TO_END, None, options),
        lib.make("model_open_memory", start, len(content), None, options),
    ]
    os.close(descriptor)
    os.close(end)
    if load == 1:
        os.truncate(tmp_path / "package", 0)
        ctypes.memset(start, 0, len(content))
    for model in models:
        source = lib.encode(model, TEXT)
        result = lib.make("generate", model, source, ctypes.byref(lib.options("generate", model, max_new_tokens=12)))
        assert lib.sequences(result)[0][1] == expected
        lib.result_free(result)
        lib.source_free(source)
        lib.model_free(model)


def test_tokens(lib: Library, model: int, python: t5g.Model) -> None:
    for text in (TEXT, "", "zero\0byte", "über <start_of_turn> 日本 🙂"):
        for add, special in ((0, 0), (1, 0), (0, 1)):
            expected = python.tokenizer.encode(text, add_special_tokens=bool(add), parse_special=bool(special))
            data = text.encode()
            assert lib.take_ids("tokenize", model, data, len(data), add, special) == expected
    ids = python.tokenizer.encode(TEXT)
    assert lib.take_ids("tokenize", model, TEXT.encode(), TO_ZERO, 1, 0) == ids
    for skip in (0, 1):
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        lib.detokenize(model, ids_array(ids), len(ids), skip, ctypes.byref(text), ctypes.byref(size))
        decoded = ctypes.string_at(text.value or 0, size.value).decode()
        assert decoded == python.tokenizer.decode(ids, skip_special_tokens=bool(skip))
        lib.free(text)


def test_conversations(lib: Library, model: int, python: t5g.Model) -> None:
    messages = [{"role": "user", "content": " hello <end_of_turn> "}]
    structs = (ctypes.c_char_p * 2)(b"user", messages[0]["content"].encode())
    info = lib.get("model_get_info", "t5g_model_info", model)
    assert bool(info.has_chat_template) == python.has_chat_template
    if info.has_chat_template:
        assert lib.take_ids("apply_chat_template", model, structs, 1) == python.apply_chat_template(messages)
    else:
        with pytest.raises(Exception, match=r"T5G_UNSUPPORTED: .*no chat template"):
            lib.take_ids("apply_chat_template", model, structs, 1)


def test_sources(lib: Library, model: int, python: t5g.Model, tmp_path: Path) -> None:
    expected = python.encode(TEXT)
    source = lib.encode(model, TEXT)
    assert lib.take_source_ids(source) == expected.token_ids
    assert bits(hidden_states(lib, source)) == bits(expected.hidden_states)

    ids = ids_array(expected.token_ids)
    again = lib.make("encode_ids", model, ids, len(ids), None)
    assert bits(hidden_states(lib, again)) == bits(expected.hidden_states)

    lib.source_save(source, str(tmp_path / "from-c").encode())
    assert bits(t5g.EncodedSource.load(python, tmp_path / "from-c").hidden_states) == bits(expected.hidden_states)
    data, size = ctypes.c_void_p(), ctypes.c_size_t()
    lib.source_save_memory(source, ctypes.byref(data), ctypes.byref(size))
    assert ctypes.string_at(data.value or 0, size.value) == (tmp_path / "from-c").read_bytes()
    for loaded in (
        lib.make("source_load", model, str(tmp_path / "from-c").encode()),
        lib.make("source_load_memory", model, data, size.value),
    ):
        assert lib.take_source_ids(loaded) == expected.token_ids
        assert bits(hidden_states(lib, loaded)) == bits(expected.hidden_states)
        lib.source_free(loaded)
    lib.free(data)

    empty = lib.make("encode_ids", model, None, 0, None)
    assert lib.take_source_ids(empty) == []
    for one in (source, again, empty):
        lib.source_free(one)


def test_images(lib: Library, model: int, python: t5g.Model) -> None:
    if python.config.vision is None:
        pytest.skip("this model reads text only")
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (9, 16, 3), np.uint8)
    pixels = np.ascontiguousarray(wide[:, :13])
    expected = python.encode("a <start_of_image> b", images=[pixels])

    class Image(ctypes.Structure):
        _fields_ = (
            ("pixels", ctypes.c_void_p),
            ("width", ctypes.c_int64),
            ("height", ctypes.c_int64),
            ("row", ctypes.c_int64),
        )

    for array, row in ((pixels, 0), (wide, 48)):
        image = Image(array.ctypes.data, 13, 9, row)
        options = lib.options("encode", images=ctypes.addressof(image), n_images=1)
        text = b"a <start_of_image> b"
        for source in (
            lib.make("encode_text", model, text, len(text), ctypes.byref(options)),
            lib.make("encode_ids", model, ids_array(expected.token_ids), expected.n_tokens, ctypes.byref(options)),
        ):
            assert lib.take_source_ids(source) == expected.token_ids
            assert bits(hidden_states(lib, source)) == bits(expected.hidden_states)
            lib.source_free(source)
    two = (Image * 2)(image, image)
    options = lib.options("encode", images=ctypes.addressof(two), n_images=2)
    source = lib.make("encode_text", model, b"", 0, ctypes.byref(options))
    assert lib.take_source_ids(source) == python.encode("", images=[pixels, pixels]).token_ids
    lib.source_free(source)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"draft": 0, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 5},
        {"temperature": 0.9, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "seed": 7, "num_return_sequences": 3},
        {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.5, "early_stopping": 2},
        {"typical_p": 0.9, "epsilon_cutoff": 1e-4, "eta_cutoff": 1e-4, "temperature": 1.1, "seed": 3},
        {"encoder_repetition_penalty": 1.2, "encoder_no_repeat_ngram_size": 3, "forced_bos_token_id": 40},
        {"alternatives": 3, "logprobs": 4},
    ],
)
def test_generation(lib: Library, model: int, python: t5g.Model, options: dict[str, float]) -> None:
    words = {"draft": {0: "off"}, "early_stopping": {2: "never"}}
    named = {name: words[name][value] if name in words else value for name, value in options.items()}  # type: ignore[index]
    expected = python.generate(TEXT, max_new_tokens=16, stop=["zzz"], **named)  # type: ignore[arg-type]
    stop = (ctypes.c_char_p * 1)(b"zzz")
    given = lib.options(
        "generate",
        model,
        max_new_tokens=16,
        has_seed=int("seed" in options),
        stop=ctypes.addressof(stop),
        n_stop=1,
        **options,
    )
    source = lib.encode(model, TEXT)
    result = lib.make("generate", model, source, ctypes.byref(given))
    found = lib.sequences(result)
    assert [ids for _, ids, _ in found] == [sequence.token_ids for sequence in expected.sequences]
    assert [text for text, _, _ in found] == [sequence.text for sequence in expected.sequences]
    for i, sequence in enumerate(expected.sequences):
        logprob = ctypes.c_double()
        lib.result_get_logprob(result, i, ctypes.byref(logprob))
        assert logprob.value == sequence.logprob
        each = floats(len(sequence.token_ids))
        lib.result_get_token_logprobs(result, i, each, len(each))
        assert bits(list(each)) == bits(sequence.token_logprobs)
        struct = lib.get("result_get_sequence", "t5g_sequence", result, i)
        assert (struct.score if struct.has_score else None) == sequence.score
        for token in range(len(sequence.token_ids)):
            top_ids, top, n = (ctypes.c_int32 * 4)(), floats(4), ctypes.c_size_t()
            lib.result_get_top_logprobs(result, i, token, top_ids, top, 4, ctypes.byref(n))
            assert n.value == options.get("logprobs", 0)
            if n.value:
                assert dict(zip(top_ids, top, strict=True)) == dict(sequence.top_logprobs[token])
    timings = lib.get("result_get_timings", "t5g_timings", result)
    assert timings.n_new_tokens == expected.timings.n_new_tokens
    assert timings.n_source_tokens == expected.timings.n_source_tokens
    assert min(timings.decode_seconds, timings.load_seconds, timings.encode_seconds) > 0
    lib.result_free(result)
    lib.source_free(source)


def test_options_that_are_arrays(lib: Library, model: int, python: t5g.Model) -> None:
    first = python.generate(TEXT, max_new_tokens=4).token_ids
    expected = python.generate(
        TEXT,
        max_new_tokens=8,
        suppress_tokens=first[:1],
        bad_words=[[50, 51], [60]],
        logit_bias={70: 3.0},
        eos_token_ids=[80, 81],
    )

    class Bias(ctypes.Structure):
        _fields_ = (("token_id", ctypes.c_int32), ("bias", ctypes.c_double))

    class Run(ctypes.Structure):
        _fields_ = (("ids", ctypes.c_void_p), ("n_ids", ctypes.c_size_t))

    words = ids_array([50, 51]), ids_array([60])
    arrays = {
        "suppress_tokens": ids_array(first[:1]),
        "bad_words": (Run * 2)(*((ctypes.addressof(word), len(word)) for word in words)),
        "logit_bias": (Bias * 1)((70, 3.0)),
        "eos_token_ids": ids_array([80, 81]),
    }
    given = {name: ctypes.addressof(array) for name, array in arrays.items()}
    numbers = {f"n_{name}": len(array) for name, array in arrays.items()}
    options = lib.options("generate", model, max_new_tokens=8, **given, **numbers)
    source = lib.encode(model, TEXT)
    result = lib.make("generate", model, source, ctypes.byref(options))
    assert lib.sequences(result)[0][1] == expected.token_ids
    lib.result_free(result)
    lib.source_free(source)


def test_a_batch_and_a_prefix(lib: Library, model: int, python: t5g.Model) -> None:
    texts = [TEXT, "the dog", "a", "fox and dog"]
    prefix = python.tokenizer.encode("the lazy", add_special_tokens=False)
    expected = [out.token_ids for out in python.generate_batch(texts, decoder_prefix=prefix, max_new_tokens=9)]
    sources = [lib.encode(model, text) for text in texts]
    ids = ids_array(prefix)
    told: list[tuple[int, int]] = []
    texts_told = [""] * len(texts)

    def on_text(_: object, source: int, text: int, size: int) -> int:
        texts_told[source] += ctypes.string_at(text, size).decode()
        return 0

    options = lib.options(
        "generate",
        model,
        max_new_tokens=9,
        on_text=(keep_text := TextCallback(on_text)),
        max_batch_size=2,
        decoder_prefix=ctypes.addressof(ids),
        n_decoder_prefix=len(ids),
        on_progress=(keep := ProgressCallback(lambda _, done, total: told.append((done, total)) or 0)),
    )
    results = (ctypes.c_void_p * len(texts))()
    lib.generate_batch(model, (ctypes.c_void_p * len(texts))(*sources), len(texts), ctypes.byref(options), results)
    assert [lib.sequences(result)[0][1] for result in results if result] == expected
    assert told[0] == (0, 4)
    assert told[-1] == (4, 4)
    assert texts_told == [lib.sequences(result)[0][0] for result in results if result]
    assert keep and keep_text  # noqa: PT018 - as long as C may call them
    for result, source in zip(results, sources, strict=True):
        lib.result_free(result)
        lib.source_free(source)
    lib.generate_batch(model, None, 0, None, None)


def test_text_comes_as_it_is_generated_and_can_be_stopped(lib: Library, model: int, python: t5g.Model) -> None:
    whole = python.generate(TEXT, max_new_tokens=40, draft="off").text
    source = lib.encode(model, TEXT)
    pieces: list[str] = []
    steps: list[tuple[int, int]] = []
    enough = 10**6

    def on_text(_: object, source: int, text: int, size: int) -> int:
        assert source == 0
        pieces.append(ctypes.string_at(text, size).decode())
        return int(len(pieces) >= enough)

    text_callback = TextCallback(on_text)
    progress = ProgressCallback(lambda _, done, total: steps.append((done, total)) or 0)
    options = lib.options("generate", model, max_new_tokens=40, draft=0, on_text=text_callback, on_progress=progress)
    result = lib.make("generate", model, source, ctypes.byref(options))
    assert "".join(pieces) == whole == lib.sequences(result)[0][0]
    assert steps[0] == (0, 40)
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    lib.result_free(result)

    pieces.clear()
    enough = 2
    result = lib.make("generate", model, source, ctypes.byref(options))
    text, ids, reason = lib.sequences(result)[0]
    assert (reason, len(pieces)) == (2, 2)
    assert whole.startswith(text)
    assert 0 < len(ids) < 40
    lib.result_free(result)
    lib.source_free(source)


def test_cancelling(lib: Library, model: int) -> None:
    cancel = lib.make("cancel_new")
    source = lib.encode(model, TEXT)
    lib.cancel_request(cancel)
    options = lib.options("encode", cancel=cancel)
    with pytest.raises(Exception, match="T5G_CANCELLED"):
        lib.make("encode_text", model, b"a", 1, ctypes.byref(options))
    result = lib.make("generate", model, source, ctypes.byref(lib.options("generate", model, cancel=cancel)))
    assert lib.sequences(result) == [("", [], 2)]
    lib.result_free(result)
    lib.cancel_reset(cancel)
    lib.source_free(lib.make("encode_text", model, b"a", 1, ctypes.byref(options)))
    told: list[tuple[int, int]] = []
    enough = 0

    def on_progress(_: object, done: int, total: int) -> int:
        told.append((done, total))
        return enough

    progress = ProgressCallback(on_progress)
    options = lib.options("encode", on_progress=progress)
    lib.source_free(lib.make("encode_text", model, b"a b", 3, ctypes.byref(options)))
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] > 0
    enough = 1
    with pytest.raises(Exception, match="T5G_CANCELLED"):
        lib.make("encode_text", model, b"a b", 3, ctypes.byref(options))
    lib.cancel_free(cancel)
    lib.source_free(source)


def test_progress_counts_the_work_on_images(lib: Library, model: int, python: t5g.Model) -> None:
    if python.config.vision is None:
        return
    n_images = 20
    pixels = np.arange(n_images, dtype=np.uint8).repeat(24 * 24 * 3).reshape(n_images, -1)
    images = np.array([[row.ctypes.data, 24, 24, 0] for row in pixels], np.int64)
    told: list[tuple[int, int]] = []
    progress = ProgressCallback(lambda _, done, total: told.append((done, total)) or 0)
    options = lib.options("encode", on_progress=progress, images=images.ctypes.data, n_images=n_images)
    lib.source_free(lib.make("encode_text", model, b"", 0, ctypes.byref(options)))
    total = told[0][1]
    assert (told[0], told[-1]) == ((0, total), (total, total))
    assert told == sorted(set(told))
    # The encoder alone would tell of each layer twice.
    assert sum(0 < done < total for done, _ in told) > n_images > 2 * python.config.encoder.num_hidden_layers


def test_logs(lib: Library, path: Path) -> None:
    lines: list[tuple[int, str]] = []
    log = LogCallback(lambda _, level, message: lines.append((level, message.decode())))
    model = lib.make("model_open", str(path).encode(), ctypes.byref(lib.options("model", on_log=log)))
    assert lines == [(0, lines[0][1])]
    assert "t5gemma" in lines[0][1]
    source = lib.encode(model, "a")
    options = lib.options("generate", model, max_new_tokens=2, top_k=5, length_penalty=2.0, on_log=log)
    lib.result_free(lib.make("generate", model, source, ctypes.byref(options)))
    assert [level for level, _ in lines[1:]] == [1, 1]
    assert "top_k: without effect" in lines[1][1]
    assert "length_penalty: without effect" in lines[2][1]
    lib.source_free(source)
    lib.model_free(model)


def test_scores_logits_and_vectors(lib: Library, model: int, python: t5g.Model) -> None:
    target = python.tokenizer.encode(" over the dog", add_special_tokens=False)
    ids = [python.config.decoder_start_token_id, *target]
    source = lib.encode(model, TEXT)
    logprobs = floats(len(target))
    lib.score(model, source, ids_array(target), len(target), None, logprobs)
    assert bits(list(logprobs)) == bits(python.score(TEXT, target).token_logprobs)
    logits = floats(len(ids) * python.config.vocab_size)
    lib.logits(model, source, ids_array(ids), len(ids), None, logits, len(logits))
    assert bytes(logits) == python.logits(TEXT, ids).tobytes()
    lib.score(model, source, None, 0, None, None)
    lib.logits(model, source, None, 0, None, None, 0)

    rows = np.array(python.encode(TEXT).hidden_states)
    for normalize in (0, 1):
        expected = [python.embed([TEXT], normalize=bool(normalize))[0], rows[0], rows[-1], rows.max(axis=0)]
        for pooling, vector in enumerate(expected):
            if normalize and pooling:
                vector = vector / np.linalg.norm(vector[None], axis=-1)
            out = floats(len(vector))
            lib.embed(source, pooling, normalize, out, len(out))
            assert bits(list(out)) == bits(vector), (pooling, normalize)
    empty = lib.make("encode_ids", model, None, 0, None)
    out = floats(rows.shape[1])
    lib.embed(empty, 0, 1, out, len(out))
    assert not any(out)
    lib.source_free(empty)
    lib.source_free(source)


def test_defaults_of_t5g_and_of_a_file(lib: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = lib.options("generate", None)
    assert (plain.max_new_tokens, plain.temperature, plain.num_beams, plain.draft) == (256, 0.0, 1, 1)
    assert (plain.skip_special_tokens, plain.max_batch_size, plain.has_seed, plain.n_stop) == (1, 32, 0, 0)

    pytest.importorskip("gguf")
    from t5g_convert import requantize
    from t5g_convert.metadata import T, Value

    original = requantize._metadata
    own = {
        "t5gemma.generation.num_beams": Value(3, T.UINT32),
        "t5gemma.generation.length_penalty": Value(0.5, T.FLOAT64),
        "t5gemma.generation.stop": Value(["dog", "fox"], T.ARRAY, T.STRING),
    }
    monkeypatch.setattr(requantize, "_metadata", lambda *arguments: original(*arguments) | own)
    t5g.quantize(GOLDEN, tmp_path / "m.gguf", "f32")
    model = lib.make("model_open", str(tmp_path / "m.gguf").encode(), None)
    of_file = lib.options("generate", model)
    assert (of_file.num_beams, of_file.length_penalty, of_file.max_new_tokens, of_file.n_stop) == (3, 0.5, 256, 2)
    stop = (ctypes.c_char_p * 2).from_address(of_file.stop)
    assert list(stop) == [b"dog", b"fox"]
    source = lib.encode(model, TEXT)
    result = lib.make("generate", model, source, None)
    with t5g.Model(tmp_path / "m.gguf") as python:
        assert lib.sequences(result)[0][1] == python.generate(TEXT).token_ids
    lib.result_free(result)
    lib.source_free(source)
    lib.model_free(model)
