"""Combine K rewards of any density into one reward a token."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def last_true(mask: Bool[Tensor, "B R"]) -> Int[Tensor, "B"]:
    """Column of the last True of each row; 0 for a row without one."""
    columns = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, columns, 0).amax(-1)


def place_at_last(
    scores: Float[Tensor, "B"], mask: Bool[Tensor, "B R"]
) -> tuple[Float[Tensor, "B R"], Bool[Tensor, "B R"]]:
    """A stream with each row's score at the last True column, and its mask."""
    where = torch.zeros_like(mask).scatter(1, last_true(mask).unsqueeze(1), True) & mask
    return torch.where(where, scores.unsqueeze(1), 0.0), where


def kl_penalized(
    streams: Float[Tensor, "K B R"],
    weights: Float[Tensor, "K"],
    log_ratio: Float[Tensor, "B R"],
    kl_weight: float,
    mask: Bool[Tensor, "B R"],
) -> Float[Tensor, "B R"]:
    """r_t = Σ_k w_k R_k,t − β (log π_old(a_t) − log π_ref(a_t)), 0 outside the mask.

    Source: Ziegler et al. 2019, arXiv:1909.08593, eq. 2; Wu et al. 2023, arXiv:2306.01693, section 2.
    """
    total = torch.einsum("k,kbr->br", weights, streams) - kl_weight * log_ratio
    return torch.where(mask, total, 0.0)
