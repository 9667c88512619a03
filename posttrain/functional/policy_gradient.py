"""Policy and value losses of actions; callers mask and reduce. An action is a token, or a whole response."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def surrogate_loss(
    logprobs: Float[Tensor, "B A"], old_logprobs: Float[Tensor, "B A"], advantages: Float[Tensor, "B A"]
) -> Float[Tensor, "B A"]:
    """−ρA, ρ = π/π_old. Source: Schulman et al. 2017, arXiv:1707.06347, eq. 6."""
    return -torch.exp(logprobs - old_logprobs) * advantages


def clipped_surrogate_loss(
    logprobs: Float[Tensor, "B A"],
    old_logprobs: Float[Tensor, "B A"],
    advantages: Float[Tensor, "B A"],
    clip: float,
) -> Float[Tensor, "B A"]:
    """−min(ρA, clip(ρ, 1−ε, 1+ε)A), ρ = π/π_old. Source: Schulman et al. 2017, arXiv:1707.06347, eq. 7."""
    ratio = torch.exp(logprobs - old_logprobs)
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def is_clipped(log_ratio: Float[Tensor, "B A"], advantages: Float[Tensor, "B A"], clip: float) -> Bool[Tensor, "B A"]:
    """Where the clipped branch is the smaller one, so that the action gives no gradient."""
    ratio = torch.exp(log_ratio)
    return ((ratio > 1 + clip) & (advantages > 0)) | ((ratio < 1 - clip) & (advantages < 0))


def value_loss(values: Float[Tensor, "B A"], returns: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
    """½(V − G)². Source: Mnih et al. 2016, arXiv:1602.01783, algorithm S3, with the customary half."""
    return 0.5 * (values - returns) ** 2


def clipped_value_loss(
    values: Float[Tensor, "B A"],
    old_values: Float[Tensor, "B A"],
    returns: Float[Tensor, "B A"],
    clip: float,
) -> Float[Tensor, "B A"]:
    """½ max((V − G)², (V_old + clip(V − V_old, ±ε) − G)²).

    Source: the PPO of openai/baselines (Dhariwal et al. 2017), also used by Ziegler et al. 2019; not in the PPO paper.
    """
    held = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2)


def explained_variance(
    values: Float[Tensor, "B A"], returns: Float[Tensor, "B A"], mask: Bool[Tensor, "B A"]
) -> Float[Tensor, ""]:
    """1 − Var[G − V] / Var[G] over the mask: 1 is a perfect value model, 0 is as good as a constant."""
    residual, target = (returns - values)[mask], returns[mask]
    return 1 - residual.var(correction=0) / target.var(correction=0).clamp(min=1e-8)
