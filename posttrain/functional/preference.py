"""Losses on pairs and rankings. Inputs are scores or log-ratios of whole responses; outputs are one loss a row."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from posttrain.functional.logprobs import MASKED


def bradley_terry_loss(
    difference: Float[Tensor, "N"], is_tie: Bool[Tensor, "N"], label_smoothing: float
) -> Float[Tensor, "N"]:
    """−(1 − ε) log σ(Δ) − ε log σ(−Δ), Δ = score(better) − score(worse); in a tie ε is one half.

    Source: Bradley & Terry 1952. ε, the chance that a label is wrong: Mitchell 2023, cDPO, eq. 3. A tie is then a label
    that is wrong as often as not.
    """
    better, worse = -F.logsigmoid(difference), -F.logsigmoid(-difference)
    smoothed = better if label_smoothing == 0 else (1 - label_smoothing) * better + label_smoothing * worse
    return torch.where(is_tie, 0.5 * (better + worse), smoothed)


def rao_kupper_loss(
    difference: Float[Tensor, "N"], is_tie: Bool[Tensor, "N"], log_strength: Float[Tensor, ""]
) -> Float[Tensor, "N"]:
    """−log P(i ≻ j) = log(1 + θ e^−Δ), and −log P(tie), P(tie) = (θ² − 1) P(i ≻ j) P(j ≻ i); log θ > 0.

    Source: Rao & Kupper 1967, "Ties in paired-comparison experiments". θ = 1 is Bradley–Terry, without ties.
    """
    better, worse = F.softplus(log_strength - difference), F.softplus(log_strength + difference)
    return torch.where(is_tie, better + worse - torch.log(torch.expm1(2 * log_strength)), better)


def davidson_loss(
    difference: Float[Tensor, "N"], is_tie: Bool[Tensor, "N"], log_strength: Float[Tensor, ""]
) -> Float[Tensor, "N"]:
    """−log P: better e^(Δ/2), tie ν, worse e^(−Δ/2), each over the sum of the three; log ν is any number.

    Source: Davidson 1970, "On extending the Bradley-Terry model to accommodate ties". ν = 0 is Bradley–Terry.
    """
    tie = log_strength.expand_as(difference)
    total = torch.stack([difference / 2, tie, -difference / 2]).logsumexp(0)
    return total - torch.where(is_tie, tie, difference / 2)


def plackett_luce_loss(ranked: Float[Tensor, "N K"], mask: Bool[Tensor, "N K"]) -> Float[Tensor, "N"]:
    """−Σ_k log(e^(s_k) / Σ_{j ≥ k} e^(s_j)) of scores that stand best first; columns outside the mask are not there.

    Source: Plackett 1975, "The analysis of permutations"; two columns are Bradley–Terry.
    """
    scores = torch.where(mask, ranked, MASKED)
    of_rest = scores.flip(1).logcumsumexp(1).flip(1)
    return torch.where(mask, of_rest - ranked, 0.0).sum(1)


def dpo_loss(
    better_log_ratio: Float[Tensor, "N"],
    worse_log_ratio: Float[Tensor, "N"],
    is_tie: Bool[Tensor, "N"],
    beta: float,
    label_smoothing: float,
    displacement_weight: float,
) -> Float[Tensor, "N"]:
    """−log σ(β (ρ⁺ − ρ⁻) − λ max(0, −ρ⁺)), ρ = log π/π_ref; smoothing and ties as in `bradley_terry_loss`.

    Without λ log 2 at π = π_ref (Rafailov et al. 2023, arXiv:2305.18290, eq. 7). λ holds the better response where the
    reference has it (DPOP: Pal et al. 2024, arXiv:2402.13228, eq. 3, whose λ is times β here); not in a tie.
    """
    margin = beta * (better_log_ratio - worse_log_ratio)
    if displacement_weight > 0:
        margin = margin - displacement_weight * displacement(better_log_ratio).masked_fill(is_tie, 0.0)
    return bradley_terry_loss(margin, is_tie, label_smoothing)


def displacement(better_log_ratio: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """max(0, log π_ref(y⁺) − log π(y⁺)): how far the better response fell below the reference, in nats."""
    return torch.relu(-better_log_ratio)


def ipo_loss(
    better_log_ratio: Float[Tensor, "N"], worse_log_ratio: Float[Tensor, "N"], is_tie: Bool[Tensor, "N"], beta: float
) -> Float[Tensor, "N"]:
    """(ρ⁺ − ρ⁻ − 1/(2β))², ρ = log π/π_ref; (ρ⁺ − ρ⁻)² in a tie, the mean of both orders but for a constant.

    Source: Azar et al. 2023, arXiv:2310.12036, eq. 17. β is their τ.
    """
    target = torch.where(is_tie, 0.0, 1 / (2 * beta))
    return (better_log_ratio - worse_log_ratio - target) ** 2
