"""Per-token policy and value losses; callers mask and reduce."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def clipped_surrogate_loss(
    logprobs: Float[Tensor, "B R"],
    old_logprobs: Float[Tensor, "B R"],
    advantages: Float[Tensor, "B R"],
    clip: float,
) -> Float[Tensor, "B R"]:
    """−min(ρA, clip(ρ, 1−ε, 1+ε)A), ρ = π/π_old. Source: Schulman et al. 2017, arXiv:1707.06347, eq. 7."""
    ratio = torch.exp(logprobs - old_logprobs)
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def is_clipped(
    logprobs: Float[Tensor, "B R"],
    old_logprobs: Float[Tensor, "B R"],
    advantages: Float[Tensor, "B R"],
    clip: float,
) -> Bool[Tensor, "B R"]:
    """Where the clipped branch is the smaller one, so that the token gives no gradient."""
    ratio = torch.exp(logprobs - old_logprobs)
    return ((ratio > 1 + clip) & (advantages > 0)) | ((ratio < 1 - clip) & (advantages < 0))


def clipped_value_loss(
    values: Float[Tensor, "B R"],
    old_values: Float[Tensor, "B R"],
    returns: Float[Tensor, "B R"],
    clip: float,
) -> Float[Tensor, "B R"]:
    """½ max((V − G)², (V_old + clip(V − V_old, ±ε) − G)²).

    Source: the PPO of openai/baselines (Dhariwal et al. 2017), also used by Ziegler et al. 2019; not in the PPO paper.
    """
    held = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2)


def explained_variance(
    values: Float[Tensor, "B R"], returns: Float[Tensor, "B R"], mask: Bool[Tensor, "B R"]
) -> Float[Tensor, ""]:
    """1 − Var[G − V] / Var[G] over the mask: 1 is a perfect value model, 0 is as good as a constant."""
    residual, target = (returns - values)[mask], returns[mask]
    return 1 - residual.var(correction=0) / target.var(correction=0).clamp(min=1e-8)
