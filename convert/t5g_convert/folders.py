"""What people give for a checkpoint's folder and is none: what it is instead, and what to do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t5g.errors import ModelFormatError
from t5g.text_files import printable

_HUB_ID = re.compile(r"[\w.-]+/([\w.-]+)")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
_MERGE = (
    "Merge it into its base: t5g-convert ADAPTER_DIR --base BASE_DIR -o OUT.gguf. Or keep it apart, for load_adapter "
    "and --lora: t5g-convert ADAPTER_DIR --adapter -o ADAPTER.gguf."
)
_MERGE_WITH_PEFT = (
    "Merge it into its base first: peft's PeftModel.from_pretrained(base, adapter).merge_and_unload(), "
    "then save_pretrained, and convert that folder."
)
# Of tensors that only quantised checkpoints have.
_QUANTISED = re.compile(r"\.(qweight|qzeros|g_idx|SCB|absmax|quant_map|nested_absmax|weight_scale|weight_packed)\b")


def local_folder(given: str | os.PathLike[str]) -> Path:
    """Give the folder of a path, or of `hf:owner/repo[@revision]`, which is fetched."""
    text = os.fspath(given)
    if text.startswith("hf:") and not os.path.lexists(text):
        from t5g import hub

        return hub.folder(hub.parse(text))
    return Path(text)


def check_folder(folder: Path) -> None:
    """Raise what tells the way out, unless this is a folder that has a config.json and no adapter alone."""
    if not folder.is_dir():
        raise _no_folder(folder)
    adapter = folder / "adapter_config.json"
    if adapter.is_file() and not any(_weights(folder)):
        base = _read_object(adapter).get("base_model_name_or_path")
        of = f" of {base}" if isinstance(base, str) and base else ""
        raise ModelFormatError(f"{folder}: is a PEFT adapter{of}, not a whole model. {_MERGE}")
    if not (folder / "config.json").is_file():
        where = next((f" Give {inner}, which has one." for inner in _inner_folders(folder)), "")
        hint = where or " Is this the folder of a Hugging Face checkpoint?"
        raise FileNotFoundError(f"{folder}: no config.json.{hint}")


def check_quantization(path: Path, config: Any) -> None:
    """Raise ModelFormatError where config.json (at `path`) says that the weights are quantised."""
    if config is None:
        return
    method = config.get("quant_method") if isinstance(config, dict) else None
    raise ModelFormatError(
        f"{path}: 'quantization_config' says that the weights are quantised ({method or 'unknown method'}), expected "
        f"BF16, F16 or F32. Convert the original checkpoint: t5g-convert quantises it itself (--type)."
    )


def check_names(folder: Path, names: list[str]) -> None:
    """Raise ModelFormatError where tensors' names tell of an adapter that is not merged, or of quantised weights."""
    lora = next((name for name in names if ".lora_" in name or ".base_layer." in name), None)
    if lora is not None:
        raise ModelFormatError(f"{folder}: tensor '{lora}' is of a LoRA adapter that is not merged. {_MERGE_WITH_PEFT}")
    packed = next((name for name in names if _QUANTISED.search(name)), None)
    if packed is not None:
        raise ModelFormatError(
            f"{folder}: tensor '{packed}' is of quantised weights (bitsandbytes, GPTQ, AWQ or the like), expected "
            "BF16, F16 or F32. Convert the original checkpoint: t5g-convert quantises it itself (--type)."
        )


def check_pointer(path: Path, start: bytes) -> None:
    """Raise ModelFormatError where a file begins as a Git LFS pointer does."""
    if start.startswith(_LFS_POINTER):
        raise ModelFormatError(
            f"{path}: is a Git LFS pointer, which stands for the file itself. "
            "Fetch it: git lfs pull, or download the folder again with hf download."
        )


def _no_folder(path: Path) -> OSError:
    if path.suffix == ".gguf" and path.is_file():
        return NotADirectoryError(f"{printable(path)}: is a GGUF file already. t5g-quantize changes its types.")
    if path.exists():
        return NotADirectoryError(
            f"{printable(path)}: is a file. Give the folder of a Hugging Face checkpoint that holds it."
        )
    hub = _HUB_ID.fullmatch(str(path))
    if hub is not None:
        name = hub[1]
        return FileNotFoundError(
            f"{printable(path)}: no such folder. For a model of the hub, download it first: "
            f"hf download {hub[0]} --local-dir {name}. Then give {name}."
        )
    return FileNotFoundError(f"{printable(path)}: no such folder. Give the folder of a Hugging Face checkpoint.")


def _inner_folders(folder: Path) -> Iterator[Path]:
    """Yield folders inside that hold a checkpoint: snapshots of the hub's cache, newest of a training's."""
    roots = [folder, *sorted(folder.glob("models--*"))]
    for root in roots:
        main = root / "refs" / "main"
        current = root / "snapshots" / _read_text(main).strip() if main.is_file() else None
        if current is not None and (current / "config.json").is_file():
            yield current
        yield from (path.parent for path in sorted((root / "snapshots").glob("*/config.json")))
    inner = [path.parent for path in folder.glob("*/config.json")]
    yield from sorted(inner, key=lambda path: (len(path.name), path.name), reverse=True)


def _weights(folder: Path) -> Iterator[Path]:
    yield from folder.glob("model*.safetensors")
    yield from folder.glob("pytorch_model*.bin")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(path))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _read_text(path: Path) -> str:
    return path.read_bytes()[: 1 << 20].decode("utf-8-sig", errors="replace")
