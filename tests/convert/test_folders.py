"""What people give for a checkpoint's folder and is none is told by name, with the way out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import t5g
from support import folders
from support.folders import Folder
from t5g_convert import Summary

pytest.importorskip("gguf")

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"


def convert(folder: Path | str, tmp_path: Path) -> Summary:
    return t5g.convert(folder, tmp_path / "m.gguf", type="f32")


def fails(folder: Path | str, tmp_path: Path, error: type[Exception], *words: str) -> None:
    with pytest.raises(error) as info:
        convert(folder, tmp_path)
    for word in words:
        assert word in str(info.value), str(info.value)
    assert not (tmp_path / "m.gguf").exists()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return Folder.of(folders.t5gemma_config()).write(tmp_path / "hf")


def test_a_hub_id_without_its_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "google/t5gemma-2-270m-270m"
    command = "hf download google/t5gemma-2-270m-270m --local-dir t5gemma-2-270m-270m"
    fails(name, tmp_path, FileNotFoundError, name, "no such folder", command)


def test_no_folder_at_all(tmp_path: Path) -> None:
    fails(tmp_path / "none", tmp_path, FileNotFoundError, "none: no such folder. Give the folder of")


def test_a_file(tmp_path: Path, good: Path) -> None:
    fails(good / "model.safetensors", tmp_path, NotADirectoryError, "is a file", "Give the folder")
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    fails(tmp_path / "other.gguf", tmp_path, NotADirectoryError, "is a GGUF file already", "t5g-quantize")


def test_a_hub_caches_root(tmp_path: Path, good: Path) -> None:
    root = tmp_path / "hub" / "models--google--t5gemma"
    for name in ("0000", "1111"):
        snapshot = root / "snapshots" / name
        snapshot.mkdir(parents=True)
        for file in good.iterdir():
            (snapshot / file.name).symlink_to(file)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("1111")
    fails(root, tmp_path, FileNotFoundError, "no config.json", f"Give {root / 'snapshots' / '1111'}")
    fails(root.parent, tmp_path, FileNotFoundError, f"Give {root / 'snapshots' / '1111'}")
    assert convert(root / "snapshots" / "1111", tmp_path).architecture == "t5gemma"


def test_a_folder_of_checkpoints(tmp_path: Path) -> None:
    for step in (500, 1000):
        (tmp_path / "run" / f"checkpoint-{step}").mkdir(parents=True)
        (tmp_path / "run" / f"checkpoint-{step}" / "config.json").write_text("{}")
    fails(tmp_path / "run", tmp_path, FileNotFoundError, "no config.json", "checkpoint-1000")


@pytest.mark.parametrize("base", ["google/t5gemma-s-s-prefixlm", None])
def test_a_peft_adapter(tmp_path: Path, base: str | None) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    fails(
        folder,
        tmp_path,
        t5g.ModelFormatError,
        "PEFT adapter",
        "--base BASE_DIR",
        "--adapter",
        base or "not a whole model",
    )
    (folder / "config.json").write_text(json.dumps(folders.t5gemma_config()))
    fails(folder, tmp_path, t5g.ModelFormatError, "PEFT adapter")


def test_an_adapter_that_is_not_merged(tmp_path: Path) -> None:
    folder = Folder.of(folders.t5gemma_config())
    name = "model.decoder.layers.0.self_attn.q_proj"
    folder.tensors[f"{name}.base_layer.weight"] = folder.tensors.pop(f"{name}.weight")
    folder.tensors[f"{name}.lora_A.default.weight"] = np.zeros((2, 32), np.float32)
    folder.tensors = {f"base_model.model.{key}": value for key, value in folder.tensors.items()}
    fails(folder.write(tmp_path / "hf"), tmp_path, t5g.ModelFormatError, "not merged", "merge_and_unload")


@pytest.mark.parametrize(
    "method", ["bitsandbytes", "gptq", "awq", "compressed-tensors", None], ids=lambda method: str(method)
)
def test_quantised_weights_by_their_config(tmp_path: Path, method: str | None) -> None:
    folder = Folder.of(folders.t5gemma_config())
    folder.config["quantization_config"] = {"quant_method": method, "bits": 4} if method else {}
    words = (method or "unknown method", "original checkpoint", "--type")
    fails(folder.write(tmp_path / "hf"), tmp_path, t5g.ModelFormatError, "quantization_config", *words)


@pytest.mark.parametrize("suffix", ["qweight", "SCB", "weight.absmax", "weight.quant_map", "weight_scale"])
def test_quantised_weights_by_their_names(tmp_path: Path, suffix: str) -> None:
    folder = Folder.of(folders.t5gemma_config())
    folder.tensors[f"model.decoder.layers.0.mlp.up_proj.{suffix}"] = np.zeros(4, np.float32)
    fails(folder.write(tmp_path / "hf"), tmp_path, t5g.ModelFormatError, suffix, "GPTQ", "original checkpoint")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer.model", "generation_config.json"]
)
def test_git_lfs_pointers(tmp_path: Path, good: Path, name: str) -> None:
    pytest.importorskip("sentencepiece")
    (good / name).write_bytes(LFS)
    fails(good, tmp_path, t5g.ModelFormatError, name, "Git LFS pointer", "git lfs pull")


@pytest.mark.parametrize("package", ["gguf", "sentencepiece", "tqdm"])
def test_a_package_that_is_not_installed(tmp_path: Path, good: Path, package: str) -> None:
    """Also one that is first needed in the middle of the work."""
    (good / "tokenizer.model").write_bytes(b"not read")
    code = f"""
import sys
sys.modules[{package!r}] = None
import t5g
try:
    t5g.convert({str(good)!r}, {str(tmp_path / "m.gguf")!r}, progress=True, tokenizer={package == "sentencepiece"})
except ImportError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert out == f"t5g.convert needs the package {package}. Install it with: pip install 't5g[convert]'\n"
    assert not (tmp_path / "m.gguf").exists()
