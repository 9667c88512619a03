"""AdamW or Muon with parameter groups, and the learning rate as a function of the step: no scheduler state to lose."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posttrain.config import TrainingSettings

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: steep at 0, and singular values end between about 0.7 and 1.2."""
NUM_ITERATIONS = 5


def build_optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """One group for each (learning rate, weight decay, is_matrix); `peak` holds the rate that the schedule scales.

    Parameters outside `policy` in an actor-critic are the value model's, with a learning rate of their own. With
    `matrix_learning_rate`, Muon steps the hidden matrices.
    """
    matrices = _hidden_matrices(module) if settings.matrix_learning_rate is not None else set()
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter in matrices
            peak = settings.matrix_learning_rate if is_matrix else None
            key = (_peak(module, name, settings) if peak is None else peak, _decay(parameter, settings), is_matrix)
            groups.setdefault(key, []).append(parameter)
    return (Muon if matrices else torch.optim.AdamW)(
        [
            {"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay, "is_matrix": is_matrix}
            for (peak, decay, is_matrix), parameters in groups.items()
        ],
        betas=settings.betas,
        fused=True,
    )


def _hidden_matrices(module: nn.Module) -> set[nn.Parameter]:
    """Weights between hidden states. Not embeddings, relative positions among them, and not heads, tied or not."""
    embeddings = {p for part in module.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
    heads = {p for name, p in module.named_parameters() if "head." in name and "layers" not in name}
    return {p for p in module.parameters() if p.ndim == 2 and min(p.shape) > 1} - embeddings - heads


def _peak(module: nn.Module, name: str, settings: TrainingSettings) -> float:
    is_actor_critic = any(child == "policy" for child, _ in module.named_children())
    if is_actor_critic and not name.startswith("policy.") and settings.value_learning_rate is not None:
        return settings.value_learning_rate
    return settings.learning_rate


def _decay(parameter: nn.Parameter, settings: TrainingSettings) -> float:
    return settings.weight_decay if parameter.ndim >= 2 else 0.0


def learning_rate_factor(step: int, num_steps: int, settings: TrainingSettings) -> float:
    """Share of the peak rate at step 0 ... num_steps − 1: linear warm-up, then the schedule, to 0 after the last."""
    if step < settings.warmup_steps:
        return (step + 1) / (settings.warmup_steps + 1)
    progress = (step - settings.warmup_steps) / max(1, num_steps - settings.warmup_steps)
    if settings.schedule == "linear":
        return 1.0 - progress
    if settings.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if settings.schedule == "quadratic":
        return (1.0 - progress) ** 2
    return 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def trained_parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]


class Muon(torch.optim.AdamW):
    """Steps of orthogonalised momentum for hidden matrices; AdamW for the groups without `is_matrix`.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". A step moves a matrix by its
    learning rate in spectral norm, whatever the size of the gradient, so that directions with small gradients are
    learnt as fast as those with large ones; very small models learn to copy several times sooner.
    """

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
