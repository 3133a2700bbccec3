"""Folders that transformers loads, or would with a little help, become files, with a note on what was unusual."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support import folders
from support.folders import Folder
from support.safetensors import write_safetensors

gguf = pytest.importorskip("gguf")


def stored(path: Path) -> dict[str, np.ndarray]:
    return {t.name: np.array(t.data) for t in gguf.GGUFReader(path).tensors}


def convert(folder: Path, out: Path) -> tuple[dict[str, np.ndarray], str]:
    summary = t5g.convert(folder, out, type="f32")
    return stored(out), "\n".join(summary.notes)


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def change_index(folder: Path, **changes: str | None) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] = {k: v for k, v in (index["weight_map"] | changes).items() if v is not None}
    path.write_text(json.dumps(index))


@pytest.fixture
def usual(tmp_path: Path) -> tuple[Folder, dict[str, np.ndarray]]:
    folder = Folder.of(folders.t5gemma_config())
    tensors, _ = convert(folder.write(tmp_path / "usual"), tmp_path / "usual.gguf")
    return folder, tensors


FIRST = "model-00001-of-00002.safetensors"
TABLE = "model.decoder.embed_tokens.weight"


def test_an_index_that_names_an_absent_tied_tensor(tmp_path: Path, usual: Any) -> None:
    folder, expected = usual
    path = folder.write(tmp_path / "hf", shards=2)
    change_index(path, **{"lm_head.out_proj.weight": FIRST})
    tensors, notes = convert(path, tmp_path / "m.gguf")
    assert equal(tensors, expected)
    assert "index names what no file has: tensor 'lm_head.out_proj.weight'" in notes


def test_an_index_that_does_not_name_a_tensor(tmp_path: Path, usual: Any) -> None:
    folder, expected = usual
    path = folder.write(tmp_path / "hf", shards=2)
    change_index(path, **{TABLE: None})
    assert equal(convert(path, tmp_path / "m.gguf")[0], expected)


def test_an_index_that_puts_a_tensor_into_another_shard(tmp_path: Path, usual: Any) -> None:
    folder, expected = usual
    path = folder.write(tmp_path / "hf", shards=2)
    place = json.loads((path / "model.safetensors.index.json").read_text())["weight_map"][TABLE]
    change_index(path, **{TABLE: FIRST if place != FIRST else "model-00002-of-00002.safetensors"})
    assert equal(convert(path, tmp_path / "m.gguf")[0], expected)


def test_a_stray_tensor_that_the_index_does_not_name(tmp_path: Path, usual: Any) -> None:
    folder, expected = usual
    path = folder.write(tmp_path / "hf", shards=2)
    names = sorted(folder.tensors)[::2]
    held = {name: folder.tensors[name] for name in names} | {"optimizer.step": np.zeros(3, np.float32)}
    write_safetensors(path / FIRST, held, "F32")
    tensors, notes = convert(path, tmp_path / "m.gguf")
    assert equal(tensors, expected)
    assert "Left out, as the index does not list it" in notes
    assert "optimizer.step" in notes


def test_a_needed_tensor_that_the_index_names_and_no_file_has(tmp_path: Path, usual: Any) -> None:
    folder, _ = usual
    path = folder.write(tmp_path / "hf", shards=2)
    name = sorted(folder.tensors)[0]
    held = {key: folder.tensors[key] for key in sorted(folder.tensors)[::2] if key != name}
    write_safetensors(path / FIRST, held, "F32")
    with pytest.raises(t5g.ModelFormatError, match=rf"missing tensor '{name}', which the index puts into {FIRST}"):
        convert(path, tmp_path / "m.gguf")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "generation_config.json"])
def test_json_with_a_byte_order_mark(tmp_path: Path, usual: Any, name: str) -> None:
    folder, expected = usual
    path = folder.write(tmp_path / "hf", shards=2)
    (path / "generation_config.json").write_text('{"num_beams": 2}')
    (path / name).write_bytes(b"\xef\xbb\xbf" + (path / name).read_bytes())
    assert equal(convert(path, tmp_path / "m.gguf")[0], expected)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model.", "module._orig_mod."])
def test_prefixes_of_training_wrappers(tmp_path: Path, usual: Any, prefix: str) -> None:
    folder, expected = usual
    folder.tensors = {prefix + name: values for name, values in folder.tensors.items()}
    tensors, notes = convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")
    assert equal(tensors, expected)
    assert f"begin with '{prefix}'" in notes


def test_compiled_submodules(tmp_path: Path, usual: Any) -> None:
    folder, expected = usual
    folder.tensors = {name.replace("model.", "model._orig_mod."): values for name, values in folder.tensors.items()}
    assert equal(convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")[0], expected)


def test_a_merged_lora_without_its_head(tmp_path: Path, usual: Any) -> None:
    folder, expected = usual
    folder.config["tie_word_embeddings"] = False
    tensors, notes = convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")
    assert equal(tensors, expected)
    assert "the decoder's embedding is taken for it" in notes


def resized(folder: Folder, side: str, rows: int) -> None:
    name = f"model.{side}.embed_tokens.weight"
    rng = np.random.default_rng(5)
    extra = rng.standard_normal((rows - folders.VOCAB, folder.tensors[name].shape[1])).astype(np.float32)
    folder.tensors[name] = np.concatenate([folder.tensors[name], extra])


def test_tables_resized_where_config_json_was_not(tmp_path: Path) -> None:
    folder = Folder.of(folders.t5gemma_config())
    for side in ("encoder", "decoder"):
        resized(folder, side, 310)
    folder.config["decoder"]["vocab_size"] = 310  # as resize_token_embeddings leaves it
    tensors, notes = convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")
    assert tensors["enc.token_embd.weight"].shape == (310, 64)
    assert "the encoder's vocab_size is 300, its embedding has 310 rows: the rows are taken" in notes
    with t5g.Model(tmp_path / "m.gguf") as model:
        assert model.config.vocab_size == model.config.encoder.vocab_size == 310


def test_a_shared_table_resized_where_config_json_was_not(tmp_path: Path) -> None:
    folder = Folder.of(folders.t5gemma2_config())
    resized(folder, "encoder", 310)
    tensors, notes = convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")
    assert tensors["token_embd.weight"].shape == (310, 64)
    assert "310 rows" in notes
    folder.tensors["model.decoder.embed_tokens.weight"] = np.zeros((305, 64), np.float32)
    with pytest.raises(t5g.ModelFormatError, match="310 rows and the decoder's 305, expected equal"):
        convert(folder.write(tmp_path / "two"), tmp_path / "m.gguf")


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_one_side_resized_alone(tmp_path: Path, side: str) -> None:
    folder = Folder.of(folders.t5gemma_config())
    resized(folder, side, 310)
    folder.config[side]["vocab_size"] = 310
    _, notes = convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")
    assert "one side was resized alone" in notes
    t5g.quantize(tmp_path / "m.gguf", tmp_path / "q.gguf", "q8_0")
    for name in ("m.gguf", "q.gguf"):
        with t5g.Model(tmp_path / name) as model:
            n_source, n_target = (310, 300) if side == "encoder" else (300, 310)
            assert (model.config.encoder.vocab_size, model.config.decoder.vocab_size) == (n_source, n_target)
            assert model.config.vocab_size == n_target
            source = model.encode([n_source - 1] * 3)
            with pytest.raises(t5g.InvalidArgumentError, match=f"{n_source}.*outside the model's vocabulary"):
                model.encode([n_source])
            assert model.logits(source, [2, n_target - 1]).shape == (2, n_target)
            with pytest.raises(t5g.InvalidArgumentError, match=f"{n_target}.*outside the model's vocabulary"):
                model.logits(source, [2, n_target])
            # Drafts are taken from the source, which may hold tokens that the decoder lacks.
            ids = [20, 30, n_source - 1, 30, 20, 30, n_source - 2] * 4
            out = model.generate(ids, max_new_tokens=40)
            assert out.token_ids == model.generate(ids, max_new_tokens=40, draft="off").token_ids
            source.save(tmp_path / "s.t5g")
            assert t5g.EncodedSource.load(model, tmp_path / "s.t5g").token_ids == source.token_ids


@pytest.mark.oracle
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_one_side_resized_alone_computes_what_transformers_computes(tmp_path: Path, side: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from support.cases import BY_NAME
    from support.checkpoints import build_model

    model = build_model(BY_NAME["v1-wide-encoder"])
    generator = torch.Generator().manual_seed(7)
    getattr(model, f"get_{side}")().resize_token_embeddings(400, mean_resizing=False)
    with torch.no_grad():
        getattr(model, f"get_{side}")().embed_tokens.weight[384:].normal_(0.0, 0.2, generator=generator)
    model.tie_weights()
    model.save_pretrained(tmp_path / "hf")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hf").eval()
    t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32")
    source, target = [20, 30, 399 if side == "encoder" else 40, 50], [2, 60, 399 if side == "decoder" else 70]
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor([source]),
            attention_mask=torch.ones(1, len(source), dtype=torch.long),
            decoder_input_ids=torch.tensor([target]),
        ).logits[0]
    with t5g.Model(tmp_path / "m.gguf", encoder_window="inclusive") as ours:
        found = ours.logits(source, target)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=2e-4 * float(expected.abs().max()))


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["v1-gqa-w3", "v2-mqa-w4"])
def test_a_lora_merged_by_peft(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from support.cases import BY_NAME
    from support.checkpoints import build_model

    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="SEQ_2_SEQ_LM")
    wrapped = peft.get_peft_model(build_model(BY_NAME[name]), config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, parameter in wrapped.named_parameters():
            if "lora_B" in key:
                parameter.normal_(0.0, 0.3, generator=generator)
    wrapped.save_pretrained(tmp_path / "adapter")
    merged = wrapped.merge_and_unload().eval()
    merged.save_pretrained(tmp_path / "hf")
    t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32", vision=False)
    source, target = [20, 30, 40, 50], [2, 60, 70]
    with torch.no_grad():
        expected = merged(
            input_ids=torch.tensor([source]),
            attention_mask=torch.ones(1, len(source), dtype=torch.long),
            decoder_input_ids=torch.tensor([target]),
        ).logits[0]
    with t5g.Model(tmp_path / "m.gguf", encoder_window="inclusive") as ours:
        found = ours.logits(source, target)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=2e-4 * float(expected.abs().max()))
    with pytest.raises(t5g.ModelFormatError, match="PEFT adapter"):
        t5g.convert(tmp_path / "adapter", tmp_path / "a.gguf")
