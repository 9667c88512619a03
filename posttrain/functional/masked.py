"""Reductions over the True cells of a mask. Cells outside hold anything, NaN included, and change nothing."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_sum(x: Float[Tensor, "*S"], mask: Bool[Tensor, "*S"]) -> Float[Tensor, ""]:
    """sum of x over the mask."""
    return torch.where(mask, x, 0.0).sum()


def masked_mean(x: Float[Tensor, "*S"], mask: Bool[Tensor, "*S"]) -> Float[Tensor, ""]:
    """mean of x over the mask; 0 for an empty mask."""
    return masked_sum(x, mask) / mask.sum().clamp(min=1)


def moments(x: Float[Tensor, "*S"], mask: Bool[Tensor, "*S"]) -> Float[Tensor, "3"]:
    """(count, sum, sum of squares) over the mask: three numbers that add up across ranks."""
    kept = torch.where(mask, x, 0.0).double()
    return torch.stack([mask.sum().double(), kept.sum(), (kept * kept).sum()])


def whiten(
    x: Float[Tensor, "*S"], mask: Bool[Tensor, "*S"], total: Float[Tensor, "3"], should_shift: bool
) -> Float[Tensor, "*S"]:
    """(x - mean) / std, or x / std when not shifting; 0 outside the mask.

    `total` is `moments` summed over all ranks. The variance is the unbiased one, Σ(x−m)²/(n−1). Numbers that are equal
    but for their last bit are not divided: rewards that are all alike would become 10,000 times as large.
    """
    count, first, second = total.unbind()
    mean = first / count
    variance = ((second - count * mean * mean) / (count - 1).clamp(min=1)).clamp(min=0)
    does_vary = variance > 1e-14 * second / count
    scale = torch.where(does_vary, torch.rsqrt(variance + 1e-8), 1.0).to(x.dtype)
    shifted = x - mean.to(x.dtype) if should_shift else x
    return torch.where(mask, shifted * scale, 0.0)
