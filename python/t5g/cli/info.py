"""t5g-info: what a model file is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t5g.cli import _common, _output

if TYPE_CHECKING:
    from t5g import _core

_PROG = "t5g-info"
_VISION = ("v.", "mm.")  # tensors of the image tower and its projector


def _parser() -> _common.Parser:
    parser = _common.Parser(_PROG, "Show what a model file is: sizes, types, limits, and the memory it will need.")
    parser.add_argument("model", metavar="MODEL.gguf", nargs="?", help="the file (default: the bundled model's)")
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), _info, argv)


def _info(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from t5g import Model, _core
    from t5g.chat_templates import is_known

    with Model(arguments.model) as model:
        config, chat, has_tokenizer = model.config, model.has_chat_template, not model.tokenizer.is_placeholder
        generation = dict(model.generation_defaults)
        templates = {name: "gemma" if is_known(text) else "jinja2" for name, text in model.chat_templates.items()}
        memory = model.memory()
        limit = model.max_source_tokens
        lengths = sorted({min(n, limit) for n in (512, 8192, 32768, 131072)} | {limit})
        sources = [
            {"n_tokens": n, "reading_bytes": reading, "writing_bytes": writing, "latent": model._core.keeps_latent(n)}
            for n in lengths
            for reading, writing in [model.source_memory(n)]
        ]
        path = model.path
    file = _core.GgufFile(path)
    facts: dict[str, Any] = {
        "path": str(path) if arguments.model is None or arguments.model.startswith("hf:") else arguments.model,
        "size_bytes": file.size_bytes,
        "n_parameters": sum(_count(tensor) for tensor in file.tensors),
        "types": _types(file.tensors),
        "vision_types": _types([tensor for tensor in file.tensors if tensor.name.startswith(_VISION)]),
        "memory": asdict(memory),
        "source_memory": sources,
        "tokenizer": has_tokenizer,
        "chat_template": chat,
        "chat_templates": templates,
        "generation_defaults": generation,
        "config": asdict(config),
    }
    if arguments.tensors:
        facts["tensors"] = [
            {"name": t.name, "type": t.type, "shape": list(t.shape), "size_bytes": t.n_bytes} for t in file.tensors
        ]
    if arguments.json:
        print(_output.as_json(facts, indent=2))
    else:
        _print(facts)


def _count(tensor: _core.GgufTensor) -> int:
    n = 1
    for size in tensor.shape:
        n *= size
    return n


def _types(tensors: Sequence[_core.GgufTensor]) -> dict[str, dict[str, int]]:
    """Tensors, parameters and bytes of each type, the largest first."""
    types: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        total = types.setdefault(tensor.type, {"n_tensors": 0, "n_parameters": 0, "size_bytes": 0})
        total["n_tensors"] += 1
        total["n_parameters"] += _count(tensor)
        total["size_bytes"] += tensor.n_bytes
    return dict(sorted(types.items(), key=lambda item: -item[1]["size_bytes"]))


def _size(n: float) -> str:
    for unit in ("B", "KB", "MB"):
        if n < 1000:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.2f} GB"


def _print(facts: dict[str, Any]) -> None:
    config, memory = facts["config"], facts["memory"]
    print(f"{facts['path']}: {config['architecture']} {config['name']}".rstrip())
    print(f"  {facts['n_parameters']:,} parameters, {_size(facts['size_bytes'])}, vocabulary {config['vocab_size']:,}")
    for side in ("encoder", "decoder"):
        c = config[side]
        if c is None:
            print(f"  {side}: none, so the file encodes and embeds")
            continue
        n_full = c["layer_types"].count("full_attention")
        print(
            f"  {side}: {c['num_hidden_layers']} layers ({n_full} with full attention, window {c['sliding_window']}), "
            f"hidden {c['hidden_size']}, FFN {c['intermediate_size']}, heads {c['num_attention_heads']} "
            f"(key/value {c['num_key_value_heads']}) of {c['head_dim']}, up to {c['max_position_embeddings']} tokens"
        )
    _print_vision(facts)
    if not facts["tokenizer"]:
        print("  tokenizer: none, so it takes and gives token ids only")
    print(f"  chat template: {_chat_templates(facts['chat_templates'])}")
    defaults = ", ".join(f"{name} {value}" for name, value in facts["generation_defaults"].items())
    print(f"  generation defaults: {defaults or 'none'}")
    print(
        f"  memory: {_size(memory['weights_bytes'])} weights, {_size(memory['workspace_bytes'])} workspace, "
        f"{_size(memory['bytes_per_source_token'])} per source token"
        + (f", {_size(memory['bytes_per_target_token'])} per target token" if config["decoder"] is not None else "")
    )
    for of in facts["source_memory"]:
        kept = " (the encoder's output alone)" if of["latent"] else ""
        print(
            f"  memory for {of['n_tokens']:,} source tokens: {_size(of['reading_bytes'])} while they are read, "
            f"{_size(of['writing_bytes'])} while a target is written{kept}"
        )
    if config["vision"] is not None:
        print(
            f"  memory for images: {_size(memory['vision_weights_bytes'])} weights once one has been read, "
            f"{_size(memory['image_workspace_bytes'])} workspace while one is"
        )
    print(f"\n{'type':<6} {'tensors':>8} {'parameters':>14} {'size':>10}")
    for name, total in facts["types"].items():
        print(
            f"{name.lower():<6} {total['n_tensors']:>8} {total['n_parameters']:>14,} {_size(total['size_bytes']):>10}"
        )
    if "tensors" in facts:
        print()
        for tensor in facts["tensors"]:
            shape = " x ".join(map(str, tensor["shape"]))
            print(f"{tensor['name']:<40} {tensor['type'].lower():<6} {shape:<16} {_size(tensor['size_bytes']):>10}")


def _chat_templates(kinds: dict[str, str]) -> str:
    """Say what templates there are: `yes` is Gemma's own."""
    words = {"gemma": "yes", "jinja2": "yes, rendered by jinja2"}
    if list(kinds) == ["default"]:
        return words[kinds["default"]]
    return ", ".join(f"{name} ({words[kind].removeprefix('yes, ')})" for name, kind in kinds.items()) or "no"


def _print_vision(facts: dict[str, Any]) -> None:
    c, types = facts["config"]["vision"], facts["vision_types"]
    if c is None:
        print("  images: none, text only")
        return
    total = sum(of_type["size_bytes"] for of_type in types.values())
    print(
        f"  images: {c['image_size']} x {c['image_size']} pixels in patches of {c['patch_size']}, "
        f"{c['num_hidden_layers']} layers, hidden {c['hidden_size']}, FFN {c['intermediate_size']}, "
        f"heads {c['num_attention_heads']}, {c['mm_tokens_per_image']} tokens each; {_size(total)} "
        f"({', '.join(types).lower()})"
    )


if __name__ == "__main__":
    sys.exit(main())
