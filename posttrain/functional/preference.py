"""Losses on pairs. Inputs are scores or log-ratios of whole responses; outputs are one loss a pair."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def bradley_terry_loss(difference: Float[Tensor, "N"], is_tie: Bool[Tensor, "N"]) -> Float[Tensor, "N"]:
    """−log σ(Δ) where one is better; −½ log σ(Δ) − ½ log σ(−Δ) in a tie. Δ = score(better) − score(worse).

    Source: Bradley & Terry 1952; the half-half tie is the cross-entropy to a label of one half.
    """
    better = -F.logsigmoid(difference)
    return torch.where(is_tie, 0.5 * (better - F.logsigmoid(-difference)), better)


def dpo_loss(
    better_log_ratio: Float[Tensor, "N"],
    worse_log_ratio: Float[Tensor, "N"],
    is_tie: Bool[Tensor, "N"],
    beta: float,
) -> Float[Tensor, "N"]:
    """−log σ(β (log π/π_ref(y⁺) − log π/π_ref(y⁻))); ties as in `bradley_terry_loss`. log 2 at π = π_ref.

    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 7.
    """
    return bradley_terry_loss(beta * (better_log_ratio - worse_log_ratio), is_tie)
