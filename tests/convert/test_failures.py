"""Whatever goes wrong is one clear error, and leaves no file behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support import folders
from support.adapters import factors, linear_layers, write_adapter
from support.folders import Folder
from support.written_files import TOO_LARGE

pytest.importorskip("gguf")


@pytest.fixture
def folder() -> Folder:
    return Folder.of(folders.t5gemma2_config())


def fails(folder: Folder, tmp_path: Path, words: str) -> None:
    with pytest.raises(t5g.ModelFormatError, match=words):
        t5g.convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_missing_tensors_are_named(folder: Folder, tmp_path: Path) -> None:
    del folder.tensors["model.decoder.layers.1.self_attn.q_norm.weight"]
    fails(folder, tmp_path, r"missing tensor 'model\.decoder\.layers\.1\.self_attn\.q_norm\.weight'")


def test_unexpected_tensors_are_named(folder: Folder, tmp_path: Path) -> None:
    folder.tensors["model.decoder.layers.0.cross_attn.q_proj.weight"] = np.zeros((2, 2), np.float32)
    folder.tensors["model.encoder.layers.7.mlp.up_proj.weight"] = np.zeros((2, 2), np.float32)
    fails(folder, tmp_path, r"not expected in a t5gemma2: tensors 'model\.decoder.*cross_attn.*layers\.7")


def test_shapes_are_checked(folder: Folder, tmp_path: Path) -> None:
    folder.tensors["model.encoder.layers.0.self_attn.v_proj.weight"] = np.zeros((64, 32), np.float32)
    fails(folder, tmp_path, r"v_proj\.weight' has shape \[64, 32\], config\.json asks for \[32, 64\]")


def test_one_tensor_under_two_names(folder: Folder, tmp_path: Path) -> None:
    folder.tensors["model.encoder.text_model.norm.weight"] = folder.tensors["model.encoder.norm.weight"]
    fails(folder, tmp_path, "twice")


def test_a_whole_models_config_beside_an_encoder(folder: Folder, tmp_path: Path) -> None:
    prefix = "model.encoder."
    folder.tensors = {k.removeprefix(prefix): v for k, v in folder.tensors.items() if k.startswith(prefix)}
    fails(folder, tmp_path, "no decoder tensors.*--encoder-only")


def test_a_vision_tower_in_part(folder: Folder, tmp_path: Path) -> None:
    del folder.tensors["model.encoder.vision_tower.vision_model.post_layernorm.bias"]
    fails(folder, tmp_path, "post_layernorm.bias")


def test_a_tower_without_its_config(folder: Folder, tmp_path: Path) -> None:
    del folder.config["encoder"]["vision_config"]
    fails(folder, tmp_path, "vision_config")


def test_an_untied_head_that_is_missing(folder: Folder, tmp_path: Path) -> None:
    folder.config["tie_word_embeddings"] = False
    fails(folder, tmp_path, "lm_head")


def test_values_that_are_no_numbers(folder: Folder, tmp_path: Path) -> None:
    folder.tensors["model.decoder.layers.2.mlp.up_proj.weight"][-1, -1] = np.nan
    fails(folder, tmp_path, r"up_proj\.weight' holds NaN")


def test_values_beyond_f16(folder: Folder, tmp_path: Path) -> None:
    folder.tensors["model.encoder.vision_tower.vision_model.encoder.layers.0.mlp.fc2.weight"][0, 0] = 7e4
    fails(folder, tmp_path, r"fc2\.weight': the value 70000 does not fit f16.*bf16")


def test_no_reachable_end_of_text(folder: Folder, tmp_path: Path) -> None:
    folder.config["eos_token_id"] = [300, 301]
    fails(folder, tmp_path, "eos_token_id")


def test_truncated_weights(folder: Folder, tmp_path: Path) -> None:
    weights = folder.write(tmp_path / "hf") / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(t5g.ModelFormatError, match="truncated"):
        t5g.convert(tmp_path / "hf", tmp_path / "m.gguf")


@pytest.mark.parametrize("type_", ["q4_k", "", "Q8"])
def test_unknown_types_list_those_there_are(folder: Folder, tmp_path: Path, type_: Any) -> None:
    with pytest.raises(ValueError, match="f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0"):
        t5g.convert(folder.write(tmp_path / "hf"), tmp_path / "m.gguf", type=type_)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        t5g.convert(tmp_path / "none", tmp_path / "m.gguf")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        t5g.convert(tmp_path, tmp_path / "m.gguf")


def test_outputs_that_cannot_be(folder: Folder, tmp_path: Path) -> None:
    source = folder.write(tmp_path / "hf")
    with pytest.raises(FileNotFoundError, match=r"none.*no such folder"):
        t5g.convert(source, tmp_path / "none" / "m.gguf")
    with pytest.raises(IsADirectoryError):
        t5g.convert(source, tmp_path)
    with pytest.raises(ValueError, match="no regular file"):
        t5g.convert(source, "/dev/null")
    for name in ("model.safetensors", "config.json"):
        before = (source / name).read_bytes()
        with pytest.raises(ValueError, match="is the input"):
            t5g.convert(source, source / name)
        assert (source / name).read_bytes() == before


def test_an_unwritable_folder(folder: Folder, tmp_path: Path) -> None:
    source = folder.write(tmp_path / "hf")
    if os.geteuid() == 0:  # whom no mode stops, but /proc does
        with pytest.raises(OSError, match=r"/proc/m\.gguf"):
            t5g.convert(source, "/proc/m.gguf")
        return
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(PermissionError, match=r"m\.gguf"):
        t5g.convert(source, locked / "m.gguf")


def test_a_file_of_that_name_stays_until_the_new_one_is_complete(folder: Folder, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    out.write_text("precious")
    folder.tensors["model.decoder.norm.weight"][0] = np.nan
    with pytest.raises(t5g.ModelFormatError):
        t5g.convert(folder.write(tmp_path / "bad"), out)
    assert out.read_text() == "precious"
    t5g.convert(Folder.of(folder.config).write(tmp_path / "good"), out)
    assert out.read_bytes()[:4] == b"GGUF"


def command(name: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"t5g.cli.{name}", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("work", ["convert", "quantize", "adapter"])
def test_a_full_disk(folder: Folder, tmp_path: Path, work: str) -> None:
    """A limit on the size of files fails in the same call as a disk that fills up while we write."""
    source, out, old = tmp_path / "in", tmp_path / "m.gguf", "what was there"
    if work == "adapter":
        write_adapter(source, factors(linear_layers(folder), rank=64), r=64)
    else:
        folder.write(source)
    if work == "quantize":
        t5g.convert(source, tmp_path / "f32.gguf", type="f32")
        line: list[object] = ["quantize", tmp_path / "f32.gguf", out, "q8_0"]
    else:
        line = ["convert", source, "-o", out, *(["--adapter"] if work == "adapter" else [])]
    out.write_text(old)
    before = sorted(tmp_path.iterdir())
    process = command(
        *line,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (1, "")
    name = "quantize" if work == "quantize" else "convert"
    assert stderr == f"t5g-{name}: error: {out}: writing failed: File too large. {TOO_LARGE}\n"
    assert sorted(tmp_path.iterdir()) == before
    assert out.read_text() == old


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """The signal comes when the temporary file is there."""
    config = folders.t5gemma_config()
    for side in ("encoder", "decoder"):
        config[side] |= {"intermediate_size": 20_000, "num_hidden_layers": 8}
    source = Folder.of(config).write(tmp_path / "hf")
    process = command("convert", source, "-o", tmp_path / "m.gguf", "--type", "q5_1", "--threads", 1)
    deadline = time.monotonic() + 20
    while len(list(tmp_path.iterdir())) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == status
    assert "Traceback" not in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]
