"""docs/file-format.md lists every key and every tensor that the converter writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import t5g
from support import folders
from support.folders import Folder

gguf = pytest.importorskip("gguf")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "file-format.md").read_text(encoding="utf-8")
GENERATION = {
    "do_sample": True,
    "temperature": 0.5,
    "top_p": 0.9,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "length_penalty": 0.5,
    "early_stopping": True,
    "no_repeat_ngram_size": 3,
    "num_return_sequences": 2,
    "num_beams": 1,
    "max_length": 50,
    "min_length": 5,
    "typical_p": 0.9,
    "epsilon_cutoff": 0.001,
    "eta_cutoff": 0.002,
    "encoder_repetition_penalty": 1.1,
    "encoder_no_repeat_ngram_size": 5,
    "forced_bos_token_id": 3,
    "suppress_tokens": [4],
    "bad_words_ids": [[5, 6]],
    "stop_strings": ["END"],
}
CONFIGS = {"t5gemma": folders.t5gemma_config(), "t5gemma2": folders.t5gemma2_config()}


def expanded(name: str, arch: str) -> list[str]:
    """`{a,b}.c` is `a.c` and `b.c`; `{side}` and `{arch}` stand for what they mean."""
    for placeholder, meanings in (("{side}", ("{arch}.encoder", "{arch}.decoder", "{arch}")), ("{arch}", (arch,))):
        if placeholder in name:
            return [one for meaning in meanings for one in expanded(name.replace(placeholder, meaning), arch)]
    choice = re.search(r"\{([^{}]*,[^{}]*)\}", name)
    if choice is None:
        return [name]
    return [one for part in choice[1].split(",") for one in expanded(name.replace(choice[0], part), arch)]


def listed(arch: str) -> set[str]:
    """All names on the page; a name that begins with a dot continues the one before it."""
    names, last = set(), ""
    for name in re.findall(r"`([^`\s]+)`", PAGE):
        whole = last[: last.rindex(".", 0, last.rindex("."))] + name if name.startswith(".") and "." in last else name
        if not name.startswith("."):
            last = name
        names.update(expanded(whole, arch))
    return names


@pytest.mark.parametrize("arch", CONFIGS)
def test_every_key_is_on_the_page(tmp_path: Path, arch: str) -> None:
    source = Folder.of(CONFIGS[arch]).write(tmp_path / "hf")
    (source / "chat_template.jinja").write_text("{{ messages }}")
    (source / "generation_config.json").write_text(json.dumps(GENERATION))
    t5g.convert(source, tmp_path / "m.gguf", type="f32")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    keys = {key for key in reader.fields if not key.startswith("GGUF.")}
    assert keys - listed(arch) == set()


@pytest.mark.parametrize("arch", CONFIGS)
def test_every_tensor_is_on_the_page(tmp_path: Path, arch: str) -> None:
    t5g.convert(Folder.of(CONFIGS[arch]).write(tmp_path / "hf"), tmp_path / "m.gguf", type="f32")
    tensors = {re.sub(r"\.blk\.\d+\.", ".blk.N.", t.name) for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert tensors - listed(arch) == set()
