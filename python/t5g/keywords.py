"""Keyword arguments that a call does not have: the answer names the nearest right one, or what t5g has instead.

Most come from Hugging Face's `generate`, whose names people know; each of those that t5g lacks has its line here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from t5g.messages import Part, to_give, told

P = ParamSpec("P")
R = TypeVar("R")


def _write(name: str, *rest: Part) -> tuple[Part, ...]:
    return ("Write ", to_give(name, "..."), *rest)


_SAMPLING = _write("temperature", ": above 0 it samples; at 0, the default, the likeliest token is taken.")
_END = "Write eos_token_ids=[...], ids that end a text; without it the model's do. stop=[...] ends it before texts."
_NO_PADDING = "Leave it out: nothing is padded. generate_batch takes sources of any lengths."
_START = "Leave it out: the start token is put in front. decoder_prefix= continues a text or ids."
_WARPERS = "Of this kind t5g has top_k, top_p, min_p, typical_p, epsilon_cutoff and eta_cutoff."
_BEAMS = "Of this kind t5g has plain beam search, num_beams=..., and alternatives=... of the first token."
_DRAFT = 'leave it out: draft="source", the default, speculates by prompt lookup.'
_BANS = "Of this kind t5g has suppress_tokens, bad_words, logit_bias and allowed_tokens."
_CACHE = "Leave it out: keys and values are always cached. Model(kv_type=...) says in which type."
_RESULT = "Leave it out: a call returns a t5g.Generation, with text, token_ids, logprob and sequences."
_CONFIG = "Write its fields as arguments of their own: model.generate(source, max_new_tokens=100)."
_CALLBACK = "For pieces as they come, iterate over model.stream(source); its cancel() stops it."
_CONSTRAINTS = (
    "Write ", to_give("choices"), ", ", to_give("regex"), ", ", to_give("json_schema"), " or ", to_give("grammar"),
    " to say what a text must be.",
)  # fmt: skip
# Texts are for programs; a command says what names arguments, which are its flags.
ADVICE: dict[str, str | tuple[Part, ...]] = {
    # Hugging Face: lengths and ends
    "max_length": _write("max_new_tokens", ": it counts the generated tokens alone."),
    "min_length": _write("min_new_tokens", ": it counts the generated tokens alone."),
    "max_time": _write("timeout", ", in seconds."),
    "stopping_criteria": "Write stop=[...] to end a text before texts; a model.stream(source) can be cancelled.",
    "stop_strings": "Write stop=[...].",
    "eos_token_id": _END,
    "forced_eos_token_id": _END,
    "pad_token_id": _NO_PADDING,
    "bos_token_id": _START,
    "decoder_start_token_id": _START,
    # ... inputs
    "inputs": "It is the first argument: model.generate(source).",
    "input_ids": "Ids are the first argument: model.generate(ids).",
    "attention_mask": _NO_PADDING,
    "decoder_input_ids": _write("decoder_prefix", ", a text or ids."),
    "decoder_attention_mask": _NO_PADDING,
    "inputs_embeds": "t5g takes text, token ids or an EncodedSource.",
    "encoder_outputs": "An EncodedSource, which model.encode(source) returns, is the first argument.",
    "labels": "model.score(source, target) gives the log-probabilities of a target.",
    "pixel_values": _write("images", ": it takes paths, PIL images, arrays and tensors."),
    "tokenizer": "Leave it out: the model has its own.",
    "negative_prompt_ids": "t5g has no guidance.",
    "negative_prompt_attention_mask": "t5g has no guidance.",
    "token_healing": _START,
    # ... choice of tokens
    "do_sample": _SAMPLING,
    "top_h": _WARPERS,
    "p_less": _WARPERS,
    "watermarking_config": _WARPERS,
    "num_beam_groups": _BEAMS,
    "diversity_penalty": _BEAMS,
    "constraints": _CONSTRAINTS,
    "force_words_ids": _CONSTRAINTS,
    "penalty_alpha": _WARPERS,
    "dola_layers": _WARPERS,
    "guidance_scale": "t5g has no guidance.",
    "bad_words_ids": "Write bad_words=[...]: it takes texts and lists of ids.",
    "begin_suppress_tokens": _BANS,
    "sequence_bias": "Write logit_bias={id: bias}; bad_words=[...] bans runs of tokens.",
    "exponential_decay_length_penalty": _write(
        "max_new_tokens", ", the limit, or ", to_give("length_penalty", "..."), " of beam search."
    ),
    "logits_processor": _write("allowed_tokens", ", a function of the ids so far, or logit_bias={id: bias}."),
    "prefix_allowed_tokens_fn": _write("allowed_tokens", ", a function of the generated ids alone."),
    "renormalize_logits": "Leave it out: beam scores are sums of log-probabilities.",
    "remove_invalid_values": "Leave it out: invalid logits are errors.",
    # ... how it runs, and what comes back
    "generation_config": _CONFIG,
    "streamer": _CALLBACK,
    "return_dict": _RESULT,
    "return_dict_in_generate": _RESULT,
    "return_legacy_cache": _RESULT,
    "return_tensors": "Leave it out: results are lists and NumPy arrays.",
    "output_scores": "Write logprobs=k for log-probabilities and k alternatives; model.logits gives logits.",
    "output_logits": "model.logits(source, ids) returns them.",
    "output_hidden_states": "model.encode(source).hidden_states are the encoder's.",
    "output_attentions": "Write return_attention=True for where the decoder looked in the source.",
    "use_cache": _CACHE,
    "past_key_values": _CACHE,
    "cache_implementation": _CACHE,
    "cache_config": _CACHE,
    "max_cache_len": _CACHE,
    "low_memory": "Leave it out: beams share what they have in common.",
    "assistant_model": _DRAFT,
    "assistant_tokenizer": _DRAFT,
    "is_assistant": _DRAFT,
    "assistant_early_exit": _DRAFT,
    "assistant_ensemble_weight": _DRAFT,
    "assistant_lookbehind": _DRAFT,
    "target_lookbehind": _DRAFT,
    "num_assistant_tokens": _DRAFT,
    "num_assistant_tokens_schedule": _DRAFT,
    "assistant_confidence_threshold": _DRAFT,
    "assistant_ignore_eos_tokens": _DRAFT,
    "speculation_type": _DRAFT,
    "use_mtp": _DRAFT,
    "prompt_lookup_num_tokens": _DRAFT,
    "max_matching_ngram_size": _DRAFT,
    "custom_generate": "t5g has no such hook.",
    "compile_config": "Leave it out: there is nothing to compile.",
    "disable_compile": "Leave it out: there is nothing to compile.",
    "prefill_chunk_size": "Leave it out: long sources are read in blocks.",
    "continuous_batching_config": "model.generate_batch(sources, max_batch_size=...) batches continuously.",
    "response_format": _write("json_schema", " for a text that is JSON."),
    "guided_json": _write("json_schema"),
    "guided_regex": _write("regex"),
    "guided_choice": "Write choices=[...].",
    "top_logprobs": "Write logprobs=k.",
    "return_alternatives": "Write alternatives=n.",
    "synced_gpus": "Leave it out: one model runs on one device.",
    "num_return_sequences": "model.generate and its like return several.",
    "skip_special_tokens": "model.generate and its like have it, and model.tokenizer.decode.",
    # Hugging Face: tokenizers, chat templates, models
    "padding": _NO_PADDING,
    "add_generation_prompt": "Leave it out: the ids end where the model's turn begins.",
    "continue_final_message": "Give the text's beginning to generate: decoder_prefix=...",
    "tokenize": "Leave it out: the result is token ids.",
    "torch_dtype": "Leave it out: the file has its types: t5g.convert(..., type=...) or t5g.quantize choose them.",
    "dtype": "Leave it out: the file has its types: t5g.convert(..., type=...) or t5g.quantize choose them.",
    "device_map": _write("device", ": it says where the model runs."),
    # Others
    "max_tokens": _write("max_new_tokens"),
    "n_predict": _write("max_new_tokens"),
    "max_decoding_length": _write("max_new_tokens"),
    "min_decoding_length": _write("min_new_tokens"),
    "n": _write("num_return_sequences"),
    "beam_size": _write("num_beams"),
    "repeat_penalty": _write("repetition_penalty"),
    "sampling_temperature": _write("temperature"),
    "sampling_topk": _write("top_k"),
    "sampling_topp": _write("top_p"),
    "target_prefix": _write("decoder_prefix"),
    "prompt": "It is the first argument: model.generate(source).",
    "n_ctx": "Leave it out: memory grows with the text, up to the model's limit.",
    "n_gpu_layers": _write("device", ": it says where the model runs."),
}


def explained(more: Callable[[], Iterable[str]] = tuple) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Answer keyword arguments that a function does not have with what to write instead.

    Parameters
    ----------
    more
        Names that the function takes through ``**options``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters.values()
        own = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in own and name not in (names := [*own, *more()]):
                    # Here, because the converter's functions have a name before the native module is loaded.
                    from t5g.errors import ArgumentTypeError

                    raise told(ArgumentTypeError, *answer(function.__qualname__, name, names))
            return function(*args, **kwargs)

        return call

    return decorate


def answer(function: str, name: str, names: Iterable[str]) -> list[Part]:
    """What to say of a keyword argument that a function does not have. names: those that it has."""
    import difflib

    known = list(names)
    if name in ADVICE:
        advice = ADVICE[name]
    else:
        near = difflib.get_close_matches(name.lower(), known, 1, 0.5)
        advice = f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}."
    has_not = f"{function.removesuffix('.__init__')}: has no argument {name!r}. "
    return [has_not, *([advice] if isinstance(advice, str) else advice)]
