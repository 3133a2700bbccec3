"""PEFT adapters that are written by hand, without torch and peft: any module, rank, alpha and configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import t5g
from support.folders import Folder
from support.safetensors import write_safetensors

PREFIX = "base_model.model."


def config(**changes: Any) -> dict[str, Any]:
    """What peft writes to adapter_config.json, but for what does not matter here."""
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM",
        "base_model_name_or_path": "some/base",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": None,
        "init_lora_weights": True,
    } | changes


def factors(
    shapes: Mapping[str, tuple[int, int]], rank: int = 4, *, seed: int = 1, size: float = 0.3
) -> dict[str, np.ndarray]:
    """Make A and B for modules, by name, of matrices [out, in]."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, (out, into) in shapes.items():
        found[f"{PREFIX}{name}.lora_A.weight"] = (rng.standard_normal((rank, into)) * size).astype(np.float32)
        found[f"{PREFIX}{name}.lora_B.weight"] = (rng.standard_normal((out, rank)) * size).astype(np.float32)
    return found


def write_adapter(folder: Path, tensors: Mapping[str, np.ndarray], **changes: Any) -> Path:
    """Write an adapter's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config(**changes)))
    write_safetensors(folder / "adapter_model.safetensors", dict(tensors), "F32")
    return folder


def linear_layers(folder: Folder) -> dict[str, tuple[int, int]]:
    """All of both stacks, as transformers names their modules."""
    found = {}
    for name, values in folder.tensors.items():
        if name.endswith("_proj.weight") and "vision" not in name:
            module = name.removesuffix(".weight")
            if folder.config["model_type"] == "t5gemma2":
                module = module.replace("model.encoder.", "model.encoder.text_model.")
            out, into = values.shape
            found[module] = (out, into)
    return found


def write_adapted(path: Path, config: dict[str, Any], type_: str = "f32") -> Path:
    """Write m.gguf, a model of this configuration, and a.gguf and b.gguf: two adapters of all its linear layers."""
    folder = Folder.of(config)
    folder.write(path / "hf")
    t5g.convert(path / "hf", path / "m.gguf", type=type_)
    for i, name in enumerate("ab"):
        write_adapter(path / name, factors(linear_layers(folder), seed=i + 1, size=0.1))
        t5g.convert(path / name, path / f"{name}.gguf", adapter=True)
    return path
