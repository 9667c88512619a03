"""AdamW or Muon with parameter groups, and the learning rate as a function of the step: no scheduler state to lose."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from posttrain.config import TrainingSettings
from posttrain.training.muon import Muon


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
    return 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def trained_parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
