"""Baselines of policy gradients: one number a response, to be taken from its return.

A baseline that does not depend on the response leaves the gradient's mean as it is and lowers its variance
(Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning").
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def batch_mean(returns: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
    """The mean over the batch. It holds the response's own return, which scales the gradient's mean by 1 − 1/B."""
    return returns.mean().expand_as(returns)


def leave_one_out(returns: Float[Tensor, "B"], group: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
    """The mean over the other responses to the same prompt; every group has two or more.

    Source: Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!"; Ahmadian et al. 2024, 2402.14740.
    """
    num_groups = int(group.max()) + 1
    sums = returns.new_zeros(num_groups).index_add(0, group, returns)[group]
    sizes = torch.bincount(group, minlength=num_groups)[group]
    return (sums - returns) / (sizes - 1)


def group_moments(
    returns: Float[Tensor, "B"], group: Int[Tensor, "B"]
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """Mean and standard deviation (over n) of the responses to the same prompt, at each of them.

    In float64, where the mean of equal float32 numbers is that number and their deviation 0: a rounding error of the
    mean, divided by a deviation that is one too, would be an advantage.
    """
    num_groups, wide = int(group.max()) + 1, returns.double()
    sizes = torch.bincount(group, minlength=num_groups)
    mean = (wide.new_zeros(num_groups).index_add(0, group, wide) / sizes)[group]
    squares = wide.new_zeros(num_groups).index_add(0, group, (wide - mean) ** 2)
    return mean.to(returns.dtype), (squares / sizes).sqrt()[group].to(returns.dtype)


def best_of(returns: Float[Tensor, "B"], group: Int[Tensor, "B"]) -> Int[Tensor, "U"]:
    """The row of each prompt's largest return, the first of equal ones."""
    num_groups = int(group.max()) + 1
    largest = returns.new_full((num_groups,), float("-inf")).scatter_reduce(0, group, returns, "amax")
    rows = torch.arange(len(returns), device=returns.device)
    is_best = returns == largest[group]
    return rows.new_full((num_groups,), len(returns)).scatter_reduce(0, group[is_best], rows[is_best], "amin")
