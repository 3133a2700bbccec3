"""Encoders alone: any folder that holds one, and the encoder of a whole folder, become a file that only reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.commands import run
from support.folders import Folder, t5gemma2_config, t5gemma_config

pytest.importorskip("gguf")

WHOLE = {"t5gemma": t5gemma_config, "t5gemma2": t5gemma2_config}
IDS = [2, 17, 40, 99, 31, 250, 3, 12]


def of_whole(architecture: str) -> Folder:
    return Folder.of(WHOLE[architecture]())


def encoder_model(folder: Folder) -> Folder:
    """What `T5GemmaEncoderModel` saves."""
    kept = {name: values for name, values in folder.tensors.items() if name.startswith("model.encoder.")}
    tensors = {name.removeprefix("model."): values for name, values in kept.items()}
    return Folder(folder.config | {"is_encoder_decoder": False, "architectures": ["T5GemmaEncoderModel"]}, tensors)


def encoder(folder: Folder) -> Folder:
    """What the encoder module of either family saves."""
    kept = {name: values for name, values in folder.tensors.items() if name.startswith("model.encoder.")}
    tensors = {name.removeprefix("model.encoder."): values for name, values in kept.items()}
    config: dict[str, Any] = dict(folder.config["encoder"])
    if folder.config["model_type"] == "t5gemma":
        return Folder(config | {"model_type": "t5_gemma_module"}, tensors)
    return Folder(config | {"model_type": "t5gemma2_encoder", "image_token_index": 292}, tensors)


def text_encoder(folder: Folder) -> Folder:
    """What the text stack of T5Gemma 2's encoder saves."""
    whole = encoder(folder)
    tensors = {name: t for name, t in whole.tensors.items() if not name.startswith(("vision_tower", "multi_modal"))}
    return Folder(whole.config["text_config"] | {"model_type": "t5gemma2_text"}, tensors)


CASES = [
    ("t5gemma", encoder_model),
    ("t5gemma", encoder),
    ("t5gemma2", encoder),
    ("t5gemma2", text_encoder),
]


def convert(folder: Folder, path: Path, **options: Any) -> t5g.Model:
    t5g.convert(folder.write(path / "hf"), path / "m.gguf", **({"type": "f32"} | options))
    return t5g.Model(path / "m.gguf")


