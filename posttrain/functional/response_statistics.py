"""What responses are like beside their reward: how much each repeats itself, and whether reward goes with length."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def repeated_share(ids: Int[Tensor, "B R"], mask: Bool[Tensor, "B R"], size: int) -> Float[Tensor, "B"]:
    """1 − distinct n-grams / n-grams of each response, n = `size`; 0 where it is shorter than one. Masks are prefixes.

    Source: Welleck et al. 2020, arXiv:1908.04319, section 6, seq-rep-n.
    """
    num = ids.shape[1] - size + 1
    if num < 1:
        return torch.zeros(len(ids), device=ids.device)
    # n-grams by number: each further token makes pairs (number so far, token), which are numbered anew
    numbers = _numbered(ids)
    grams = numbers[:, :num]
    for place in range(1, size):
        grams = _numbered(grams * ids.numel() + numbers[:, place : place + num])
    is_whole = mask[:, size - 1 :]
    ordered = torch.where(is_whole, grams, -1).sort(-1).values  # what is not whole comes first
    is_new = torch.ones_like(is_whole)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    distinct, total = (is_new & (ordered >= 0)).sum(-1), is_whole.sum(-1)
    return torch.where(total > 0, 1 - distinct / total.clamp(min=1), 0.0)


def _numbered(values: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Equal values have equal numbers, below B·N."""
    return values.unique(return_inverse=True)[1]


def joint_moments(x: Float[Tensor, "B"], y: Float[Tensor, "B"]) -> Float[Tensor, "5"]:
    """Means of x, y, x², y² and xy: the mean of these over ranks that hold equally many is that of all rows."""
    x, y = x.double(), y.double()
    return torch.stack([x.mean(), y.mean(), (x * x).mean(), (y * y).mean(), (x * y).mean()])


def correlation(moments: Float[Tensor, "5"]) -> Float[Tensor, ""]:
    """(E[xy] − E[x]E[y]) / √(Var[x] Var[y]) of `joint_moments`; 0 where one of them does not vary."""
    x, y, xx, yy, xy = moments.unbind()
    of_x, of_y = xx - x * x, yy - y * y
    # beside the squares, a variance below this is rounding
    does_vary = (of_x > 1e-12 * xx) & (of_y > 1e-12 * yy)
    return torch.where(does_vary, (xy - x * y) / (of_x * of_y).clamp(min=0).sqrt(), 0.0).clamp(-1, 1)
