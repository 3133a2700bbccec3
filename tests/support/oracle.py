"""What transformers says: teacher-forced logits, hidden states and generated ids of one source, from a model in memory.

Sources go in alone and unpadded, so nothing here depends on padding or masks; batches are compared with these results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import t5g
from support.cases import BOI, BOS, EOI, IMAGE, IMAGE_TOKENS, Case


@dataclass(frozen=True)
class Answer:
    """float32 [S, D] and [T, V]."""

    hidden_states: np.ndarray
    logits: np.ndarray


def draw_ids(case: Case, length: int, seed: int) -> list[int]:
    """Ids of ordinary pieces; in T5Gemma 2 the end-of-image id, which has a vector of its own, is among them."""
    ids = np.random.default_rng(seed).integers(IMAGE + 1, case.vocab_size, length).tolist()
    if case.architecture == "t5gemma2" and length:
        ids[length // 2] = EOI
    return ids


def draw_target(case: Case, length: int, seed: int) -> list[int]:
    return [BOS, *draw_ids(case, length - 1, seed)]


def draw_images(case: Case, n: int, seed: int) -> np.ndarray:
    """Noise, uint8 [n, image_size, image_size, 3]."""
    size = case.image.get("image_size", 16)
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def ids_with_images(case: Case, n: int) -> list[int]:
    """Text, image, text, image, ..., text."""
    ids = draw_ids(case, 5, 1)
    for i in range(n):
        ids += [BOI, *[IMAGE] * IMAGE_TOKENS, EOI, *draw_ids(case, 3 + i, i)]
    return ids


def ask_about_images(model: Any, source: list[int], images: np.ndarray, target: list[int]) -> Answer:
    """Like ask(), with images of the tower's own size, normalised as the reference's processor does."""
    import torch

    ids = torch.tensor([source])
    with torch.no_grad():
        out = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=torch.tensor((images.astype(np.float32) / 255 - 0.5) / 0.5).permute(0, 3, 1, 2),
            decoder_input_ids=torch.tensor([target]),
        )
    return Answer(out.encoder_last_hidden_state[0].numpy(), out.logits[0].numpy())


def ask(model: Any, source: list[int], target: list[int]) -> Answer:
    """Run encoder and decoder once, teacher-forced."""
    import torch

    ids = torch.tensor([source])
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=torch.tensor([target]))
    return Answer(out.encoder_last_hidden_state[0].numpy(), out.logits[0].numpy())


def ask_without_source(model: Any, target: list[int]) -> np.ndarray:
    """Return logits [T, V] when the decoder may see nothing of the source (T5Gemma 2: a fully masked one)."""
    import torch

    ids = torch.tensor([[BOS]])
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=torch.zeros_like(ids), decoder_input_ids=torch.tensor([target]))
    return out.logits[0].numpy()


def generate(model: Any, source: list[int], max_new_tokens: int, **options: Any) -> list[int]:
    """Return the new ids of ``model.generate``: without the start token, up to and including an end token."""
    import torch

    ids = torch.tensor([source])
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False, **options
    )
    return out[0, 1:].tolist()


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a share of the largest expected value."""
    assert found.shape == expected.shape, f"shape {found.shape}, expected {expected.shape}"
    return float(np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max())


def runs_on_a_real_gpu(model: t5g.Model) -> bool:
    return model.device.startswith(("cuda", "metal"))


def tolerance(model: t5g.Model, elsewhere: float = 2e-4) -> float:
    """Return how far a model in f32 may be from transformers, as relative_error() measures it.

    There is room for another order of summation and nothing else: the smallest real mistakes (a window off by one, a
    scale of the wrong power) show at 1e-2. What roundings matrix units of GPUs make inside, nobody has measured;
    what is promised of all devices is 1e-3.
    """
    return 1e-3 if runs_on_a_real_gpu(model) else elsewhere