@pytest.mark.parametrize(("architecture", "part"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_an_encoder_reads_as_it_does_in_the_whole_model(tmp_path: Path, architecture: str, part: Any) -> None:
    whole = of_whole(architecture)
    with convert(part(whole), tmp_path / "part") as alone, convert(whole, tmp_path / "whole") as model:
        assert alone.config.decoder is None
        assert alone.config.decoder_start_token_id is None
        assert alone.config.encoder == model.config.encoder
        assert alone.config.vocab_size == 300
        expected = model.encode(IDS).hidden_states
        np.testing.assert_array_equal(alone.encode(IDS).hidden_states, expected)
        np.testing.assert_array_equal(alone.embed([IDS], normalize=False)[0], expected.mean(axis=0))


@pytest.mark.parametrize("architecture", WHOLE)
def test_encoder_only_leaves_the_decoder_out(tmp_path: Path, architecture: str) -> None:
    whole = of_whole(architecture)
    with convert(whole, tmp_path / "part", encoder_only=True) as alone, convert(whole, tmp_path / "whole") as model:
        assert (tmp_path / "part/m.gguf").stat().st_size < (tmp_path / "whole/m.gguf").stat().st_size
        np.testing.assert_array_equal(alone.encode(IDS).hidden_states, model.encode(IDS).hidden_states)


@pytest.mark.parametrize("config", [t5gemma_config, t5gemma2_config])
def test_of_a_classifier_the_encoder_converts(tmp_path: Path, config: Any) -> None:
    folder = Folder.of(config())
    folder.write(tmp_path / "whole")
    folder.tensors |= {f"score.out_proj.{part}": np.ones(3, np.float32) for part in ("weight", "bias")}
    folder.write(tmp_path / "classifier")
    with pytest.raises(t5g.ModelFormatError, match=r"'score\.out_proj.*convert the encoder alone: --encoder-only"):
        t5g.convert(tmp_path / "classifier", tmp_path / "x.gguf", type="f32")
    found = t5g.convert(tmp_path / "classifier", tmp_path / "a.gguf", type="f32", encoder_only=True)
    assert "The classifier's head is left out: the file encodes and embeds." in found.notes
    t5g.convert(tmp_path / "whole", tmp_path / "b.gguf", type="f32", encoder_only=True)
    with t5g.Model(tmp_path / "a.gguf") as a, t5g.Model(tmp_path / "b.gguf") as b:
        np.testing.assert_array_equal(a.encode([5, 6]).hidden_states, b.encode([5, 6]).hidden_states)


def test_images_are_read(tmp_path: Path) -> None:
    whole = of_whole("t5gemma2")
    pixels = np.random.default_rng(1).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    ids = [2, 290, *[292] * 4, 291, 17]
    with convert(encoder(whole), tmp_path / "part") as alone, convert(whole, tmp_path / "whole") as model:
        found = alone.encode(ids, images=pixels).hidden_states
        np.testing.assert_array_equal(found, model.encode(ids, images=pixels).hidden_states)


def calls(model: t5g.Model) -> dict[str, Any]:
    return {
        "generate": lambda: model.generate(IDS),
        "generate, encoded": lambda: model.generate(model.encode(IDS)),
        "stream": lambda: model.stream(IDS),
        "generate_batch": lambda: model.generate_batch([IDS]),
        "generate_iter": lambda: list(model.generate_iter([IDS])),
        "score": lambda: model.score(IDS, [4, 5]),
        "logits": lambda: model.logits(IDS, [2, 4]),
        "decoder_prefix": lambda: model.generate(IDS, decoder_prefix=[4]),
    }


@pytest.mark.parametrize("name", calls(None))  # type: ignore[arg-type]
def test_what_needs_a_decoder_says_so(tmp_path: Path, name: str) -> None:
    with convert(of_whole("t5gemma"), tmp_path, encoder_only=True) as model:
        with pytest.raises(t5g.UnsupportedError, match=r"an encoder without a decoder.*--encoder-only"):
            calls(model)[name]()
        assert model.encode(IDS).n_tokens == len(IDS)


def test_commands_know_a_file_without_a_decoder(tmp_path: Path) -> None:
    folder = of_whole("t5gemma2").write(tmp_path / "hf")
    path = tmp_path / "m.gguf"
    assert run("convert", folder, "-o", path, "--encoder-only", "--type", "f32").returncode == 0
    shown = run("info", path)
    assert b"decoder: none" in shown.stdout
    assert b"per target token" not in shown.stdout
    facts = json.loads(run("info", path, "--json").stdout)
    assert facts["config"]["decoder"] is None
    assert facts["memory"]["bytes_per_target_token"] == 0
    bench = json.loads(run("bench", path, "--source-tokens", "8", "--repeat", "1", "--json").stdout)
    assert {result["test"] for result in bench["results"]} == {"image", "encode"}
    idle = run("bench", path, "--source-tokens", "8", "--repeat", "1", "--batch", "2", "--new-tokens", "9")
    assert idle.returncode == 0
    assert [
        said.partition(" has no effect: the file has no decoder")[0] for said in idle.stderr.decode().splitlines()
    ] == [
        "t5g-bench: warning: --new-tokens",
        "t5g-bench: warning: --batch",
    ]
    wrong = run("run", path, "-p", "a text", "--json")
    assert wrong.returncode == 1
    assert b"an encoder without a decoder" in wrong.stderr
    smaller = tmp_path / "q8.gguf"
    assert run("quantize", path, smaller, "q8_0").returncode == 0
    with t5g.Model(smaller) as model:
        assert model.config.decoder is None


def test_a_saved_source_of_an_encoder_is_not_one_of_the_whole_model(tmp_path: Path) -> None:
    whole = of_whole("t5gemma")
    with convert(whole, tmp_path / "part", encoder_only=True) as alone, convert(whole, tmp_path / "whole") as model:
        alone.encode(IDS).save(tmp_path / "s.t5g")
        with pytest.raises(t5g.ModelFormatError, match="another model"):
            t5g.EncodedSource.load(model, tmp_path / "s.t5g")


def test_a_decoder_alone_is_refused(tmp_path: Path) -> None:
    folder = encoder(of_whole("t5gemma"))
    folder.config["is_decoder"] = True
    with pytest.raises(t5g.ModelFormatError, match="a decoder without its encoder"):
        t5g.convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")


def test_a_headless_model_folder_is_a_whole_model(tmp_path: Path) -> None:
    whole = of_whole("t5gemma2")
    bare = Folder(
        whole.config | {"architectures": ["T5Gemma2Model"]},
        {name.removeprefix("model."): values for name, values in whole.tensors.items()},
    )
    with convert(bare, tmp_path / "bare") as found, convert(whole, tmp_path / "whole") as model:
        np.testing.assert_array_equal(found.logits(IDS, [2, 4, 5]), model.logits(IDS, [2, 4, 5]))


class TestAgainstTransformers:
    """Hidden states and pooled vectors of encoders that transformers saves itself."""

    pytestmark = pytest.mark.oracle

    @pytest.mark.parametrize("name", ["v1-wide-encoder", "v1-mha-w4", "v2-gqa-w5", "v2-six-one-w6"])
    @pytest.mark.parametrize("kind", ["module", "model or text"])
    def test_saved_encoders(self, tmp_path: Path, name: str, kind: str) -> None:
        torch = pytest.importorskip("torch")
        tf = pytest.importorskip("transformers")
        from support.cases import BY_NAME
        from support.checkpoints import build_model
        from support.oracle import draw_ids, relative_error

        case = BY_NAME[name]
        model = build_model(case)
        saved = reference = model.get_encoder()
        if kind == "model or text" and case.architecture == "t5gemma":
            model.config.is_encoder_decoder = False
            saved = tf.T5GemmaEncoderModel._from_config(model.config, attn_implementation="eager")
            saved.encoder.load_state_dict(reference.state_dict())
        elif kind == "model or text":
            saved = reference.text_model
        saved.save_pretrained(tmp_path / "hf")
        t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32")
        ids = [i for i in draw_ids(case, 31, 3) if i > 9]  # without the end-of-image id, which a text stack has not
        with torch.no_grad():
            batch = torch.tensor([ids])
            expected = reference(input_ids=batch, attention_mask=torch.ones_like(batch)).last_hidden_state[0].numpy()
        with t5g.Model(tmp_path / "m.gguf", encoder_window="inclusive") as found:
            assert relative_error(found.encode(ids).hidden_states, expected) < 2e-4
            mean = expected.mean(axis=0)
            np.testing.assert_allclose(found.embed([ids])[0], mean / np.linalg.norm(mean), atol=1e-4)

    def test_images(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        pytest.importorskip("transformers")
        from support.cases import BY_NAME
        from support.checkpoints import build_model
        from support.oracle import draw_images, ids_with_images, relative_error

        case = BY_NAME["v2-images"]
        reference = build_model(case).get_encoder()
        reference.save_pretrained(tmp_path / "hf")
        t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32")
        ids, images = ids_with_images(case, 2), draw_images(case, 2, 7)
        pixels = torch.tensor((images.astype(np.float32) / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)
        with torch.no_grad():
            expected = reference(input_ids=torch.tensor([ids]), pixel_values=pixels).last_hidden_state[0].numpy()
        with t5g.Model(tmp_path / "m.gguf") as found:
            states = found.encode(ids, images=list(images)).hidden_states
        assert relative_error(states, expected) < 2e-4
