"""Muon: momentum whose matrices are made orthogonal before they are applied; equal shapes share a batched product.

K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the factor sqrt(longer side)
that makes one learning rate serve all shapes is from J. Liu et al., "Muon is scalable for LLM training" (2025).
torch.optim.Muon computes the same one matrix at a time, at four times the cost for matrices as small as these.
"""

from __future__ import annotations

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
UPDATE_RMS = 0.4


def orthogonalise(stack: torch.Tensor, steps: int = 4) -> torch.Tensor:
    """Push the singular values of each matrix of ``stack`` [N, rows <= columns] towards one (Newton-Schulz)."""
    a, b, c = COEFFICIENTS
    x = stack.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """Muon for the weight matrices of hidden layers; one step changes an element by about 0.4 * ``lr``."""

    def __init__(self, params: list[torch.nn.Parameter], lr: float = 1e-3, momentum: float = 0.95, decay: float = 0.05):
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update all matrices, those of equal shape (up to transposition) together."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[torch.nn.Parameter]] = {}
            for p in group["params"]:
                by_shape.setdefault((min(p.shape), max(p.shape)), []).append(p)
            for (_, longer), matrices in by_shape.items():
                self._step_stack(matrices, group, UPDATE_RMS * longer**0.5)

    def _step_stack(self, matrices: list[torch.nn.Parameter], group: dict[str, float], scale: float) -> None:
        for p in matrices:
            buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
            buffer.lerp_(p.grad, 1 - group["momentum"])
        nesterov = [p.grad.lerp(self.state[p]["momentum"], group["momentum"]) for p in matrices]
        updates = orthogonalise(torch.stack([g if g.shape[0] <= g.shape[1] else g.mT for g in nesterov]))
        for p, update in zip(matrices, updates, strict=True):
            p.mul_(1 - group["lr"] * group["decay"])
            p.add_(update if p.shape[0] <= p.shape[1] else update.mT, alpha=-group["lr"] * scale)
