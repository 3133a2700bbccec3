"""The toy model inside Hugging Face's generate()."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from support.toy_cases import ToyCase
from support.toy_model import Logits
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class ToyConfig(PretrainedConfig):
    model_type = "toy"

    def __init__(self, vocab_size: int = 40, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocab_size = vocab_size


class ToyForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = ToyConfig

    def __init__(self, model: Logits, vocab_size: int) -> None:
        super().__init__(ToyConfig(vocab_size))
        self.model = model
        self.anchor = torch.nn.Parameter(torch.zeros(1))  # gives the module a device and a dtype
        self.generation_config = GenerationConfig(pad_token_id=0)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> CausalLMOutput:
        rows = np.stack([self.model(ids) for ids in input_ids.tolist()])
        return CausalLMOutput(logits=torch.from_numpy(rows)[:, None, :])

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> dict[str, Any]:
        return {"input_ids": input_ids}


def generate(case: ToyCase, **more: Any) -> tuple[list[list[int]], list[float]]:
    """Sequences without prompt and padding, and the scores of beams (empty without beams)."""
    prompt = torch.tensor([case.prompt])
    with torch.no_grad():
        out = ToyForCausalLM(case.model, case.model.vocab_size).generate(
            prompt, attention_mask=torch.ones_like(prompt), use_cache=False, return_dict_in_generate=True,
            output_scores=True, eos_token_id=case.eos or None, suppress_tokens=case.suppress or None, pad_token_id=0,
            **({"do_sample": False} | case.options | more),
        )  # fmt: skip
    scores = getattr(out, "sequences_scores", torch.empty(0)).tolist()
    return [cut(row[len(case.prompt) :], case.eos) for row in out.sequences.tolist()], scores


def cut(ids: list[int], eos: Sequence[int]) -> list[int]:
    """The ids up to the first end token; what follows it is padding."""
    ends = [i for i, token in enumerate(ids) if token in eos]
    return ids[: ends[0] + 1] if ends else ids
