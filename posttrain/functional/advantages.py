"""From per-token rewards to advantages. Columns outside the mask hold 0 and end the episode."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def discounted_returns(
    rewards: Float[Tensor, "B R"], mask: Bool[Tensor, "B R"], discount: float
) -> Float[Tensor, "B R"]:
    """G_t = r_t + γ G_{t+1}."""
    returns, following = torch.zeros_like(rewards), rewards.new_zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        following = torch.where(mask[:, t], rewards[:, t] + discount * following, following)
        returns[:, t] = torch.where(mask[:, t], following, 0.0)
    return returns


def gae(
    rewards: Float[Tensor, "B R"],
    values: Float[Tensor, "B R"],
    mask: Bool[Tensor, "B R"],
    discount: float,
    trace_decay: float,
) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R"]]:
    """Generalised advantage estimation and its return targets.

    δ_t = r_t + γ V_{t+1} − V_t;  A_t = δ_t + γλ A_{t+1};  G_t = A_t + V_t; V after the last token is 0.
    Masked columns are skipped, not stepped through: the next value is that of the next True column.
    Source: Schulman et al. 2016, arXiv:1506.02438, eq. 16.
    """
    advantages = torch.zeros_like(rewards)
    next_value, next_advantage = rewards.new_zeros(len(rewards)), rewards.new_zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + discount * next_value - values[:, t]
        advantage = delta + discount * trace_decay * next_advantage
        next_advantage = torch.where(mask[:, t], advantage, next_advantage)
        next_value = torch.where(mask[:, t], values[:, t], next_value)
        advantages[:, t] = torch.where(mask[:, t], advantage, 0.0)
    return advantages, torch.where(mask, advantages + values, 0.0)
