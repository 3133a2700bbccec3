"""Hugging Face checkpoint folders to GGUF, and GGUF to GGUF: NumPy and gguf, never torch.

Its functions are `t5g.convert` and `t5g.quantize`, which import this package when they are first named. Nothing heavy
is imported before one is called.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from t5g.keywords import explained

from t5g_convert.summary import Summary, TensorPlan, TypeTotal

__all__ = ["Summary", "TensorPlan", "TypeTotal", "convert", "quantize"]


@explained()
def convert(
    hf_dir: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    *,
    type: str | None = None,
    pure: bool = False,
    vision: bool = True,
    vision_type: str | None = None,
    tokenizer: bool = True,
    encoder_only: bool = False,
    base: str | os.PathLike[str] | None = None,
    adapter: bool = False,
    n_threads: int | None = None,
    progress: bool = False,
) -> Summary:
    """Convert a T5Gemma or T5Gemma 2 checkpoint folder to a GGUF file.

    Parameters
    ----------
    hf_dir
        A local folder with config.json, safetensors and tokenizer files.
    out_path
        The file to write. It appears complete or not at all; a file of that name is replaced.
    type
        Type of the matrices: f32, f16, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0, in any case; None for q8_0. Below 8 bits,
        the tensors that matter most are kept wider (docs/file-format.md has the table).
    pure
        Give every matrix of the text stacks exactly `type`.
    vision
        Carry over the vision tower and the projector, where the checkpoint has them.
    vision_type
        Type of their matrices. None: q8_0 for a quantised `type`, else `type`. Rows that are no whole
        blocks stay at 16 bits.
    tokenizer
        False: leave the tokenizer out even where the folder has one, and write a placeholder vocabulary. Such a model
        takes and gives token ids only.
    encoder_only
        Leave the decoder out: the file encodes and embeds. A folder that has an encoder alone (`T5GemmaEncoderModel`,
        `T5Gemma2Encoder`, or the text stack of either) becomes such a file by itself.
    base
        `hf_dir` is a PEFT adapter (LoRA), and this the checkpoint it was trained on: both are merged, as peft's
        `merge_and_unload` does in float32, and become one model.
    adapter
        Make an adapter's file of `hf_dir` instead, which `Model.load_adapter` takes; `type` is f32, f16, bf16 or None
        for what the folder has. With `base`, models of another origin refuse it.
    n_threads
        Encoding threads. None: as many as the CPUs that this process may use, at most 8.
    progress
        Show a progress bar on stderr.

    Returns
    -------
    Summary
        Sizes, types, and notes on what the caller should know.

    Raises
    ------
    FileNotFoundError
        A file of the checkpoint is missing.
    ModelFormatError
        The folder is not such a checkpoint, or a file in it is damaged.
    OSError
        The output cannot be written.
    ValueError
        An unknown type, or an output path that is one of the inputs.

    Examples
    --------
    >>> t5g.convert("t5gemma-2-270m-270m", "270m-q4_0.gguf", type="q4_0")  # doctest: +SKIP
    """
    from t5g import arguments, messages

    vision = arguments.flag("vision", vision)
    if vision_type is not None and not vision:
        arguments.warn_once(messages.Argument("vision_type"), " has no effect without vision.")
    if arguments.flag("adapter", adapter):
        return _convert_adapter(hf_dir, out_path, type=type, base=base, n_threads=n_threads, progress=progress)
    with _needs_extra("t5g.convert"):
        from t5g_convert import from_hf

        return from_hf.convert(
            arguments.path("hf_dir", hf_dir),
            arguments.path("out_path", out_path),
            type="q8_0" if type is None else arguments.word("type", type),
            pure=arguments.flag("pure", pure),
            vision=vision,
            vision_type=None if vision_type is None else arguments.word("vision_type", vision_type),
            tokenizer=arguments.flag("tokenizer", tokenizer),
            encoder_only=arguments.flag("encoder_only", encoder_only),
            base=None if base is None else arguments.path("base", base),
            n_threads=arguments.threads(n_threads) or None,
            progress=arguments.flag("progress", progress),
        )


def _convert_adapter(hf_dir: Any, out_path: Any, *, type: Any, base: Any, n_threads: Any, progress: Any) -> Summary:
    from t5g import arguments

    with _needs_extra("t5g.convert"):
        from t5g_convert.adapter_file import convert_adapter
        from t5g_convert.folders import local_folder
        from t5g_convert.threads import default_threads

        return convert_adapter(
            local_folder(arguments.path("hf_dir", hf_dir)),
            arguments.path("out_path", out_path),
            type=None if type is None else arguments.word("type", type),
            base=None if base is None else local_folder(arguments.path("base", base)),
            n_threads=arguments.threads(n_threads) or default_threads(),
            progress=arguments.flag("progress", progress),
        )


@explained()
def quantize(
    in_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    type: str,
    *,
    pure: bool = False,
    vision_type: str | None = None,
    dry_run: bool = False,
    n_threads: int | None = None,
    progress: bool = False,
) -> Summary:
    """Write a GGUF file of t5g again with other types.

    Metadata are copied, and so are, byte for byte, tensors whose type does not change. Quantising what is already
    quantised adds errors: the summary's notes say so.

    Parameters
    ----------
    in_path, out_path
        The file to read, and another one to write. It appears complete or not at all.
    type
        Type of the matrices of the two stacks, as for `convert`.
    pure
        Give every one of them exactly `type`.
    vision_type
        Type of the vision tower's matrices. None: q8_0 for a quantised `type`, else `type`, but never wider than
        they are.
    dry_run
        Write nothing: the summary tells what would be written, with `size_bytes` 0.
    n_threads, progress
        As for `convert`.

    Returns
    -------
    Summary
        Sizes, the type of every tensor before and after, and notes on what the caller should know.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ModelFormatError
        It is damaged, or not a T5Gemma.
    OSError
        The output cannot be written.
    ValueError
        An unknown type, or an output path that is the input.

    Examples
    --------
    >>> t5g.quantize("270m-bf16.gguf", "270m-q4_0.gguf", "q4_0")  # doctest: +SKIP
    """
    from t5g import arguments

    with _needs_extra("t5g.quantize"):
        from t5g_convert import requantize

        return requantize.quantize(
            arguments.path("in_path", in_path),
            arguments.path("out_path", out_path),
            arguments.word("type", type),
            pure=arguments.flag("pure", pure),
            vision_type=None if vision_type is None else arguments.word("vision_type", vision_type),
            dry_run=arguments.flag("dry_run", dry_run),
            n_threads=arguments.threads(n_threads) or None,
            progress=arguments.flag("progress", progress),
        )


@contextlib.contextmanager
def _needs_extra(function: str) -> Iterator[None]:
    """Turn a package that is not installed into an error that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in {"t5g", "t5g_convert"}:
            raise
        message = f"{function} needs the package {error.name}. Install it with: pip install 't5g[convert]'"
        raise ImportError(message, name=error.name) from error
