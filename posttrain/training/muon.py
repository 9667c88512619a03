"""Muon: steps of orthogonalised momentum for the hidden matrices of a network, AdamW for all else.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". A step moves a matrix by its
learning rate in spectral norm, whatever the size of the gradient, so that directions with small gradients are learnt
as fast as those with large ones; very small models learn to copy several times sooner.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: steep at 0, and singular values end between about 0.7 and 1.2."""
NUM_ITERATIONS = 5


class Muon(torch.optim.AdamW):
    """Parameter groups with `is_matrix` hold matrices that Muon steps; AdamW steps the other groups."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        assert closure is None, "the training loop computes gradients before it steps"
        for group in self.param_groups:
            if group["is_matrix"]:
                self._step_matrices([p for p in group["params"] if p.grad is not None], group)
        super().step()  # which passes over the matrices: they have no gradient any more

    def _step_matrices(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)  # AdamW wants one when it loads a state
                state["momentum"] = torch.zeros_like(parameter)
            state["step"] += 1
            state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
            by_shape[tuple(parameter.shape)].append((parameter, parameter.grad.lerp(state["momentum"], MOMENTUM)))
            parameter.grad = None
        for (rows, columns), pairs in by_shape.items():
            updates = orthogonalized(torch.stack([update for _, update in pairs]))
            for (parameter, _), update in zip(pairs, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonalized(matrices: Float[Tensor, "N M K"]) -> Float[Tensor, "N M K"]:
    """About U Vᵀ of each matrix U S Vᵀ: a·X + (b·A + c·A²)·X with A = X Xᵀ, repeated. A zero matrix stays zero.

    In float32: few CPUs are fast in bfloat16.
    """
    a, b, c = COEFFICIENTS
    x = matrices.float()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if is_tall else x).to(matrices.dtype)
