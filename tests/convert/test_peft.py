"""PEFT adapters: merged as peft merges them, or kept apart and run as peft runs them; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.adapters import factors, write_adapter
from support.folders import Folder, t5gemma2_config, t5gemma_config

gguf = pytest.importorskip("gguf")

QUERY = "model.encoder.layers.0.self_attn.q_proj"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return Folder.of(t5gemma_config()).write(tmp_path / "base")


def adapter(path: Path, names: tuple[str, ...] = (QUERY,), **changes: Any) -> Path:
    return write_adapter(path / "adapter", factors(dict.fromkeys(names, (64, 64))), **changes)


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {t.name: np.array(t.data) for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, 2.0),
        ({"lora_alpha": 3}, 0.75),
        ({"use_rslora": True}, 4.0),
        ({"alpha_pattern": {"encoder.layers.0.self_attn.q_proj": 1}}, 0.25),
        ({"alpha_pattern": {r"decoder\..*": 1, r"layers\.\d+\.self_attn\.q_proj": 12}}, 3.0),
        ({"r": 9, "rank_pattern": {"q_proj": 4}}, 2.0),
    ],
)
def test_the_scale_is_pefts(tmp_path: Path, base: Path, changes: dict[str, Any], scale: float) -> None:
    folder = adapter(tmp_path, **changes)
    t5g.convert(base, tmp_path / "base.gguf", type="f32")
    t5g.convert(folder, tmp_path / "merged.gguf", base=base, type="f32")
    before, after = tensors(tmp_path / "base.gguf"), tensors(tmp_path / "merged.gguf")
    made = factors({QUERY: (64, 64)})
    a, b = made[f"base_model.model.{QUERY}.lora_A.weight"], made[f"base_model.model.{QUERY}.lora_B.weight"]
    name = "enc.blk.0.attn_q.weight"
    np.testing.assert_allclose(after[name] - before[name], scale * (b @ a), atol=1e-5)
    assert [n for n in before if not np.array_equal(before[n], after[n])] == [name]

    t5g.convert(folder, tmp_path / "apart.gguf", adapter=True)
    reader = gguf.GGUFReader(tmp_path / "apart.gguf")
    alpha = reader.get_field("adapter.lora.alpha").contents()
    found = tensors(tmp_path / "apart.gguf")
    product = found[f"{name}.lora_b"] @ found[f"{name}.lora_a"] * (alpha / 4)
    np.testing.assert_allclose(product, scale * (b @ a), atol=1e-5)
    assert reader.get_field("general.type").contents() == "adapter"
    assert reader.get_field("general.architecture").contents() == "t5gemma"
    assert reader.get_field("adapter.type").contents() == "lora"


def test_modules_with_scales_of_their_own_share_one_alpha(tmp_path: Path) -> None:
    names = (QUERY, "model.encoder.layers.1.self_attn.q_proj")
    folder = adapter(tmp_path, names, alpha_pattern={"layers.1.self_attn.q_proj": 1})
    t5g.convert(folder, tmp_path / "apart.gguf", adapter=True)
    found, made = tensors(tmp_path / "apart.gguf"), factors(dict.fromkeys(names, (64, 64)))
    np.testing.assert_allclose(
        found["enc.blk.1.attn_q.weight.lora_b"] * 8, made[f"base_model.model.{names[1]}.lora_B.weight"], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "'peft_type' is 'IA3', expected 'LORA'"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base's weights too"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"r": 8}, "has rank 4, but adapter_config.json says 8"),
    ],
)
def test_what_is_no_plain_lora_is_refused(tmp_path: Path, base: Path, changes: dict[str, Any], words: str) -> None:
    folder = adapter(tmp_path, **changes)
    for options in ({"base": base}, {"adapter": True}):
        with pytest.raises(t5g.ModelFormatError, match=words):
            t5g.convert(folder, tmp_path / "m.gguf", **options)
        assert not (tmp_path / "m.gguf").exists()


def test_another_base_is_refused(tmp_path: Path, base: Path) -> None:
    wide = write_adapter(tmp_path / "wide", factors({QUERY: (64, 96)}))
    deep = write_adapter(tmp_path / "deep", factors({QUERY.replace("0", "40"): (64, 64)}))
    for options in ({}, {"adapter": True}):
        with pytest.raises(t5g.ModelFormatError, match=r"as a matrix \[64, 96\], but the base's is \[64, 64\]"):
            t5g.convert(wide, tmp_path / "m.gguf", base=base, **options)
        with pytest.raises(t5g.ModelFormatError, match=r"layers\.40.*which the base has not"):
            t5g.convert(deep, tmp_path / "m.gguf", base=base, **options)


@pytest.mark.parametrize(
    ("changes", "architecture"),
    [
        ({"auto_mapping": {"base_model_class": "T5GemmaForConditionalGeneration"}}, "t5gemma"),
        ({"auto_mapping": {"base_model_class": "T5Gemma2ForConditionalGeneration"}}, "t5gemma2"),
        ({"base_model_name_or_path": "google/t5gemma-2-270m-270m"}, "t5gemma2"),
        ({"base_model_name_or_path": "google/t5gemma-2b-2b-ul2-it"}, "t5gemma"),
        ({"base_model_name_or_path": "google/t5gemma-ml-ml-prefixlm"}, "t5gemma"),
        ({"base_model_name_or_path": "mine/t5gemma-2-small"}, None),
        ({"auto_mapping": "T5Gemma2ForConditionalGeneration", "base_model_name_or_path": None}, None),
    ],
)
def test_adapters_of_a_decoder_alone_are_of_the_family_that_peft_has_noted(
    tmp_path: Path, changes: dict[str, Any], architecture: str | None
) -> None:
    folder = adapter(tmp_path, ("model.decoder.layers.0.self_attn.q_proj",), **changes)
    if architecture is None:
        with pytest.raises(t5g.ModelFormatError, match="Say which is its base: --base BASE_DIR"):
            t5g.convert(folder, tmp_path / "apart.gguf", adapter=True)
        return
    t5g.convert(folder, tmp_path / "apart.gguf", adapter=True)
    assert gguf.GGUFReader(tmp_path / "apart.gguf").get_field("general.architecture").contents() == architecture


def test_what_only_a_merge_can_do(tmp_path: Path, base: Path) -> None:
    made = factors({QUERY: (64, 64)})
    whole = {"base_model.model.model.encoder.norm.weight": np.full(64, 0.25, np.float32)}
    folder = write_adapter(tmp_path / "saved", made | whole, modules_to_save=["norm"])
    t5g.convert(folder, tmp_path / "m.gguf", base=base, type="f32")
    np.testing.assert_array_equal(tensors(tmp_path / "m.gguf")["enc.output_norm.weight"], 1.25)
    with pytest.raises(t5g.ModelFormatError, match=r"replaces whole modules.*encoder\.norm"):
        t5g.convert(folder, tmp_path / "a.gguf", adapter=True)
    lengths = {f"base_model.model.{QUERY}.lora_magnitude_vector": np.full(64, 2.0, np.float32)}
    folder = write_adapter(tmp_path / "dora", made | lengths, use_dora=True)
    t5g.convert(folder, tmp_path / "m.gguf", base=base, type="f32")
    rows = np.linalg.norm(tensors(tmp_path / "m.gguf")["enc.blk.0.attn_q.weight"], axis=1)
    np.testing.assert_allclose(rows, 2.0, rtol=1e-5)
    with pytest.raises(t5g.ModelFormatError, match="is a DoRA"):
        t5g.convert(folder, tmp_path / "a.gguf", adapter=True)


def test_other_ways_to_be_wrong(tmp_path: Path, base: Path) -> None:
    folder = adapter(tmp_path)
    with pytest.raises(ValueError, match="adapters are not quantised"):
        t5g.convert(folder, tmp_path / "a.gguf", adapter=True, type="q4_0")
    with pytest.raises(t5g.ModelFormatError, match="is no PEFT adapter"):
        t5g.convert(base, tmp_path / "m.gguf", base=base)
    decoders = write_adapter(tmp_path / "d", factors({"model.decoder.layers.0.mlp.up_proj": (64, 32)}))
    with pytest.raises(t5g.ModelFormatError, match=r"Say which is its base: --base"):
        t5g.convert(decoders, tmp_path / "a.gguf", adapter=True)
    t5g.convert(decoders, tmp_path / "a.gguf", adapter=True, base=base)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match="save it again with safetensors"):
        t5g.convert(folder, tmp_path / "m.gguf", base=base)


def test_a_merged_model_is_another_base(tmp_path: Path, base: Path) -> None:
    def prints(path: Path) -> list[str]:
        reader = gguf.GGUFReader(path)
        return [reader.get_field(f"t5g.fingerprint.{side}").contents() for side in ("encoder", "decoder")]

    folder = adapter(tmp_path)
    t5g.convert(base, tmp_path / "base.gguf")
    t5g.convert(folder, tmp_path / "merged.gguf", base=base)
    old, new = prints(tmp_path / "base.gguf"), prints(tmp_path / "merged.gguf")
    assert old[0] != new[0]
    assert old[1] == new[1]
    half = Folder.of(t5gemma_config())
    t5g.convert(half.write(tmp_path / "half", "BF16"), tmp_path / "half.gguf")
    assert prints(tmp_path / "half.gguf") == old


SETUPS: dict[str, dict[str, Any]] = {
    "attention": {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 8},
    "all linear layers, rslora": {"target_modules": "all-linear", "r": 3, "lora_alpha": 5, "use_rslora": True},
    "patterns": {
        "target_modules": r".*\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
        "r": 4,
        "rank_pattern": {"down_proj": 2},
        "alpha_pattern": {"decoder.*o_proj": 11},
    },
    "embedding and head": {"target_modules": ["embed_tokens", "out_proj", "k_proj"], "r": 4},
    "dora": {"target_modules": ["q_proj", "down_proj"], "r": 4, "use_dora": True},
    "norms saved": {"target_modules": ["v_proj"], "r": 4, "modules_to_save": ["norm"]},
    "embedding saved": {"target_modules": ["v_proj"], "r": 4, "modules_to_save": ["embed_tokens"]},
    "head saved": {"target_modules": ["v_proj"], "r": 4, "modules_to_save": ["lm_head"]},
    "embedding and head saved": {"target_modules": ["v_proj"], "r": 4, "modules_to_save": ["embed_tokens", "out_proj"]},
}
MERGED_ONLY = [name for name in SETUPS if name == "dora" or "saved" in name]
APART = [name for name in SETUPS if name not in MERGED_ONLY]


class TestAgainstPeft:
    """On random checkpoints of both families, with every tensor of the adapter drawn."""

    pytestmark = pytest.mark.oracle

    def made(self, name: str, setup: str, path: Path, **more: Any) -> tuple[Any, Any]:
        torch = pytest.importorskip("torch")
        peft = pytest.importorskip("peft")
        pytest.importorskip("transformers")
        from support.cases import BY_NAME
        from support.checkpoints import build_model

        case = BY_NAME[name]
        model = build_model(case)
        model.save_pretrained(path / "base")
        wrapped = peft.get_peft_model(model, peft.LoraConfig(**SETUPS[setup], **more))
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for key, parameter in sorted(wrapped.named_parameters()):
                if "lora_magnitude" in key:
                    parameter.mul_(torch.rand(parameter.shape, generator=generator) + 0.5)
                elif "lora_" in key:
                    parameter.normal_(0, 0.15, generator=generator)
                elif "modules_to_save" in key:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        wrapped.save_pretrained(path / "adapter")
        return case, wrapped.eval()

    def ask(self, case: Any, model: Any) -> tuple[list[int], list[int], Any]:
        from support.oracle import ask, ask_about_images, draw_images, draw_target, ids_with_images

        target = draw_target(case, 9, 2)
        if case.image:
            source, images = ids_with_images(case, 2), draw_images(case, 2, 7)
            return source, target, ask_about_images(model, source, images, target)
        from support.oracle import draw_ids

        source = draw_ids(case, 21, 1)
        return source, target, ask(model, source, target)

    def logits(self, model: t5g.Model, case: Any, source: list[int], target: list[int]) -> np.ndarray:
        from support.oracle import draw_images

        images = list(draw_images(case, 2, 7)) if case.image else None
        return model.logits(source, target, images=images)

    @pytest.mark.parametrize("name", ["v1-wide-encoder", "v2-images"])
    @pytest.mark.parametrize("setup", SETUPS)
    def test_merged(self, tmp_path: Path, name: str, setup: str) -> None:
        self.merges(tmp_path, name, setup)

    def test_a_head_is_tied_to_the_encoders_embedding_or_not_at_all(self, tmp_path: Path) -> None:
        """The decoder's embedding and the head come apart even with this option: peft sees only the encoder's."""
        self.merges(tmp_path, "v1-wide-encoder", "embedding saved", ensure_weight_tying=True)

    def merges(self, tmp_path: Path, name: str, setup: str, **more: Any) -> None:
        from support.oracle import relative_error

        case, wrapped = self.made(name, setup, tmp_path, **more)
        source, target, expected = self.ask(case, wrapped.merge_and_unload())
        t5g.convert(tmp_path / "adapter", tmp_path / "m.gguf", base=tmp_path / "base", type="f32")
        with t5g.Model(tmp_path / "m.gguf", encoder_window="inclusive") as model:
            assert relative_error(self.logits(model, case, source, target), expected.logits) < 3e-4

    @pytest.mark.parametrize("name", ["v1-wide-encoder", "v2-images"])
    @pytest.mark.parametrize("setup", APART)
    def test_apart(self, tmp_path: Path, name: str, setup: str) -> None:
        from support.oracle import relative_error

        case, wrapped = self.made(name, setup, tmp_path)
        source, target, expected = self.ask(case, wrapped)
        t5g.convert(tmp_path / "base", tmp_path / "m.gguf", type="f32")
        t5g.convert(tmp_path / "adapter", tmp_path / "a.gguf", adapter=True, base=tmp_path / "base")
        with t5g.Model(tmp_path / "m.gguf", encoder_window="inclusive") as model:
            plain = self.logits(model, case, source, target)
            model.load_adapter(tmp_path / "a.gguf")
            assert relative_error(self.logits(model, case, source, target), expected.logits) < 3e-4
            assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["peft_type"] == "LORA"
            model.unload_adapter("a")
            np.testing.assert_array_equal(self.logits(model, case, source, target), plain)

    @pytest.mark.parametrize("name", ["v1-wide-encoder", "v2-images"])
    def test_saved_modules_are_refused_apart(self, tmp_path: Path, name: str) -> None:
        self.made(name, "embedding and head saved", tmp_path)
        for options in ({}, {"base": tmp_path / "base"}):
            with pytest.raises(
                t5g.ModelFormatError, match=r"replaces whole modules \(.*\). Merge it .* --base BASE_DIR"
            ):
                t5g.convert(tmp_path / "adapter", tmp_path / "a.gguf", adapter=True, **options)
        assert not (tmp_path / "a.gguf").exists()


def test_a_tower_adapted_by_hand_changes_images_only(tmp_path: Path) -> None:
    folder = Folder.of(t5gemma2_config())
    folder.write(tmp_path / "hf")
    t5g.convert(tmp_path / "hf", tmp_path / "m.gguf", type="f32")
    name = "model.encoder.vision_tower.vision_model.encoder.layers.0.mlp.fc1"
    write_adapter(tmp_path / "a", factors({name: (48, 32)}))
    t5g.convert(tmp_path / "a", tmp_path / "a.gguf", adapter=True)
    pixels = np.random.default_rng(1).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    ids = [2, 290, *[292] * 4, 291, 17]
    with t5g.Model(tmp_path / "m.gguf") as model:
        text, image = model.encode([2, 17]).hidden_states, model.encode(ids, images=pixels).hidden_states
        model.load_adapter(tmp_path / "a.gguf")
        np.testing.assert_array_equal(model.encode([2, 17]).hidden_states, text)
        changed = model.encode(ids, images=pixels).hidden_states
        assert not np.array_equal(changed, image)
        np.testing.assert_array_equal(model.encode(ids, images=pixels, adapters=[]).hidden_states, image)
        np.testing.assert_array_equal(model.encode(ids, images=pixels).hidden_states, changed)
